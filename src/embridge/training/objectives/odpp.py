"""ODPP: prototypes that are nearer to one another than a margin are turned apart by gradient before they are aligned to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from embridge.backbones.embedding import unit_rows
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.perturbation import Prototypes, shift_apart
from embridge.training.objectives.perturbed import Perturbed, PerturbedSettings
from embridge.training.objectives.settings import Share, Whole

__all__ = ["ODPP", "Hinge", "ODPPSettings"]

Hinge = Literal["cosine", "dot"]
"""What of a pair is compared with the margin: its cosine, or its dot product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ODPPSettings(PerturbedSettings):
    """Settings of `ODPP`, beside those of `PerturbedSettings`.

    Attributes:
        margin: m, above which a pair is too near.
        hinge: On the ``cosine`` of a pair, or on its ``dot`` product as in the authors' code, with p̂ = p + V not renormalised,
            which comes out shorter.
        steps: How many before the first epoch, from the old prototypes alone, and how many before each later one. **CHOICE**
            both; in our reading, the authors make about 100 passes over the pairs, and few once there is a V.

    Examples:
        >>> ODPPSettings(margin=0.9).steps
        (1000, 100)
    """

    margin: Share = 0.7
    hinge: Hinge = "cosine"
    steps: tuple[Whole, Whole] = (1000, 100)


class ODPP(Perturbed):
    """Align to prototypes that are turned apart by gradient.

    `Perturbed` with p̂ = L2(p + V), V [c, d_old] by `shift_apart`. V begins at zero, and before each epoch goes on from what it
    was. The pairs are the same for the same epoch.

    Source:
        Zhou, Sun et al., "Prototype perturbation for relaxing alignment constraints in backward-compatible learning", 2025
        (arXiv 2503.14824), as we read the authors' code.

    Note:
        Related: `NDPP` moves every class by a formula.

    Args:
        old: The old model. Only its class means are used.
        classes: How many classes the new model is trained on.
        settings: The defaults where it is left out.

    Raises:
        InvalidInput: There is no old model, or it is of other classes.

    Examples:
        >>> old = OldModel(torch.tensor([[1.0, 0.0], [1.0, 0.2], [-1.0, 0.0]]), torch.tensor([True, True, True]))
        >>> objective = ODPP(old, 3, ODPPSettings(margin=0.9, steps=(200, 20)))
        >>> objective.begin_epoch(0, 1, lambda: (torch.eye(2), torch.arange(2)))
        >>> bool(objective.moved[0] @ objective.moved[1] < 0.91), objective.moved[2].tolist()
        (True, [-1.0, 0.0])
    """

    paper: ClassVar[str] = (
        "Zhou, Sun et al., Prototype perturbation for relaxing alignment constraints in backward-compatible learning, 2025, "
        "arXiv 2503.14824"
    )
    shift: Tensor

    def __init__(self, old: OldModel | None, classes: int, settings: ODPPSettings | None = None) -> None:
        settings = settings or ODPPSettings()
        super().__init__("odpp", old, classes, settings)
        self.margin, self.hinge, self.steps = settings.margin, settings.hinge, settings.steps
        self.register_buffer("shift", torch.zeros_like(self.moved))

    def move(self, prototypes: Prototypes, epoch: int) -> Tensor:
        shift = shift_apart(
            prototypes,
            self.shift,
            steps=self.steps[0 if prototypes.new is None else 1],
            margin=self.margin,
            cosine=self.hinge == "cosine",
            seed=epoch,
        )
        self.shift.copy_(shift)
        moved = prototypes.old + shift
        return unit_rows(moved) if self.hinge == "cosine" else moved
