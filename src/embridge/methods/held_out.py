"""How a map learnt from text is judged while it trains: by text it has not seen, as it is and pushed aside."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["POOL", "HeldOut"]

POOL = 5_000
"""How many training captions are ranked beside the held-out ones; no more of either part are looked at."""

_QUERIES, _OFFSETS = 1_000, 3


class HeldOut:
    """Mean reciprocal rank of each held-out caption's own old vector, among the old vectors of all captions.

    Half of the score is of the captions as they are, half of captions that are all moved by one vector of length one,
    as images lie beside text (Liang et al. 2022 measure about that much for CLIP); three directions are averaged.
    Ranking among the training captions shows a map that pulls what is new to what it learnt; one offset for all rows,
    unlike noise, leaves a map that is nearly linear unharmed.
    """

    def __init__(self, train: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor]) -> None:
        new = held[0][:_QUERIES]
        offsets = F.normalize(torch.randn(_OFFSETS, new.shape[1]), dim=1).to(new.device)
        self._plain = new
        self._shifted = [F.normalize(new + offset, dim=1) for offset in offsets]
        self._pool = torch.cat([held[1][:_QUERIES], train[1][:POOL]])

    def score(self, projection: Callable[[Tensor], Tensor]) -> float:
        """In (0, 1]; higher is better."""
        with torch.inference_mode():
            shifted = sum(self._reciprocal_rank(projection(rows)) for rows in self._shifted) / _OFFSETS
            return (self._reciprocal_rank(projection(self._plain)) + shifted) / 2

    def _reciprocal_rank(self, mapped: Tensor) -> float:
        scores = mapped @ self._pool.T
        ranks = 1 + (scores > scores.diagonal()[:, None]).sum(1)
        return float((1 / ranks).mean())
