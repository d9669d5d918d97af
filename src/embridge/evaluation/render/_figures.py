"""How figures are written for people: three decimals, a true minus, a word where there is no figure."""

from __future__ import annotations

from math import isfinite

from embridge.evaluation.compatibility import Answer
from embridge.evaluation.statistics import Interval

__all__ = ["ANSWERS", "NONE", "change", "half_width", "number", "score", "share", "signed"]

NONE = "—"
ANSWERS: dict[Answer, tuple[str, str]] = {
    "yes": ("▲", "better"),
    "undecided": ("◇", "undecided"),
    "no": ("▼", "worse"),
}
"""What an answer of `embridge.evaluation.compatible` is called, and a sign that needs no colour."""

_LARGE = 1_000


def number(value: float | None) -> str:
    """Three decimals, none of them where the figure is large.

    >>> number(0.5), number(-12345.6), number(None)
    ('0.500', '−12,346', '—')
    """
    if value is None or not isfinite(value):
        return NONE
    text = f"{value:,.0f}" if abs(value) >= _LARGE else f"{value:.3f}"
    return text.replace("-0.000", "0.000").replace("-", "−")


def signed(value: float) -> str:
    """With its sign, but for nothing.

    >>> signed(0.0312), signed(-0.2), signed(-0.0001)
    ('+0.031', '−0.200', '0.000')
    """
    text = number(value)
    return text if text.startswith("−") or text == "0.000" else f"+{text}"


def half_width(interval: Interval) -> str:
    """Half the interval, as it stands after a figure."""
    return f"±{number(interval.half)}"


def share(value: float | None) -> str:
    """A rate without its leading zero, for narrow columns.

    >>> share(0.02), share(1.0), share(0.0)
    ('.020', '1.000', '0')
    """
    return "0" if value == 0 else number(value).removeprefix("0")


def score(value: float) -> str:
    """Four digits that count: scores have any size and sign.

    >>> score(0.99), score(-1234.5)
    ('0.9900', '−1234')
    """
    return f"{value:#.4g}".rstrip(".").replace("-", "−")


def change(difference: Interval, answer: Answer) -> str:
    """A difference with its sign and its answer in a word."""
    sign, word = ANSWERS[answer]
    return f"{sign} {signed(difference.value)} {word}"
