"""Pairs as tensors for what is trained by gradient: unit rows to map, and unit rows to map them to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from embridge.adapters.base import normalized
from embridge.errors import InvalidInput
from embridge.methods.base import Pairs
from embridge.methods.spread import evenly_spread

__all__ = ["Rows", "reversed_pairs", "split_rows"]

_HELD_OUT_ROWS = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Pairs as unit rows: the source is mapped to the target.

    Attributes:
        source: Float32 [b, d_source].
        target: Float32 [b, d_target].
        share: How much each pair counts [b], one on average. Zero where a vector is zero, since it has no direction.
        label: The number of each pair's class [b], or None where the pairs have no classes.

    Examples:
        >>> rows = Rows(torch.eye(2), torch.eye(2), torch.tensor([0.5, 1.5]))
        >>> rows.mean(torch.tensor([1.0, 3.0]))
        tensor(2.5000)
    """

    source: Tensor
    target: Tensor
    share: Tensor
    label: Tensor | None = None

    @staticmethod
    def of(source: np.ndarray, target: np.ndarray, pairs: Pairs) -> Rows:
        """The two sides of these pairs, with their weights and labels.

        Raises:
            InvalidInput: Every pair has a vector of zeros.
        """
        sides = [torch.from_numpy(normalized(np.ascontiguousarray(side))) for side in (source, target)]
        share = torch.ones(len(pairs)) if pairs.weights is None else torch.from_numpy(pairs.weights.astype(np.float32))
        for side in sides:
            share = share * (side != 0).any(1)
        if not bool(share.any()):
            raise InvalidInput(f"pairs: each of the {len(pairs)} to train or to validate on has a vector of zeros")
        label = None if pairs.labels is None else torch.from_numpy(np.array(pairs.labels))
        return Rows(sides[0], sides[1], share / share.mean(), label)

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: Tensor) -> Rows:
        """Those rows, with the shares they have among all."""
        label = None if self.label is None else self.label[rows]
        return Rows(self.source[rows], self.target[rows], self.share[rows], label)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of one value a row [b], each as much as its pair counts."""
        return (self.share * values).mean()


def reversed_pairs(pairs: Pairs) -> Pairs:
    """Exchange old and new, to fit a forward map as if it were a backward one.

    Args:
        pairs: Any pairs.

    Returns:
        The same, with the sides exchanged.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> new, old = (Embeddings.of(np.eye(3, dtype=np.float32), Space(m, "1", 3)) for m in ("new", "old"))
        >>> reversed_pairs(Pairs(new, old)).new.space.model
        'old'
    """
    return Pairs(pairs.old, pairs.new, pairs.weights, pairs.labels)


def split_rows(pairs: Pairs, validation_fraction: float, *, seed: int) -> tuple[Pairs, Rows, Rows]:
    """Hold out a part of the pairs; new is mapped to old.

    At most 2,000 held-out pairs, evenly spread, are looked at: the check comes often.

    Args:
        pairs: All pairs.
        validation_fraction: Share to hold out.
        seed: Of the split.

    Returns:
        The training pairs, the rows to train on, and the rows to validate on.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> new, old = (Embeddings.of(np.eye(4, dtype=np.float32), Space(m, "1", 4)) for m in ("new", "old"))
        >>> [len(part) for part in split_rows(Pairs(new, old), 0.25, seed=0)]
        [3, 3, 1]
    """
    fitted, held_out = pairs.hold_out(validation_fraction, seed=seed)
    spread = held_out.take(evenly_spread(len(held_out), _HELD_OUT_ROWS))
    train_rows, held_out_rows = (Rows.of(part.new.vectors, part.old.vectors, part) for part in (fitted, spread))
    return fitted, train_rows, held_out_rows
