"""Prototypes moved apart where an old model confuses classes: the maths of NDPP and ODPP, without training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from embridge.training.objectives.prototypes import nearest

__all__ = ["moved_from_neighbours", "pair_hinge", "random_pairs", "shift_apart"]

_SMALLEST_SUM = 1e-8
_CHUNK_CLASSES = 1024
_PAIRS, _LEARNING_RATE = 1024, 1e-3


def moved_from_neighbours(
    old: Tensor,
    new: Tensor | None,
    usable: Tensor,
    *,
    neighbours: int,
    old_step: float,
    new_step: float,
    twice: bool = True,
) -> Tensor:
    """Unit prototypes [c, d] pushed away from what is near to them: NDPP (Zhou et al. 2025, arXiv 2503.14824).

    ``δ_c = a Σ_k s_ck (p_c − p_k) / (Σ_k s_ck + 1e-8) + b Σ_k s'_ck (p_c − q_k) / (Σ_k s'_ck + 1e-8)``, k over the K old
    prototypes p_k nearest to p_c with s_ck = p_c·p_k, and over the K new ones q_k with s'_ck = p_c·q_k; a = old_step,
    b = new_step, K = neighbours (as many as there are, where there are fewer). The result is ``L2(p_c + a δ_c)``, in which a
    counts ``twice`` as in the authors' code, else ``L2(p_c + δ_c)``.

    old, new [c, d]: unit rows; without new ones the second sum is 0, and a new row of zeros is no neighbour. usable [c]: the
    classes that are moved and that others move away from. **CHOICE** a class is no neighbour of itself, among the new
    prototypes neither: its own is what the moved one is to be met by. ``Deviation:`` what is not on the same side (s ≤ 0)
    has no weight: it is not confused with p_c, and a sum of both signs may come out near 0, by which it is divided.

    >>> p = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.2], [-1.0, 0.0]]), dim=1)
    >>> moved = moved_from_neighbours(p, None, torch.ones(3, dtype=torch.bool), neighbours=1, old_step=0.4, new_step=0.01)
    >>> bool(moved[0] @ moved[1] < p[0] @ p[1]), bool(torch.equal(moved[2], p[2]))
    (True, True)
    """
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
    """``mean over pairs (i, j) of max(p̂_i·p̂_j − m, 0) + max(p̂_i·q_j − m, 0)``: ODPP (Zhou et al. 2025, arXiv 2503.14824).

    moved p̂ [c, d], new q [c, d] (without them the second part is 0), pairs [n, 2] of class numbers, i ≠ j. cosine: the dot
    products are those of the directions. ``Deviation:`` the authors' code has plain dot products (``cosine=False``), which
    an optimiser lowers by shortening p̂ without turning it.

    >>> p, pairs = torch.eye(2)[[0, 0, 1]], torch.tensor([[0, 1], [0, 2]])
    >>> round(float(pair_hinge(p, None, pairs, margin=0.7)), 4), float(pair_hinge(p / 2, None, pairs, margin=0.7, cosine=False))
    (0.15, 0.0)
    """
    first, second = (_rows(moved, column, cosine=cosine) for column in pairs.T)
    loss = ((first * second).sum(1) - margin).relu()
    if new is not None:
        loss = loss + ((first * _rows(new, pairs[:, 1], cosine=cosine)).sum(1) - margin).relu()
    return loss.mean()


def _rows(table: Tensor, which: Tensor, *, cosine: bool) -> Tensor:
    return F.normalize(table[which], dim=1) if cosine else table[which]


def shift_apart(
    old: Tensor,
    new: Tensor | None,
    usable: Tensor,
    shift: Tensor,
    *,
    steps: int,
    margin: float,
    cosine: bool = True,
    seed: int = 0,
) -> Tensor:
    """V after so many steps of Adam (learning rate 1e-3) on `pair_hinge` of p + V, begun at ``shift``; all [c, d].

    A step is of 1,024 random pairs of usable classes [c], the same ones for the same seed. What no pair is too near to
    does not move.

    >>> p = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.2], [-1.0, 0.0]]), dim=1)
    >>> v = shift_apart(p, None, torch.ones(3, dtype=torch.bool), torch.zeros(3, 2), steps=50, margin=0.9)
    >>> bool(pair_hinge(p + v, None, torch.tensor([[0, 1]]), margin=0.9) < 0.08), v[2].tolist()
    (True, [0.0, 0.0])
    """
    classes = usable.nonzero().flatten()
    if len(classes) < 2:
        return shift.clone()
    generator = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        moving = shift.detach().clone().requires_grad_()
        optimiser = torch.optim.Adam([moving], lr=_LEARNING_RATE)
        for _ in range(steps):
            pairs = random_pairs(classes, _PAIRS, generator)
            optimiser.zero_grad()
            pair_hinge(old + moving, new, pairs, margin=margin, cosine=cosine).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return moving.detach()


def random_pairs(classes: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` ordered pairs of different members of classes [m], drawn evenly with replacement: [count, 2].

    >>> pairs = random_pairs(torch.tensor([3, 5]), 4, torch.Generator().manual_seed(0))
    >>> {tuple(sorted(pair)) for pair in pairs.tolist()}
    {(3, 5)}
    """
    drawn = torch.randint(len(classes), (count,), generator=generator)
    further = torch.randint(1, len(classes), (count,), generator=generator)
    pairs = torch.stack([drawn, (drawn + further) % len(classes)], dim=1)
    return classes[pairs.to(classes.device)]
