"""CompatibleSettings: how a compatible training is done, as data that is checked when it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from embridge.backbones.pixels import Pixels
from embridge.errors import SettingsError
from embridge.training.compatible.augment import Augment
from embridge.training.lightning.precision import Precision
from embridge.training.lightning.schedules import Schedule, learning_rate_share
from embridge.training.lightning.strategies import strategy_of
from embridge.training.objectives.settings import Rule, check_settings

__all__ = ["CompatibleSettings", "Optimizer"]

Optimizer = Literal["adamw", "adam", "sgd"]

_CHOICES = {
    "optimizer": ("adamw", "adam", "sgd"),
    "precision": ("auto", "32-true", "bf16-mixed"),
    "keep": ("last", "best"),
    "compatibility": ("fixed", "auto"),
}


@dataclass(frozen=True, slots=True)
class CompatibleSettings:
    """How a compatible training is done; `CompatibleTraining` does it.

    Recipes of public code: Adam at 1e-3, decay 3.05e-5, cosine with 5 % warm-up, 100 epochs (OCA, BT²); SGD at .1, momentum
    .9, decay 5e-4, multistep (NDPP, ODPP).

    Attributes:
        epochs: Passes over the items.
        batch_size: Of all processes together; what does not fill a batch waits for another epoch.
        optimizer: ``adamw``, ``adam`` or ``sgd``.
        learning_rate: The highest that the schedule reaches.
        weight_decay: Of all parameters.
        momentum: Of ``sgd`` alone.
        schedule: See `learning_rate_share`.
        warmup_fraction: See `learning_rate_share`.
        milestones: See `learning_rate_share`.
        gradient_clip: The largest norm of all gradients; None for any.
        ema: The decay of an exponential average of the parameters, which is then what is scored and what the training ends
            with; None for none.
        augment: What is done to images before they are learnt from.
        pixel_mean: See `Pixels`.
        pixel_std: See `Pixels`.
        precision: Of the backbone; ``auto`` takes bfloat16 on a GPU that is quicker in it. Losses, prototypes and scores are
            in float32 always.
        checks: How often held-out items are looked at.
        keep: The ``last`` parameters, or those with the ``best`` score on held-out items; the start counts.
        checkpoint_every_steps: Steps between two checkpoints.
        device: ``auto``, ``cpu``, ``cuda`` …
        devices: How many, with a process each. Losses that compare rows of a batch see those of one process.
        strategy: How Lightning starts these processes, a name of `STRATEGIES`.
        workers: Processes that prepare batches.
        compatibility: With ``fixed``, terms weigh what the objective says, as in the papers. With ``auto``, the weights of the
            compatibility terms are found while training, which looks at held-out items with old vectors.
        name: What the model's space is called; the objective's and the backbone's kind by default.

    Raises:
        SettingsError: A setting is out of range, or the batch is not shared evenly by the devices.

    Examples:
        >>> CompatibleSettings(epochs=100, optimizer="adam", weight_decay=3.05e-5, schedule="cosine").learning_rate
        0.001
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
    precision: Precision = "auto"
    checks: int = 10
    keep: Literal["last", "best"] = "last"
    checkpoint_every_steps: int = 200
    device: str = "auto"
    devices: int = 1
    strategy: str = "auto"
    workers: int = 0
    compatibility: Literal["fixed", "auto"] = "fixed"
    name: str = ""

    def __post_init__(self) -> None:
        def check(rule: Rule, *names: str) -> None:
            check_settings("training", rule, **{name: getattr(self, name) for name in names})

        check("a whole number of at least 1", "epochs", "batch_size", "checkpoint_every_steps", "devices")
        check("0 or more", "workers", "checks", "weight_decay")
        check("above 0", "learning_rate", *(() if self.gradient_clip is None else ("gradient_clip",)))
        check("at least 0 and below 1", "momentum", "warmup_fraction")
        check("above 0 and below 1", *(() if self.ema is None else ("ema",)))
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise SettingsError(f"training: {name} is one of {', '.join(choices)}, came {getattr(self, name)!r}")
        if self.batch_size % self.devices:
            raise SettingsError(
                f"training: a batch_size of {self.batch_size} is not shared evenly by {self.devices} devices"
            )
        self.share(1)
        strategy_of(self.strategy)

    def share(self, steps: int) -> Callable[[int], float]:
        """Give the share of the learning rate at each of so many steps; see `learning_rate_share`."""
        return learning_rate_share(
            self.schedule, steps, warmup_fraction=self.warmup_fraction, milestones=self.milestones
        )

    def optimizer_of(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """Make the optimizer of these parameters."""
        rate, decay = self.learning_rate, self.weight_decay
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=rate, momentum=self.momentum, weight_decay=decay)
        kind = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        return kind(parameters, lr=rate, weight_decay=decay)

    def pixels(self, side: int | None) -> Pixels | None:
        """Say what a backbone sees of images of that side; None for vectors, which have none."""
        return None if side is None else Pixels(side, self.pixel_mean, self.pixel_std)
