"""Pairs as unit rows in torch, read from where they are stored a batch at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from embridge.methods.base import Pairs

__all__ = ["UnitRows"]

_CHUNK_ROWS = 65_536


class UnitRows:
    """Some of the pairs as float32 rows of length one.

    On a CPU a batch is gathered when it is asked for, so that nothing is held beside the pairs. On other devices all rows
    are moved there once, a part at a time: fetching every batch would take longer than the step that uses it.
    """

    def __init__(self, pairs: Pairs, rows: np.ndarray, device: str) -> None:
        self._pairs, self._rows, self._held = pairs, rows, None
        if torch.device(device).type != "cpu":
            self._held = tuple(torch.empty(len(rows), s.space.dim, device=device) for s in (pairs.new, pairs.old))
            for start in range(0, len(rows), _CHUNK_ROWS):
                part = slice(start, start + _CHUNK_ROWS)
                for held, read in zip(self._held, pairs.unit_rows(rows[part]), strict=True):
                    held[part] = torch.from_numpy(read)

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The new and the old side of those rows."""
        if self._held is not None:
            return self._held[0][index], self._held[1][index]
        new, old = self._pairs.unit_rows(self._rows[index.numpy()])
        return torch.from_numpy(new), torch.from_numpy(old)

    def first(self, count: int) -> tuple[Tensor, Tensor]:
        """The first so many rows."""
        return self.batch(torch.arange(min(count, len(self))))
