"""Prototypes moved apart where an old model confuses classes: the maths of NDPP and ODPP, without training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from embridge.training.objectives.prototypes import nearest

__all__ = ["Prototypes", "moved_from_neighbours", "pair_hinge", "random_pairs", "shift_apart"]

_SMALLEST_SUM = 1e-8
_CHUNK_CLASSES = 1024
_PAIRS, _LEARNING_RATE = 1024, 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Prototypes:
    """The prototypes of both models, of the same classes.

    Attributes:
        old: p, unit rows [c, d].
        new: q, unit rows [c, d], of which a row of zeros stands for no prototype; None where there are none yet.
        usable: The classes [c] that are moved, and that others move away from.

    Examples:
        >>> Prototypes(torch.eye(2), None, torch.tensor([True, False])).usable.tolist()
        [True, False]
    """

    old: Tensor
    new: Tensor | None
    usable: Tensor


def moved_from_neighbours(
    prototypes: Prototypes, *, neighbours: int, old_step: float, new_step: float, twice: bool = True
) -> Tensor:
    """Push each old prototype away from what is near to it, as NDPP does.

    ``δ_c = a Σ_k s_ck (p_c − p_k) / (Σ_k s_ck + 1e-8) + b Σ_k s'_ck (p_c − q_k) / (Σ_k s'_ck + 1e-8)``. The first sum is over
    the K old prototypes p_k nearest to p_c, with s_ck = p_c·p_k; the second over the K new ones q_k, with s'_ck = p_c·q_k, and
    is 0 without new prototypes.

    Source:
        Zhou, Sun et al. 2025 (arXiv 2503.14824), as we read the authors' code.

    Deviation:
        What is not on the same side (s ≤ 0) has no weight: it is not confused with p_c, and a sum of both signs may come out near
        0, by which it is divided. **CHOICE** A class is no neighbour of itself, among the new prototypes neither: its own is what
        the moved one is to be met by.

    Args:
        prototypes: Those of both models.
        neighbours: K, or as many as there are.
        old_step: a.
        new_step: b.
        twice: Apply a twice, ``L2(p_c + a δ_c)``, as the authors' code does; else ``L2(p_c + δ_c)``.

    Returns:
        Moved unit rows [c, d]; those of classes that are not usable stay.

    Examples:
        >>> p = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.2], [-1.0, 0.0]]), dim=1)
        >>> both = Prototypes(p, None, torch.ones(3, dtype=torch.bool))
        >>> moved = moved_from_neighbours(both, neighbours=1, old_step=0.4, new_step=0.01)
        >>> bool(moved[0] @ moved[1] < p[0] @ p[1]), bool(torch.equal(moved[2], p[2]))
        (True, True)
    """
    old, new, usable = prototypes.old, prototypes.new, prototypes.usable
    shift = old_step * _away(old, old, neighbours, usable)
    if new is not None:
        shift = shift + new_step * _away(old, new, neighbours, usable & (new != 0).any(dim=1))
    moved = F.normalize(old + (old_step * shift if twice else shift), dim=1)
    return torch.where(usable[:, None], moved, old)


def _away(rows: Tensor, others: Tensor, k: int, allowed: Tensor) -> Tensor:
    """Σ_k s (row − other_k) / (Σ_k s + 1e-8) over each row's k nearest others, itself left out [c, d]."""
    shifts = []
    for start in range(0, len(rows), _CHUNK_CLASSES):
        own = torch.arange(start, min(start + _CHUNK_CLASSES, len(rows)), device=rows.device)
        scores, found = nearest(rows[own], others, k, allowed=allowed, own=own)
        weights = scores.clamp(min=0)
        total = weights.sum(1, keepdim=True)
        centre = torch.einsum("ck,ckd->cd", weights, others[found])
        shifts.append((total * rows[own] - centre) / (total + _SMALLEST_SUM))
    return torch.cat(shifts)


