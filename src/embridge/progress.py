"""How long work tells how far it is: a callable that anything may implement."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["Progress", "silent"]


@runtime_checkable
class Progress(Protocol):
    """Called now and then with units done and in total (the same unit), and a few words of what is being done."""

    def __call__(self, done: int, total: int, what: str) -> None: ...


def silent(done: int, total: int, what: str) -> None:
    """Say nothing: the progress of whoever does not ask for any.

    Args:
        done: Units done.
        total: Units in total.
        what: What is being done.

    Examples:
        >>> silent(1, 2, "fit")
    """
