"""What the loop asks of a training: Task, its batches and gradients, and Loop, how long and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

__all__ = ["Loop", "Task"]


@runtime_checkable
class Task(Protocol):
    """What is trained: batches, the loss's gradients, and a score of how it goes.

    Examples:
        >>> from embridge.training.compatible.task import CompatibleTask
        >>> issubclass(CompatibleTask, Task)
        True
    """

    def state(self) -> dict[str, Tensor]:
        """All that training changes, by name: parameters, and what else is to be taken up again with them."""
        ...

    def optimizer(self) -> torch.optim.Optimizer:
        """What moves the parameters; made in each process, once it has its device."""
        ...

    def batch(self, step: int) -> Any:
        """What a step is trained on, on the processor; depends on the number of the step alone."""
        ...

    def step(self, batch: Any, backward: Callable[[Tensor], None]) -> dict[str, Tensor]:
        """Add the gradients of one batch; returns the terms of the loss, detached."""
        ...

    def score(self) -> float:
        """How good the parameters are on what they are not trained on; higher is better."""
        ...


@dataclass(frozen=True, slots=True)
class Loop:
    """How long a task is trained, and where.

    Attributes:
        name: A hash of all that decides the outcome, so that a checkpoint is not taken up by another training.
        what: How progress calls the steps.
        steps: How many.
        seed: Of dropout and augmentations, with the number of the step.
        share: The share of the learning rates at a step, counted from 0.
        device: Where it runs, such as ``cpu`` or ``cuda:0``.
        precision: Lightning's name of it.
        checks: How often the score is looked at; with 0, never.
        checkpoint_every_steps: Steps between two checkpoints.
        workers: Processes that prepare batches.
        keep: The parameters that end the training: the ``best`` by their score, or the ``last``.
        gradient_clip: The largest norm of all gradients together; None for any.
        devices: Processes with one device each, whose gradients are averaged.
        strategy: How these are started, a name of `STRATEGIES`.

    Examples:
        >>> sorted(Loop("name", "steps", steps=10, seed=0, share=lambda step: 1.0, checks=3).check_steps)
        [3, 7, 10]
    """

    name: str
    what: str
    steps: int
    seed: int
    share: Callable[[int], float]
    device: str = "cpu"
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    checks: int = 10
    checkpoint_every_steps: int = 100
    workers: int = 0
    keep: Literal["best", "last"] = "best"
    gradient_clip: float | None = None
    devices: int = 1
    strategy: str = "auto"

    @property
    def check_steps(self) -> frozenset[int]:
        """The steps after which the score is looked at, evenly spread; the last is one of them."""
        return frozenset(int(s) for s in np.linspace(0, self.steps, self.checks + 1).round()[1:])
