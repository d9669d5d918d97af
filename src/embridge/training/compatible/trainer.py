"""CompatibleTraining: a new model is trained so that it can be compared with the stored vectors of an old one.

End to end, from images through a backbone; or, the cheap variant, a head alone on vectors of a frozen model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from embridge.encoders._local import pick_device
from embridge.errors import SettingsError, require
from embridge.training.compatible.held_out_items import HeldOut
from embridge.training.compatible.labelled import Labelled
from embridge.training.compatible.settings import CompatibleSettings
from embridge.training.compatible.start import Start
from embridge.training.compatible.task import CompatibleTask
from embridge.training.compatible.trained import Trained, trained_from
from embridge.training.lightning.precision import precision_on
from embridge.training.lightning.run import UNRECORDED, Run
from embridge.training.lightning.task import Loop
from embridge.training.objectives.base import Objective

__all__ = ["CompatibleTraining"]


@dataclass(frozen=True, slots=True)
class CompatibleTraining(CompatibleSettings):
    """Minimise an objective over a backbone and the objective's own heads.

    Its settings are those of `CompatibleSettings`. Needs the extra ``train``. Related: `XBTFinetune`, for dual encoders and
    without labels.

    Examples:
        >>> import numpy as np
        >>> from embridge.backbones.resnet import SmallResNet
        >>> from embridge.training.compatible.augment import Augment
        >>> from embridge.training.compatible.image_data import ImageArrays
        >>> from embridge.training.compatible.old_models import old_model
        >>> from embridge.training.objectives.bct import BCT
        >>> data = ImageArrays(np.random.default_rng(0).integers(0, 256, (8, 8, 8), np.uint8), np.arange(8) % 2)
        >>> _ = torch.manual_seed(0)  # the classifier of the objective is drawn here
        >>> objective = BCT(old_model(data, np.eye(8, 4, dtype=np.float32)), 2)
        >>> training = CompatibleTraining(epochs=1, batch_size=4, augment=Augment(crop_padding=1))
        >>> trained = training.fit(data, SmallResNet(4, width=4, depth=8), objective)
        >>> trained.space.dim, trained.provenance.figures["steps"]
        (4, 2)
    """

    def fit(
        self,
        data: Labelled,
        backbone: nn.Module,
        objective: Objective,
        *,
        held_out: HeldOut | None = None,
        seed: int = 0,
        run: Run = UNRECORDED,
    ) -> Trained:
        """Train the new model. ``backbone`` and ``objective`` are trained in place, and end on the processor.

        Args:
            data: The items, each of a class.
            backbone: A `Backbone`; or any module from images [b, 3, side, side] to rows [b, d], which gets a linear layer to
                ``objective.feature_dim``; or a `VectorHead` for `LabelledVectors`.
            objective: The loss, made of the same rows as ``data`` (see `hold_out`).
            held_out: Items to look at while training; ``keep="best"`` needs them.
            seed: Of the order of the items, of augmentations and dropout. The weights are drawn before: call
                ``torch.manual_seed`` before the objective is made.
            run: Where checkpoints lie, and who is told.

        Returns:
            The trained model, from which its upgrade is made.

        Raises:
            SettingsError: The parts do not fit together, or a file is in the way of the folder.
            InvalidInput: The folder is of another training, an image cannot be read, or the loss is no longer finite.
            MissingExtra: A library of the extra ``train`` is not installed.
        """
        return self.train(Start(data, backbone, objective, held_out, seed), run)

    def train(self, start: Start, run: Run = UNRECORDED) -> Trained:
        """Train parts that are checked already, as `fit` does.

        Args:
            start: The parts.
            run: Where checkpoints lie, and who is told.

        Returns:
            The trained model, from which its upgrade is made.

        Raises:
            SettingsError: The settings ask for more than there is, or a file is in the way of the folder.
            InvalidInput: The folder is of another training, an image cannot be read, or the loss is no longer finite.
            MissingExtra: A library of the extra ``train`` is not installed.
        """
        require("lightning", extra="train")
        self._check(start, run)
        device, name = pick_device(self.device), start.name(asdict(self))  # before the training changes the weights
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            task = CompatibleTask(start, self, device)
            figures = self._figures(task, self._loop(start, name, task.steps_per_epoch, device), run)
            task.finish()
        return trained_from(start, self, figures)

    def _check(self, start: Start, run: Run) -> None:
        if len(start.data) < self.batch_size:
            raise SettingsError(
                f"training: batch_size {self.batch_size} is more than the {len(start.data)} items there are; set a smaller one"
            )
        if self.keep == "best" and (start.held_out is None or not self.checks):
            raise SettingsError(
                "training: keep='best' needs held_out items and checks of them; give some, or keep the last"
            )
        if self.compatibility == "auto" and start.held_out is not None and start.held_out.old is None:
            raise SettingsError(
                "training: compatibility='auto' looks at held-out items in the old index; give HeldOut(data, old vectors)"
            )
        if self.devices > 1 and run.folder is None and run.cache is None:
            raise SettingsError(
                "training: several devices need a folder, through which they tell what they have learnt"
            )

    def _loop(self, start: Start, name: str, steps_per_epoch: int, device: str) -> Loop:
        steps = self.epochs * steps_per_epoch
        return Loop(
            name=name,
            what=f"{start.method} steps",
            steps=steps,
            seed=start.seed,
            share=self.share(steps),
            device=device,
            precision=precision_on(device, self.precision),
            checks=0 if start.held_out is None else self.checks,
            checkpoint_every_steps=self.checkpoint_every_steps,
            workers=self.workers,
            keep=self.keep,
            gradient_clip=self.gradient_clip,
            devices=self.devices,
            strategy=self.strategy,
        )

    def _figures(self, task: CompatibleTask, loop: Loop, run: Run) -> dict[str, Any]:
        from embridge.training.lightning.loop import train  # Lightning takes seconds to import, and may not be there

        best = train(task, loop, run.placed("train", loop.name))
        figures: dict[str, Any] = {"steps": loop.steps, "precision": loop.precision}
        figures |= {"losses": best.losses, "held_out_scores": best.scores}
        if task.balance is not None:
            figures["compatibility"] = task.balance.figures()
        return figures | ({"best_step": best.step} if self.keep == "best" else {})
