"""Pairs as unit rows in torch, read from where they are stored a batch at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from embridge.methods.base import Pairs

__all__ = ["UnitRows", "WeighedRows"]

_CHUNK_ROWS = 65_536


class UnitRows:
    """Some of the pairs as float32 rows of length one.

    On a CPU a batch is gathered when it is asked for, so that nothing is held beside the pairs. On other devices all rows
    are moved there once, a part at a time: fetching every batch would take longer than the step that uses it.

    Args:
        pairs: What to read.
        rows: The row numbers of some of them.
        device: Where the batches go.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> new, old = (Embeddings.of(np.eye(3, d, dtype=np.float32), Space(f"{d}", "1", d)) for d in (3, 2))
        >>> UnitRows(Pairs(new, old), np.array([2, 0]), "cpu").batch(torch.tensor([1]))[0]
        tensor([[1., 0., 0.]])
    """

    def __init__(self, pairs: Pairs, rows: np.ndarray, device: str) -> None:
        self._pairs, self._rows, self._moved = pairs, rows, None
        if torch.device(device).type != "cpu":
            self._moved = tuple(torch.empty(len(rows), s.space.dim, device=device) for s in (pairs.new, pairs.old))
            for start in range(0, len(rows), _CHUNK_ROWS):
                part = slice(start, start + _CHUNK_ROWS)
                for moved, read in zip(self._moved, pairs.unit_rows(rows[part]), strict=True):
                    moved[part] = torch.from_numpy(read)

    def __len__(self) -> int:
        return len(self._rows)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The new and the old side of those rows."""
        if self._moved is not None:
            return self._moved[0][index], self._moved[1][index]
        new, old = self._pairs.unit_rows(self._rows[index.numpy()])
        return torch.from_numpy(new), torch.from_numpy(old)

    def first(self, count: int) -> tuple[Tensor, Tensor]:
        """The first so many rows."""
        return self.batch(torch.arange(min(count, len(self))))


@dataclass(frozen=True, slots=True, eq=False)
class WeighedRows:
    """The same with how much each pair counts, to train on.

    Attributes:
        rows: The pairs.
        shares: How much each counts [n], one on average; None where all count alike.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> new, old = (Embeddings.of(np.eye(3, d, dtype=np.float32), Space(f"{d}", "1", d)) for d in (3, 2))
        >>> weighed = WeighedRows.of(Pairs(new, old, np.array([1.0, 2.0, 3.0])), np.array([0, 2]), "cpu")
        >>> weighed.take(torch.tensor([1]))[2]
        tensor([1.5000])
    """

    rows: UnitRows
    shares: Tensor | None

    @staticmethod
    def of(pairs: Pairs, rows: np.ndarray, device: str) -> WeighedRows:
        """Those rows of the pairs on a device, with the weights of the pairs."""
        unit = UnitRows(pairs, rows, device)
        if pairs.weights is None:
            return WeighedRows(unit, None)
        weights = pairs.weights[rows]
        return WeighedRows(unit, torch.from_numpy((weights / weights.mean()).astype(np.float32)).to(device))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Tensor, /) -> tuple[Tensor, Tensor, Tensor | None]:
        """The new side, the old side, and the shares of those rows."""
        return *self.rows.batch(rows), None if self.shares is None else self.shares[rows]
