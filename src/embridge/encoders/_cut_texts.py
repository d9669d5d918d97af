"""Texts that are longer than a model takes are cut, as its authors do: how many is counted, and said where it is a share."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

__all__ = ["CutTexts", "counted_cuts", "cut_by", "note_cuts"]

_SHARE = 0.05


@dataclass(slots=True)
class CutTexts:
    """How many of some texts were cut, and at how many tokens."""

    cut: int = 0
    texts: int = 0
    limit: int = 0

    def add(self, cut: int, texts: int, limit: int) -> None:
        self.cut, self.texts, self.limit = self.cut + cut, self.texts + texts, limit or self.limit

    def warn(self, model: str, *, stacklevel: int = 2) -> None:
        """Warn where more than a few were cut: what differs beyond the limit looks alike to the model."""
        if self.cut and self.cut >= _SHARE * self.texts:
            of = f"{'all' if self.cut == self.texts else f'{self.cut:,} of'} {self.texts:,} texts"
            warnings.warn(
                f"{model}: {'the text' if self.texts == 1 else of} {'was' if self.cut == 1 else 'were'} cut at {self.limit} "
                "tokens, all that the model takes; what stands after is lost. Shorten the texts, or take a model for longer ones",
                stacklevel=stacklevel + 1,
            )


_counting: ContextVar[CutTexts | None] = ContextVar("texts cut in this context", default=None)


@contextmanager
def counted_cuts() -> Iterator[CutTexts]:
    """Within, encoders add to one count and do not warn themselves: for texts that come to them in parts."""
    texts = CutTexts()
    token = _counting.set(texts)
    try:
        yield texts
    finally:
        _counting.reset(token)


def note_cuts(model: str, cuts: CutTexts) -> None:
    """Add what was cut in one call to the count of the context, or else warn of it now."""
    whole = _counting.get()
    if whole is None:
        cuts.warn(model, stacklevel=4)
    else:
        whole.add(cuts.cut, cuts.texts, cuts.limit)


def cut_by(tokens: Any, limit: int) -> int:
    """How many texts a tokenizer has cut to ``limit``; of a slow one, which does not say, those that fill it."""
    if tokens.encodings is not None:
        return sum(bool(one.overflowing) for one in tokens.encodings)
    return sum(int(sum(mask)) >= limit for mask in tokens.get("attention_mask", ()))
