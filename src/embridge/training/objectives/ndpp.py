"""NDPP: prototypes that the old model nearly confuses are pushed away from their neighbours before they are aligned to."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from embridge.training.objectives.base import OldModel
from embridge.training.objectives.perturbation import moved_from_neighbours
from embridge.training.objectives.perturbed import Perturbed
from embridge.training.objectives.prototypes import Unseen
from embridge.training.objectives.requirements import check_settings

__all__ = ["NDPP"]


class NDPP(Perturbed):
    """`Perturbed` with p̂ by `moved_from_neighbours`: away from the K nearest prototypes.

    Zhou et al., "Prototype perturbation for relaxing alignment constraints in backward-compatible learning", 2025 (arXiv
    2503.14824), section 3.2. neighbours: K, of thousands of classes in the paper; with few, those that are confused with one
    another are fewer. old_step, new_step: a and b, how far to move from the old and from the new prototypes. twice: a is
    applied twice, as in the authors' code; False moves by 1 / a as much. temperature: T. ema, unseen: see `Perturbed` and
    `resolve_unseen`. Needs the old prototypes and no old embedding. Related: `ODPP`, which
    moves only what is nearer than a margin; `BCT`, which moves nothing.

    >>> import torch
    >>> old = OldModel(torch.tensor([[1.0, 0.0], [1.0, 0.2], [-1.0, 0.0]]), torch.tensor([True, True, True]))
    >>> objective = NDPP(old, 3, neighbours=1)
    >>> objective.begin_epoch(0, 1, lambda: (torch.eye(2), torch.arange(2)))
    >>> bool(objective.moved[0] @ objective.moved[1] < 0.98)
    True
    """

    paper: ClassVar[str] = (
        "Zhou et al., Prototype perturbation for relaxing alignment constraints in backward-compatible learning, 2025, "
        "arXiv 2503.14824"
    )

    def __init__(
        self,
        old: OldModel | None,
        classes: int,
        *,
        neighbours: int = 100,
        old_step: float = 0.4,
        new_step: float = 0.01,
        twice: bool = True,
        temperature: float = 0.07,
        weight: float = 1.0,
        ema: float = 0.0,
        unseen: Unseen = "using_old",
        scale: float = 1.0,
    ) -> None:
        check_settings("ndpp", "a whole number of at least 1", neighbours=neighbours)
        check_settings("ndpp", "0 or more", old_step=old_step, new_step=new_step)
        super().__init__(
            "ndpp", old, classes, temperature=temperature, weight=weight, ema=ema, unseen=unseen, scale=scale
        )
        self.neighbours, self.old_step, self.new_step, self.twice = neighbours, old_step, new_step, twice

    def move(self, new: Tensor | None, epoch: int) -> Tensor:
        return moved_from_neighbours(
            self.to_old.prototypes,
            new,
            self.to_old.usable,
            neighbours=self.neighbours,
            old_step=self.old_step,
            new_step=self.new_step,
            twice=self.twice,
        )
