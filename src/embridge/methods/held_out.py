"""How a map learnt from text is judged while it trains: by text it has not seen, as it is and pushed aside."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["POOL", "HeldOut", "surely_higher"]

POOL = 5_000
"""How many training captions are ranked beside the held-out ones; no more of either part are looked at."""

_QUERIES, _OFFSETS = 1_000, 3
_QUANTILE = 1.96


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

    def values(self, projection: Callable[[Tensor], Tensor]) -> Tensor:
        """One a held-out caption [q], in (0, 1]; higher is better."""
        with torch.inference_mode():
            shifted = [self._reciprocal_ranks(projection(rows)) for rows in self._shifted]
            return (self._reciprocal_ranks(projection(self._plain)) + sum(shifted) / _OFFSETS) / 2

    def _reciprocal_ranks(self, mapped: Tensor) -> Tensor:
        scores = mapped @ self._pool.T
        return 1 / (1 + (scores > scores.diagonal()[:, None]).sum(1)).cpu().double()  # not every device has float64


def surely_higher(values: Tensor, others: Tensor) -> bool:
    """Whether the mean difference of paired values [q] is above 1.96 of its standard errors, and so above zero.

    >>> start = torch.tensor([0.5, 0.5, 0.5])
    >>> surely_higher(torch.tensor([1.0, 0.5, 0.5]), start), surely_higher(torch.tensor([1.0, 0.9, 0.8]), start)
    (False, True)
    """
    gain = (values - others).double()
    return bool(gain.mean() > _QUANTILE * gain.std() / len(gain) ** 0.5) if len(gain) > 1 else bool(gain.mean() > 0)
