"""Assertions whose failure says what was expected and what came; they hold under ``python -O`` too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from embridge.errors import EmbridgeError

__all__ = ["expect", "expect_close", "expect_equal", "expect_refusal"]


def expect(holds: bool, message: str) -> None:
    """Raise `AssertionError` with the message unless the condition holds."""
    if not holds:
        raise AssertionError(message)


def expect_equal(expected: object, actual: object, what: str) -> None:
    """Both are equal, compared with ``==``."""
    expect(expected == actual, f"{what}: expected {expected!r}, came {actual!r}")


def expect_close(expected: np.ndarray, actual: np.ndarray, what: str, *, tolerance: float = 1e-5) -> None:
    """Same shape, and equal up to ``tolerance`` times the largest expected value (at least 1)."""
    expect_equal(expected.shape, actual.shape, f"{what}, shape")
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    apart = float(np.abs(expected.astype(np.float64) - actual).max(initial=0.0)) / scale
    expect(apart <= tolerance, f"{what}: expected equal values to {tolerance:g}, came {apart:g} apart")


def expect_refusal(error: type[EmbridgeError], call: Callable[[], Any], what: str) -> None:
    """The call raises that error of the library, with a message."""
    try:
        actual = call()
    except error as refusal:
        expect(bool(str(refusal)), f"{what}: expected {error.__name__} with a message, came an empty one")
        return
    except Exception as other:
        raise AssertionError(f"{what}: expected {error.__name__}, came {type(other).__name__}: {other}") from other
    raise AssertionError(f"{what}: expected {error.__name__}, came {actual!r:.200}")
