"""The one loop of the maps that are trained by gradient: AdamW, and a judge that says which weights are best."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from embridge.methods.divergence import require_converging
from embridge.methods.judges import HeldOutLoss, Judge
from embridge.methods.pair_rows import Rows
from embridge.methods.training_settings import Training
from embridge.progress import Progress, silent

__all__ = ["Data", "Outcome", "Task", "train", "train_by_loss"]

_CHECKS = 20

Batch = TypeVar("Batch")
Batch_co = TypeVar("Batch_co", covariant=True)


@runtime_checkable
class Data(Protocol[Batch_co]):
    """What is trained on: as many rows as it is long, from which batches are taken.

    Examples:
        >>> isinstance(Rows(torch.eye(2), torch.eye(2), torch.ones(2)), Data)
        True
    """

    def __len__(self) -> int: ...

    def take(self, rows: Tensor, /) -> Batch_co:
        """The batch of these row numbers."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Task(Generic[Batch]):
    """What is trained, on what, and who says how good it is.

    Attributes:
        module: Its parameters that need a gradient are moved.
        loss: Of a batch; a scalar.
        data: Where batches come from.
        judge: How good the module is.
        after_step: Called once the optimiser has moved the parameters.

    Examples:
        >>> rows = Rows(torch.eye(2), torch.eye(2), torch.ones(2))
        >>> Task(nn.Linear(2, 2), torch.sum, rows, HeldOutLoss(torch.sum, rows)).after_step is None
        True
    """

    module: nn.Module
    loss: Callable[[Batch], Tensor]
    data: Data[Batch]
    judge: Judge[Any]
    after_step: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """How a training went.

    Attributes:
        steps: How many were done.
        best_step: After which the best weights were seen; 0 where training did not help.
        start: Values of the judge before the first step.
        best: Values of the judge for the best weights.
        scores: The mean of its values, at the start and at every check.
        samples_per_second: How fast it went.

    Examples:
        >>> Outcome(20, 10, torch.zeros(1), torch.ones(1), (0.0, 1.0, 0.5), 1_000).best_step
        10
    """

    steps: int
    best_step: int
    start: Tensor
    best: Tensor
    scores: tuple[float, ...]
    samples_per_second: int


def train(task: Task[Any], training: Training, *, progress: Progress = silent, what: str = "steps") -> Outcome:
    """Minimise the loss with AdamW under a cosine schedule; the module ends with the weights that were judged best.

    The judge is asked before the first step and twenty times on the way, of the module in evaluation mode. The random
    draws are those of torch's global generator.

    Args:
        task: What to train.
        training: For how long, and how fast.
        progress: Told of every step.
        what: What progress calls the steps.

    Returns:
        How it went.

    Raises:
        InvalidInput: The loss or the weights are no longer finite.

    Examples:
        >>> rows = Rows(torch.eye(2), torch.eye(2), torch.ones(2))
        >>> module = nn.Linear(2, 2)
        >>> loss = lambda rows: (module(rows.source) - rows.target).square().mean()
        >>> train(Task(module, loss, rows, HeldOutLoss(loss, rows)), Training(min_steps=20)).best_step
        20
    """
    steps = max(training.epochs * -(-len(task.data) // training.batch_size), training.min_steps)
    parameters = [p for p in task.module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=training.learning_rate, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, began, samples = _Best(task), perf_counter(), 0
    for step, rows in enumerate(_batches(len(task.data), training.batch_size, steps), 1):
        loss = _step(task, optimizer, rows)
        schedule.step()
        samples += len(rows)
        progress(step, steps, what)
        if step % max(1, steps // _CHECKS) == 0 or step == steps:
            require_converging(loss, parameters, what=what, step=step, steps=steps)
            best.check(step)
            if best.checks_since > training.patience:
                break
    progress(steps, steps, what)
    task.module.load_state_dict(best.state)
    rate = round(samples / (perf_counter() - began))
    return Outcome(step, best.step, best.start, best.values, tuple(best.scores), rate)


def train_by_loss(
    module: nn.Module,
    loss: Callable[[Rows], Tensor],
    rows: tuple[Rows, Rows],
    training: Training,
    *,
    progress: tuple[Progress, str],
    after_step: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """`train` on pairs, judged by the same loss on held-out ones.

    Args:
        module: What to train.
        loss: Of rows; a scalar.
        rows: To train on, and held out.
        training: For how long, and how fast.
        progress: Who is told of every step, and what the steps are called.
        after_step: As in `Task`.

    Returns:
        Figures: ``steps``, ``best_step``, ``validation_losses``, ``samples_per_second``.

    Examples:
        >>> rows = Rows(torch.eye(2), torch.eye(2), torch.ones(2))
        >>> module = nn.Linear(2, 2)
        >>> loss = lambda rows: (module(rows.source) - rows.target).square().mean()
        >>> train_by_loss(module, loss, (rows, rows), Training(min_steps=20), progress=(silent, "steps"))["steps"]
        20
    """
    task = Task(module, loss, rows[0], HeldOutLoss(loss, rows[1]), after_step)
    outcome = train(task, training, progress=progress[0], what=progress[1])
    losses = [-score for score in outcome.scores]
    figures = {"steps": outcome.steps, "best_step": outcome.best_step, "validation_losses": losses}
    return figures | {"samples_per_second": outcome.samples_per_second}


def _step(task: Task[Any], optimizer: torch.optim.Optimizer, rows: Tensor) -> Tensor:
    """The loss of the batch, by which the parameters were moved."""
    task.module.train()
    optimizer.zero_grad()
    loss = task.loss(task.data.take(rows))
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    if task.after_step is not None:
        task.after_step()
    return loss.detach()


class _Best:
    """The state of the module that the judge liked best so far."""

    def __init__(self, task: Task[Any]) -> None:
        self._module, self._judge = task.module, task.judge
        self.step, self.checks_since = 0, 0
        self.state = copy.deepcopy(task.module.state_dict())
        self.start = self.values = self._judged()
        self.scores = [float(self.start.mean())]

    def check(self, step: int) -> None:
        values = self._judged()
        better = float(values.mean()) > max(self.scores)
        self.scores.append(float(values.mean()))
        self.checks_since = 0 if better else self.checks_since + 1
        if better:
            self.state, self.step, self.values = copy.deepcopy(self._module.state_dict()), step, values

    def _judged(self) -> Tensor:
        self._module.eval()
        with torch.no_grad():
            return self._judge.values(self._module)


def _batches(rows: int, size: int, steps: int) -> Iterator[Tensor]:
    """``steps`` batches of row numbers, every row once before any comes again."""
    while steps > 0:
        for batch in torch.split(torch.randperm(rows), size)[:steps]:
            yield batch
            steps -= 1
