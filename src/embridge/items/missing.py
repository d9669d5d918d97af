"""Why an item cannot be had."""

from __future__ import annotations

__all__ = ["MissingItem"]


class MissingItem(Exception):
    """An item that is gone, unreadable or not to be trusted; it is recorded, and reaches no caller."""
