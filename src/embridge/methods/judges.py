"""How good a map is while it trains: by its loss on held-out pairs, by unseen text, or by real images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.evaluation.agreement import NeighbourAgreement
from embridge.methods.real_pairs import RealPairs

__all__ = [
    "POOL",
    "HeldOutCaptions",
    "HeldOutImages",
    "HeldOutLoss",
    "HeldOutNeighbours",
    "Judge",
    "last_ranks",
    "surely_higher",
]

POOL = 5_000
"""How many training captions are ranked beside the held-out ones; no more of either part are looked at."""

_QUERIES, _OFFSETS = 1_000, 3
_ASKING, _FOUND = 500, 4_000  # of neighbour agreement: held-out items, and items trained on that they may find
_QUANTILE = 1.96


Module_contra = TypeVar("Module_contra", bound=nn.Module, contravariant=True)


@runtime_checkable
class Judge(Protocol[Module_contra]):
    """Says how good a module is; see `embridge.methods.training_loop.train`.

    Examples:
        >>> isinstance(HeldOutLoss(torch.sum, torch.ones(3)), Judge)
        True
    """

    def values(self, module: Module_contra, /) -> Tensor:
        """One a query [q], or a single one; higher is better."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutLoss:
    """The loss of held-out rows, with its sign turned.

    Attributes:
        loss: Of rows; a scalar. The module is part of it.
        rows: What is held out.

    Examples:
        >>> HeldOutLoss(torch.sum, torch.ones(3)).values(nn.Identity())
        tensor([-3.])
    """

    loss: Callable[[Any], Tensor]
    rows: Any

    def values(self, module: nn.Module, /) -> Tensor:
        """A single value [1]; higher is better."""
        return -self.loss(self.rows)[None]


class HeldOutCaptions:
    """Mean reciprocal rank of each held-out caption's own old vector, among the old vectors of all captions.

    Half of the score is of the captions as they are. The other half is of captions that are all moved by one vector of
    length one, as images lie beside text (Liang et al. 2022 measure about that much for CLIP); three directions are
    averaged. Ranking among the training captions shows a map that pulls what is new to what it learnt. One offset for
    all rows, unlike noise, leaves a map that is nearly linear unharmed.

    Args:
        train: New and old unit rows [m, d] that the map is trained on.
        held_out: New and old unit rows [q, d] that it is not.

    Examples:
        >>> rows = torch.eye(4), torch.eye(4)
        >>> HeldOutCaptions(rows, rows).values(nn.Identity()).shape
        torch.Size([4])
    """

    def __init__(self, train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor]) -> None:
        new = held_out[0][:_QUERIES]
        offsets = F.normalize(torch.randn(_OFFSETS, new.shape[1]), dim=1).to(new.device)
        self._plain = new
        self._shifted = [F.normalize(new + offset, dim=1) for offset in offsets]
        self._pool = torch.cat([held_out[1][:_QUERIES], train[1][:POOL]])

    def values(self, projection: Callable[[Tensor], Tensor], /) -> Tensor:
        """One a held-out caption [q], in (0, 1]; higher is better. Ties count against it, and NaN ranks last."""
        with torch.inference_mode():
            shifted = [self._reciprocal_ranks(projection(rows)) for rows in self._shifted]
            return (self._reciprocal_ranks(projection(self._plain)) + sum(shifted) / _OFFSETS) / 2

    def _reciprocal_ranks(self, mapped: Tensor) -> Tensor:
        return (1 / last_ranks(mapped @ self._pool.T)).cpu().double()  # not every device has float64


