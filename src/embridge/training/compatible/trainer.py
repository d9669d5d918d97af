"""CompatibleTraining: a new model is trained so that it can be compared with the stored vectors of an old one.

End to end, from images through a backbone; or, the cheap variant, a head alone on vectors of a frozen model.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from embridge.backbones.base import Backbone
from embridge.backbones.pixels import Pixels
from embridge.backbones.saved import TrainedModel
from embridge.encoders.local import pick_device
from embridge.errors import SettingsError, require
from embridge.progress import Progress, silent
from embridge.provenance import Provenance
from embridge.training.compatible.augment import Augment
from embridge.training.compatible.held_out_items import HeldOut
from embridge.training.compatible.labelled import Labelled
from embridge.training.compatible.memory_layout import image_layout, unsound_layer
from embridge.training.compatible.start import Start
from embridge.training.compatible.task import CompatibleTask, Inputs, Optimization, Optimizer
from embridge.training.compatible.trained import Trained, trained_model
from embridge.training.lightning.schedules import Schedule, learning_rate_share
from embridge.training.objectives.base import Objective

__all__ = ["CompatibleTraining"]

_PROBED_ROWS = 64


@dataclass(frozen=True, slots=True)
class CompatibleTraining:
    """Minimise an objective over a backbone and the objective's own heads.

    optimizer: with its learning_rate, weight_decay (of all parameters), and momentum, which is of sgd alone. schedule,
    warmup_fraction, milestones: see `learning_rate_share`. batch_size: of all processes together; what does not fill a batch
    waits for another epoch. gradient_clip: the largest norm of all gradients, None for any. ema: the decay of an exponential
    average of the parameters, which is then what is scored and what the training ends with; None for none. augment: of
    images. pixel_mean, pixel_std: see `Pixels`. precision: of the backbone; ``auto`` takes bfloat16 on a GPU that has it,
    and losses, prototypes and scores are in float32 always. checks: how often held-out items are looked at. keep: the
    ``last`` parameters, or those with the ``best`` such score (the start counts). checkpoint_every_steps: between two
    checkpoints. device: ``auto``, ``cpu``, ``cuda`` …; devices, strategy: how many, and how Lightning starts a process for
    each (`strategy_of`); losses that compare rows of a batch see those of one process. workers: processes that prepare
    batches. name: what the model's space is called; the objective's and the backbone's kind by default.

    Needs the extra ``train``. The papers' own recipes: Adam at 1e-3, decay 3.05e-5, cosine with 5 % warm-up, 100 epochs (OCA,
    BT²); SGD at .1, momentum .9, decay 5e-4, multistep (NDPP, ODPP). Related: `XBTFinetune`, for dual encoders and without
    labels.

    >>> import numpy as np
    >>> from embridge.backbones.resnet import SmallResNet
    >>> from embridge.training.compatible.image_data import ImageArrays
    >>> from embridge.training.objectives.bct import BCT
    >>> from embridge.training.compatible.old_models import old_model
    >>> data = ImageArrays(np.random.default_rng(0).integers(0, 256, (8, 8, 8), np.uint8), np.arange(8) % 2)
    >>> _ = torch.manual_seed(0)  # the classifier of the objective is drawn here
    >>> objective = BCT(old_model(data, np.eye(8, 4, dtype=np.float32)), 2)
    >>> training = CompatibleTraining(epochs=1, batch_size=4, augment=Augment(crop_padding=1))
    >>> trained = training.fit(data, SmallResNet(4, width=4, depth=8), objective)
    >>> trained.space.dim, trained.provenance.figures["steps"]
    (4, 2)
    """

    epochs: int = 30
    batch_size: int = 128
    optimizer: Optimizer = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    momentum: float = 0.9
    schedule: Schedule = "one-cycle"
    warmup_fraction: float = 0.1
    milestones: tuple[float, ...] = (0.5, 0.75)
    gradient_clip: float | None = None
    ema: float | None = None
    augment: Augment = field(default_factory=Augment)
    pixel_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    pixel_std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    checks: int = 10
    keep: Literal["last", "best"] = "last"
    checkpoint_every_steps: int = 200
    device: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    workers: int = 0
    name: str = ""

    def __post_init__(self) -> None:
        whole = ("epochs", "batch_size", "checkpoint_every_steps", "devices")
        self._require("1 or more", whole, lambda x: x >= 1)
        self._require("0 or more", ("workers", "checks"), lambda x: x >= 0)
        self._require("above 0", ("learning_rate",), lambda x: 0 < x < math.inf)
        self._require("0 or more", ("weight_decay",), lambda x: 0 <= x < math.inf)
        self._require("a fraction below 1", ("momentum", "warmup_fraction"), lambda x: 0 <= x < 1)
        self._require("None or above 0", ("gradient_clip",), lambda x: x is None or 0 < x < math.inf)
        self._require("None or a fraction", ("ema",), lambda x: x is None or 0 < x < 1)
        named = {
            "optimizer": ("adamw", "adam", "sgd"),
            "precision": ("auto", "32-true", "bf16-mixed"),
            "keep": ("last", "best"),
        }
        for what, names in named.items():
            self._require(f"one of {', '.join(names)}", (what,), names.__contains__)
        if self.batch_size % self.devices:
            raise SettingsError(
                f"training: a batch_size of {self.batch_size} is not shared evenly by {self.devices} devices"
            )
        learning_rate_share(self.schedule, 1)

    def _require(self, wanted: str, names: tuple[str, ...], holds: Callable[[Any], bool]) -> None:
        for name in names:
            if not holds(getattr(self, name)):
                raise SettingsError(f"training: {name} is {wanted}, came {getattr(self, name)!r}")

    def fit(
        self,
        data: Labelled,
        backbone: nn.Module,
        objective: Objective,
        *,
        held_out: HeldOut | None = None,
        seed: int = 0,
        folder: Path | str | None = None,
        loggers: Sequence[Any] = (),
        progress: Progress = silent,
    ) -> Trained:
        """The trained model. ``backbone`` and ``objective`` are trained in place, and end on the processor.

        backbone: a `Backbone`, or any module from images [b, 3, side, side] to rows [b, d], which gets a linear layer to
        ``objective.feature_dim``; `VectorHead` for `LabelledVectors`. The objective is made of the same rows as ``data``
        (see `hold_out`). seed: of the order of the items, of augmentations and dropout; the weights are drawn before, so
        call ``torch.manual_seed`` before the objective is made. folder: for checkpoints; a run that was killed goes on from
        there, with the same starting weights, and a finished one is read again. loggers: of Lightning.

        Raises `SettingsError` for parts that do not fit together, `InvalidInput` for a folder of another training, for an
        image that cannot be read, and where the loss is no longer finite.
        """
        require("lightning", extra="train")
        start = Start(data, backbone, objective, held_out, seed)
        self._check(start, folder)
        device, name = pick_device(self.device), start.name(asdict(self))  # before the training changes the weights
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            task = self._task(start, device)
            figures = self._run(task, start, device, name, None if folder is None else _made(folder), loggers, progress)
            task.finish()
        return self._trained(start, figures)

    def _check(self, start: Start, folder: Path | str | None) -> None:
        if len(start.data) < self.batch_size:
            raise SettingsError(
                f"training: batch_size {self.batch_size} is more than the {len(start.data)} items there are; set a smaller one"
            )
        if self.keep == "best" and (start.held_out is None or not self.checks):
            raise SettingsError(
                "training: keep='best' needs held_out items and checks of them; give some, or keep the last"
            )
        if self.devices > 1 and folder is None:
            raise SettingsError(
                "training: several devices need a folder, through which they tell what they have learnt"
            )

    def _task(self, start: Start, device: str) -> CompatibleTask:
        pixels = self._pixels(start.data)
        augment = nn.Sequential() if pixels is None else self.augment.make(pixels.side)
        how = Optimization(
            self.optimizer,
            self.learning_rate,
            self.weight_decay,
            self.momentum,
            self.batch_size,
            self.epochs,
            self.ema,
            self._lightning_precision(device) == "bf16-mixed",
        )
        layout = torch.contiguous_format if pixels is None else _layout(start.network, device)
        inputs = Inputs(start.data, pixels, augment, start.seed, self.workers, layout)
        return CompatibleTask(inputs, start.network, start.objective, how, device=device, held_out=start.held_out)

    def _run(
        self,
        task: CompatibleTask,
        start: Start,
        device: str,
        name: str,
        folder: Path | None,
        loggers: Sequence[Any],
        progress: Progress,
    ) -> dict[str, Any]:
        from embridge.training.lightning.loop import (  # Lightning takes seconds to import, and may not be there
            Loop,
            run,
        )

        steps = self.epochs * task.steps_per_epoch
        loop = Loop(
            name=name,
            steps=steps,
            seed=start.seed,
            share=learning_rate_share(
                self.schedule, steps, warmup_fraction=self.warmup_fraction, milestones=self.milestones
            ),
            device=device,
            precision=self._lightning_precision(device),
            checks=0 if start.held_out is None else self.checks,
            checkpoint_every_steps=self.checkpoint_every_steps,
            workers=self.workers,
            keep=self.keep,
            gradient_clip=self.gradient_clip,
            devices=self.devices,
            strategy=self.strategy,
        )
        best = run(task, loop, folder=folder, loggers=loggers, progress=progress, what=f"{start.method} steps")
        figures: dict[str, Any] = {"steps": steps, "losses": best.losses, "held_out_scores": best.scores}
        return figures | ({"best_step": best.step} if self.keep == "best" else {})

    def _trained(self, start: Start, figures: dict[str, Any]) -> Trained:
        objective, pixels = start.objective, self._pixels(start.data)
        name = self.name or f"{start.method}-{start.network.kind}"
        make = partial(
            TrainedModel, name, start.network, objective.embedding(), dim=objective.embedding_dim, pixels=pixels
        )
        features = torch.randn(_PROBED_ROWS, objective.feature_dim, generator=torch.Generator().manual_seed(0))
        provenance = Provenance(
            method=start.method,
            settings={"training": asdict(self), **start.described()},
            seed=start.seed,
            data=start.data_described(),
            versions=start.versions(),
            figures=figures,
        )
        model = trained_model(make, objective, features)
        return Trained(model, provenance, objective.bridge, objective.old_dim)

    def _pixels(self, data: Labelled) -> Pixels | None:
        return None if data.side is None else Pixels(data.side, self.pixel_mean, self.pixel_std)

    def _lightning_precision(self, device: str) -> Literal["32-true", "bf16-mixed"]:
        if self.precision != "auto":
            return self.precision
        return "bf16-mixed" if device.startswith("cuda") and torch.cuda.is_bf16_supported() else "32-true"


def _layout(network: Backbone, device: str) -> torch.memory_format:
    """Of images; says so where the faster one is not taken."""
    layer = unsound_layer(network, device)
    if layer is not None:
        warnings.warn(
            f"training: {layer} is a 1 × 1 convolution with a stride and fewer than 16 input channels, which torch cannot "
            "train in channels_last on a CPU: the network is trained in the contiguous layout, somewhat slower",
            stacklevel=4,
        )
    return image_layout(network, device)


def _made(folder: Path | str) -> Path:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise SettingsError(f"{folder} cannot be a folder: a file is in the way; choose another name") from error
    return Path(folder)