def pair_hinge(moved: Tensor, new: Tensor | None, pairs: Tensor, *, margin: float, cosine: bool = True) -> Tensor:
    """Measure how much pairs of prototypes are nearer than a margin, as ODPP does.

    ``mean over pairs (i, j) of max(p̂_i·p̂_j − m, 0) + max(p̂_i·q_j − m, 0)``; the second part is 0 without new prototypes.

    Source:
        Zhou, Sun et al. 2025 (arXiv 2503.14824), as we read the authors' code.

    Deviation:
        The dot products are those of the directions. The authors' code has plain ones (``cosine=False``), which an optimiser
        lowers by shortening p̂ without turning it.

    Args:
        moved: p̂ [c, d].
        new: q [c, d], or None.
        pairs: Class numbers [n, 2], i ≠ j.
        margin: m.
        cosine: Compare directions.

    Returns:
        A scalar.

    Examples:
        >>> p, pairs = torch.eye(2)[[0, 0, 1]], torch.tensor([[0, 1], [0, 2]])
        >>> round(float(pair_hinge(p, None, pairs, margin=0.7)), 4)
        0.15
        >>> float(pair_hinge(p / 2, None, pairs, margin=0.7, cosine=False))
        0.0
    """
    first, second = (_rows(moved, column, cosine=cosine) for column in pairs.T)
    loss = ((first * second).sum(1) - margin).relu()
    if new is not None:
        loss = loss + ((first * _rows(new, pairs[:, 1], cosine=cosine)).sum(1) - margin).relu()
    return loss.mean()


def _rows(table: Tensor, which: Tensor, *, cosine: bool) -> Tensor:
    return F.normalize(table[which], dim=1) if cosine else table[which]


def shift_apart(
    prototypes: Prototypes, shift: Tensor, *, steps: int, margin: float, cosine: bool = True, seed: int = 0
) -> Tensor:
    """Turn prototypes apart by gradient, as ODPP does.

    Each step of Adam (learning rate 1e-3) lowers `pair_hinge` of p + V for 1,024 random pairs of usable classes. What no pair is
    too near to does not move.

    Args:
        prototypes: Those of both models.
        shift: V to begin with [c, d].
        steps: How many.
        margin: m of the hinge.
        cosine: Compare directions; see `pair_hinge`.
        seed: The same seed draws the same pairs.

    Returns:
        V [c, d].

    Examples:
        >>> p = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.2], [-1.0, 0.0]]), dim=1)
        >>> both = Prototypes(p, None, torch.ones(3, dtype=torch.bool))
        >>> v = shift_apart(both, torch.zeros(3, 2), steps=50, margin=0.9)
        >>> bool(pair_hinge(p + v, None, torch.tensor([[0, 1]]), margin=0.9) < 0.08), v[2].tolist()
        (True, [0.0, 0.0])
    """
    classes = prototypes.usable.nonzero().flatten()
    if len(classes) < 2:
        return shift.clone()
    generator = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        moving = shift.detach().clone().requires_grad_()
        optimiser = torch.optim.Adam([moving], lr=_LEARNING_RATE)
        for _ in range(steps):
            pairs = random_pairs(classes, _PAIRS, generator)
            optimiser.zero_grad()
            loss = pair_hinge(prototypes.old + moving, prototypes.new, pairs, margin=margin, cosine=cosine)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return moving.detach()


def random_pairs(classes: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw ordered pairs of different classes, evenly and with replacement.

    Args:
        classes: Class numbers [m], two or more.
        count: How many pairs.
        generator: On the processor.

    Returns:
        Class numbers [count, 2].

    Examples:
        >>> pairs = random_pairs(torch.tensor([3, 5]), 4, torch.Generator().manual_seed(0))
        >>> {tuple(sorted(pair)) for pair in pairs.tolist()}
        {(3, 5)}
    """
    drawn = torch.randint(len(classes), (count,), generator=generator)
    further = torch.randint(1, len(classes), (count,), generator=generator)
    pairs = torch.stack([drawn, (drawn + further) % len(classes)], dim=1)
    return classes[pairs.to(classes.device)]