class HeldOutNeighbours:
    """Neighbour agreement of held-out items: how much of what the new model finds each of them finds behind the map.

    Items that the map was trained on may be found, too. Where images will be searched, half of the score is of items that
    are moved by one vector of length one, as in `HeldOutCaptions`.

    Args:
        train: New and old unit rows [m, d] that the map is trained on.
        held_out: New and old unit rows [q, d] that it is not.
        moved: Half of the score is of moved items.

    Examples:
        >>> rows = torch.eye(4), torch.eye(4)
        >>> HeldOutNeighbours(rows, rows).values(nn.Identity()).shape
        torch.Size([4])
    """

    def __init__(self, train: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], *, moved: bool = False) -> None:
        plain = held_out[0][:_ASKING]
        new, old = (torch.cat([h[:_ASKING], t[:_FOUND]]).cpu().numpy() for h, t in zip(held_out, train, strict=True))
        offsets = F.normalize(torch.randn(_OFFSETS if moved else 0, plain.shape[1]), dim=1).to(plain.device)
        self._old = old
        self._asked = [
            (rows, NeighbourAgreement.of(rows.cpu().numpy(), new, own=np.arange(len(rows))))
            for rows in (plain, *(F.normalize(plain + offset, dim=1) for offset in offsets))
        ]

    def values(self, projection: Callable[[Tensor], Tensor], /) -> Tensor:
        """One a held-out item [q], in [0, 1]; higher is better."""
        with torch.inference_mode():
            plain, *moved = (
                agreement.values(projection(rows).float().cpu().numpy(), self._old) for rows, agreement in self._asked
            )
        return torch.from_numpy((plain + np.mean(moved, axis=0)) / 2 if moved else plain)


class HeldOutImages:
    """Mean reciprocal rank on real pairs: new images among old captions, new captions among old images if there are any.

    It takes the place of `HeldOutCaptions`, and is no part of a mean with it. That score stands for images where there
    are none: its offsets are drawn at random, and what they say of a map is a guess. Real pairs are of the very searches
    that the upgrade is for. Where the two agree the guess adds nothing, and where they do not it is the guess that is
    wrong. What a few hundred pairs lack is certainty; that is asked for where the weights are kept or not, see
    `surely_higher`. There the values of easy queries, of which text has many, would only add up to more certainty than
    there is. The old vectors of training captions are in the ranking here too, so that a map that pulls images to what
    it learnt is seen.

    Args:
        pairs: The real pairs.
        train_old: Old unit rows [m, d_old] of captions that the map is trained on.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> new, old = (Embeddings.of(np.eye(3, dtype=np.float32), Space(m, "1", 3)) for m in ("new", "old"))
        >>> HeldOutImages(RealPairs(new, new, old), torch.zeros(1, 3)).values(nn.Identity()).tolist()
        [1.0, 1.0, 1.0]
    """

    def __init__(self, pairs: RealPairs, train_old: Tensor) -> None:
        self._pairs, self._device, self._others = pairs, train_old.device, train_old[:POOL].cpu().numpy()

    def values(self, projection: Callable[[Tensor], Tensor], /) -> Tensor:
        """One a group of pairs [g], in (0, 1]; higher is better."""

        def bridge(rows: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                mapped: np.ndarray = projection(torch.from_numpy(rows).to(self._device)).cpu().numpy()
                return mapped

        return torch.from_numpy(self._pairs.reciprocal_ranks(bridge, self._others))


def last_ranks(scores: Tensor, among: Tensor | None = None) -> Tensor:
    """Rank each query's own answer, which has the query's number: behind all that score the same, and last if it has no score.

    Args:
        scores: Of every query with every row [q, n]; the rows of the queries come first.
        among: Whom it is ranked among [q, n], itself aside; all by default.

    Returns:
        Ranks [q], 1 is best.

    Examples:
        >>> last_ranks(torch.tensor([[0.9, 0.9, 0.1], [0.5, torch.nan, 0.6]])).tolist()
        [2, 3]
    """
    own = scores.diagonal()[:, None]
    ahead = (scores >= own) | own.isnan()
    if among is not None:
        ahead &= among
    ahead.fill_diagonal_(False)
    return 1 + ahead.sum(1)


def surely_higher(values: Tensor, others: Tensor) -> bool:
    """Whether the mean difference of paired values is above 1.96 of its standard errors, and so above zero.

    Args:
        values: One a query [q].
        others: What they are compared with [q].

    Returns:
        Whether it is; for a single pair, whether it is higher at all.

    Examples:
        >>> start = torch.tensor([0.5, 0.5, 0.5])
        >>> surely_higher(torch.tensor([1.0, 0.5, 0.5]), start), surely_higher(torch.tensor([1.0, 0.9, 0.8]), start)
        (False, True)
    """
    gain = (values - others).double()
    return bool(gain.mean() > _QUANTILE * gain.std() / len(gain) ** 0.5) if len(gain) > 1 else bool(gain.mean() > 0)
