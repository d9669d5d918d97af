"""Stores that several processes may write at once."""

from __future__ import annotations

from embridge.errors import SettingsError
from embridge.scale import Engine, SerialEngine
from embridge.stores import parse_url

__all__ = ["require_shared"]

_HELD_ALONE = ("memory", "chroma", "qdrant")


def require_shared(url: str, engine: Engine) -> None:
    """Refuse a store that one process holds alone, where others are to write to it.

    Raises:
        SettingsError: It is such a store.
    """
    place = parse_url(url)
    if isinstance(engine, SerialEngine) or place.kind not in _HELD_ALONE or "://" in place.location:
        return
    raise SettingsError(
        f"{place}: one process at a time holds such a store, and workers are others; use the engine local, or a server"
    )
