"""NDPP: prototypes that the old model nearly confuses are pushed away from their neighbours before they are aligned to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from embridge.training.objectives.base import OldModel
from embridge.training.objectives.perturbation import Prototypes, moved_from_neighbours
from embridge.training.objectives.perturbed import Perturbed, PerturbedSettings
from embridge.training.objectives.settings import Count, NotNegative

__all__ = ["NDPP", "NDPPSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NDPPSettings(PerturbedSettings):
    """Settings of `NDPP`, beside those of `PerturbedSettings`.

    Attributes:
        neighbours: K. The authors' 100 is of thousands of classes; with few, those that are confused with one another are fewer.
        old_step: a, how far to move from the old prototypes.
        new_step: b, how far to move from the new prototypes.
        twice: Apply a twice, as in the authors' code; False moves by 1 / a as much.

    Examples:
        >>> NDPPSettings(neighbours=10).temperature
        0.07
    """

    neighbours: Count = 100
    old_step: NotNegative = 0.4
    new_step: NotNegative = 0.01
    twice: bool = True


class NDPP(Perturbed):
    """Align to prototypes that are moved away from their K nearest neighbours.

    `Perturbed` with p̂ by `moved_from_neighbours`.

    Source:
        Zhou, Sun et al., "Prototype perturbation for relaxing alignment constraints in backward-compatible learning", 2025
        (arXiv 2503.14824), as we read the authors' code.

    Note:
        Related: `ODPP` moves only what is nearer than a margin; `BCT` moves nothing.

    Args:
        old: The old model. Only its class means are used.
        classes: How many classes the new model is trained on.
        settings: The defaults where it is left out.

    Raises:
        InvalidInput: There is no old model, or it is of other classes.

    Examples:
        >>> import torch
        >>> old = OldModel(torch.tensor([[1.0, 0.0], [1.0, 0.2], [-1.0, 0.0]]), torch.tensor([True, True, True]))
        >>> objective = NDPP(old, 3, NDPPSettings(neighbours=1))
        >>> objective.begin_epoch(0, 1, lambda: (torch.eye(2), torch.arange(2)))
        >>> bool(objective.moved[0] @ objective.moved[1] < 0.98)
        True
    """

    paper: ClassVar[str] = (
        "Zhou, Sun et al., Prototype perturbation for relaxing alignment constraints in backward-compatible learning, 2025, "
        "arXiv 2503.14824"
    )

    def __init__(self, old: OldModel | None, classes: int, settings: NDPPSettings | None = None) -> None:
        settings = settings or NDPPSettings()
        super().__init__("ndpp", old, classes, settings)
        self.neighbours, self.old_step = settings.neighbours, settings.old_step
        self.new_step, self.twice = settings.new_step, settings.twice

    def move(self, prototypes: Prototypes, epoch: int) -> Tensor:
        return moved_from_neighbours(
            prototypes,
            neighbours=self.neighbours,
            old_step=self.old_step,
            new_step=self.new_step,
            twice=self.twice,
        )
