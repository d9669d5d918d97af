"""ODPP: prototypes that are nearer to one another than a margin are turned apart by gradient before they are aligned to."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from embridge.errors import SettingsError
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.classified import unit
from embridge.training.objectives.perturbation import shift_apart
from embridge.training.objectives.perturbed import Perturbed
from embridge.training.objectives.prototypes import Unseen
from embridge.training.objectives.requirements import check_settings

__all__ = ["ODPP"]


class ODPP(Perturbed):
    """`Perturbed` with p̂ = L2(p + V), V [c, d_old] by `shift_apart`, begun at zero.

    Zhou et al., "Prototype perturbation for relaxing alignment constraints in backward-compatible learning", 2025 (arXiv
    2503.14824), section 3.3: Adam lowers what pairs of prototypes, moved with moved and moved with new, have above
    ``margin``. hinge: on the ``cosine`` of a pair, or on its ``dot`` product as in the authors' code, with p̂ = p + V not
    renormalised, which comes out shorter. steps: how many before the first epoch, from the old prototypes alone, and how
    many before each later one, going on from the V there was. **CHOICE** both; the paper speaks of about 100 passes over the
    pairs, and of few once there is a V. The pairs are the same for the same epoch.

    temperature: T. ema, unseen: see `Perturbed` and `resolve_unseen`. Needs the old prototypes
    and no old embedding. Related: `NDPP`, which moves every class by a formula.

    >>> old = OldModel(torch.tensor([[1.0, 0.0], [1.0, 0.2], [-1.0, 0.0]]), torch.tensor([True, True, True]))
    >>> objective = ODPP(old, 3, margin=0.9, steps=(200, 20))
    >>> objective.begin_epoch(0, 1, lambda: (torch.eye(2), torch.arange(2)))
    >>> bool(objective.moved[0] @ objective.moved[1] < 0.91), objective.moved[2].tolist()
    (True, [-1.0, 0.0])
    """

    paper: ClassVar[str] = (
        "Zhou et al., Prototype perturbation for relaxing alignment constraints in backward-compatible learning, 2025, "
        "arXiv 2503.14824"
    )
    shift: Tensor

    def __init__(
        self,
        old: OldModel | None,
        classes: int,
        *,
        margin: float = 0.7,
        hinge: Literal["cosine", "dot"] = "cosine",
        steps: tuple[int, int] = (1000, 100),
        temperature: float = 0.07,
        weight: float = 1.0,
        ema: float = 0.0,
        unseen: Unseen = "using_old",
        scale: float = 1.0,
    ) -> None:
        check_settings("odpp", "0 to 1", margin=margin)
        check_settings("odpp", "0 or more", **{f"steps[{i}]": n for i, n in enumerate(steps)})
        if hinge not in ("cosine", "dot"):
            raise SettingsError(f"odpp: hinge is cosine or dot, came {hinge!r}")
        super().__init__(
            "odpp", old, classes, temperature=temperature, weight=weight, ema=ema, unseen=unseen, scale=scale
        )
        self.margin, self.hinge, self.steps = margin, hinge, steps
        self.register_buffer("shift", torch.zeros_like(self.moved))

    def move(self, new: Tensor | None, epoch: int) -> Tensor:
        shift = shift_apart(
            self.to_old.prototypes,
            new,
            self.to_old.usable,
            self.shift,
            steps=self.steps[0 if new is None else 1],
            margin=self.margin,
            cosine=self.hinge == "cosine",
            seed=epoch,
        )
        self.shift.copy_(shift)
        moved = self.to_old.prototypes + shift
        return unit(moved) if self.hinge == "cosine" else moved
