"""The training loop, by Lightning: optimiser, precision, loggers, checkpoints of what is learnt, and resuming exactly.

Every step is a function of its number: its batch, and the state of torch's generators in it. So a run that was killed and
taken up again from its last checkpoint ends, on a CPU, with the bytes of one that was not. Needs the extra ``finetune`` or
``train``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from embridge.errors import InvalidInput
from embridge.progress import Progress
from embridge.training.lightning.checkpoints import PlainCheckpoints, require_own
from embridge.training.lightning.quiet import quiet_lightning
from embridge.training.lightning.ranks import average, average_gradients, rank_and_world
from embridge.training.lightning.strategy import STARTED_ANEW, strategy_of

__all__ = ["Best", "Loop", "Task", "run"]

CHECKPOINT = "last.ckpt"


@runtime_checkable
class Task(Protocol):
    """What is trained: batches, the loss's gradients, and a score of how it goes."""

    def learnt(self) -> dict[str, Tensor]:
        """All that training changes, by name: parameters, and what else is to be taken up again with them."""
        ...

    def optimizer(self) -> torch.optim.Optimizer: ...

    def batch(self, step: int) -> Any:
        """What a step is trained on, on the processor; depends on the number of the step alone."""
        ...

    def step(self, batch: Any, backward: Callable[[Tensor], None]) -> dict[str, Tensor]:
        """Add the gradients of one batch; the terms of the loss, detached."""
        ...

    def score(self) -> float:
        """How good the parameters are by what they are not trained on; higher is better."""
        ...


@dataclass(frozen=True, slots=True)
class Loop:
    """How long and where. name: of the run, so that a folder's checkpoint is not taken up by another one.

    share: of the learning rates at a step, counted from 0. checks: how often the score is looked at; with 0, never. keep:
    the parameters that end the run. gradient_clip: the largest norm of all gradients together. devices: processes with one
    device each, whose gradients are averaged; see `strategy_of`.
    """

    name: str
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


class Best:
    """The parameters with the highest score so far; the start counts, as step 0, so the best is never below it.

    Where the last ones are kept, the scores alone. losses: the mean loss of each hundredth of the steps, or of each step.
    """

    def __init__(self, task: Task, loop: Loop) -> None:
        self._task, self._loop, self.step = task, loop, 0
        self.scores = [task.score()] if loop.checks else []
        self.state = self._copied()
        self.losses: list[float] = []
        self._sum, self._every = torch.zeros(()), max(1, loop.steps // 100)

    def offer(self, step: int) -> float:
        score = self._task.score()
        if score > max(self.scores):
            self.step, self.state = step, self._copied()
        self.scores.append(score)
        return score

    def lost(self, step: int, loss: Tensor) -> None:
        self._sum = self._sum.to(loss.device) + loss
        if (step + 1) % self._every == 0:
            average([self._sum])
            self.losses.append(float(self._sum) / self._every)
            self._sum = torch.zeros(())

    def to_dict(self) -> dict[str, Any]:
        own = {"step": self.step, "scores": self.scores, "state": self.state}
        return own | {"losses": self.losses, "sum": self._sum.cpu()}

    def restore(self, saved: dict[str, Any]) -> None:
        self.step, self.scores, self.state = saved["step"], list(saved["scores"]), dict(saved["state"])
        self.losses, self._sum = list(saved["losses"]), saved["sum"]

    def _copied(self) -> dict[str, Tensor]:
        return _copy(self._task.learnt()) if self._loop.keep == "best" else {}


def run(
    task: Task, loop: Loop, *, folder: Path | None, loggers: Sequence[Logger], progress: Progress, what: str
) -> Best:
    """Train, from the folder's checkpoint where it has one; the parameters end as the best that were seen, or the last.

    Raises `InvalidInput` for a checkpoint of another run, or one that cannot be read.
    """
    best, file = Best(task, loop), None if folder is None else folder / CHECKPOINT
    module = _Module(task, loop, best, file)
    resumed = module.checkpoint if module.checkpoint is not None and module.checkpoint.exists() else None
    if resumed is not None:
        require_own(resumed, loop.name)
    with quiet_lightning():
        trainer = _trainer(loop, folder, loggers, _Follow(progress, loop, what))
        loader = DataLoader(
            _Batches(task), sampler=_From(trainer, loop.steps), batch_size=None, num_workers=loop.workers
        )
        trainer.fit(module, loader, ckpt_path=None if resumed is None else str(resumed))
    if file is not None and loop.devices > 1 and loop.strategy in STARTED_ANEW:
        module.on_load_checkpoint(PlainCheckpoints().load_checkpoint(file))  # other processes have learnt it
    if loop.keep == "best":
        _load(task.learnt(), best.state)
    return best


def _trainer(loop: Loop, folder: Path | None, loggers: Sequence[Logger], follow: pl.Callback) -> pl.Trainer:
    kind, _, number = loop.device.partition(":")
    alone = loop.devices == 1
    return pl.Trainer(
        accelerator="gpu" if kind == "cuda" else kind,
        devices=[int(number)] if number and alone else loop.devices,
        strategy=strategy_of(loop.strategy, loop.devices),
        use_distributed_sampler=False,
        precision=loop.precision,
        max_epochs=-1,
        max_steps=loop.steps,
        logger=list(loggers) or False,
        log_every_n_steps=1,
        callbacks=[follow],
        plugins=[PlainCheckpoints(), *([LightningEnvironment()] if alone or loop.strategy in STARTED_ANEW else [])],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


class _Module(pl.LightningModule):  # type: ignore[misc]
    """The task as Lightning sees it. It holds no module of its own: checkpoints have what is learnt, and no more."""

    def __init__(self, task: Task, loop: Loop, best: Best, checkpoint: Path | None) -> None:
        super().__init__()
        self.automatic_optimization = False  # the gradients may come in chunks
        self.task, self.loop, self.best, self.checkpoint = task, loop, best, checkpoint

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return batch  # the task moves what it needs when it needs it

    def configure_optimizers(self) -> Any:
        optimizer = self.task.optimizer()
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, self.loop.share)]

    def training_step(self, numbered: _Numbered, batch_idx: int) -> None:
        rank, world = rank_and_world()
        torch.manual_seed(_seed_of(self.loop.seed, numbered.step, rank))
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        terms = self.task.step(numbered.batch, self.manual_backward)
        if world > 1:
            average_gradients([p for group in optimizer.param_groups for p in group["params"]])
        if self.loop.gradient_clip is not None:
            self.clip_gradients(optimizer, gradient_clip_val=self.loop.gradient_clip, gradient_clip_algorithm="norm")
        optimizer.step()
        schedule: Any = self.lr_schedulers()
        schedule.step()
        loss = torch.stack(list(terms.values())).sum()
        self.best.lost(numbered.step, loss)
        self.log_dict({"loss": loss, **terms}, batch_size=1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        own = {"name": self.loop.name, "learnt": _copy(self.task.learnt()), "best": self.best.to_dict()}
        checkpoint["embridge"] = own

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        _load(self.task.learnt(), checkpoint["embridge"]["learnt"])
        self.best.restore(checkpoint["embridge"]["best"])


class _Follow(pl.Callback):  # type: ignore[misc]
    """After each step: say so, look at the score, keep a checkpoint."""

    def __init__(self, progress: Progress, loop: Loop, what: str) -> None:
        self._progress, self._loop, self._what = progress, loop, what

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        step = trainer.global_step
        if trainer.is_global_zero:
            self._progress(step, self._loop.steps, self._what)
        if step in self._loop.check_steps:
            module.log("held_out_score", module.best.offer(step), batch_size=1)
        due = step % self._loop.checkpoint_every_steps == 0 or step == self._loop.steps
        if due and module.checkpoint is not None:
            trainer.save_checkpoint(module.checkpoint)


class _Numbered:
    """A batch and its step; no tuple, which loaders take apart."""

    def __init__(self, step: int, batch: Any) -> None:
        self.step, self.batch = step, batch


class _Batches(Dataset[_Numbered]):
    def __init__(self, task: Task) -> None:
        self._task = task

    def __getitem__(self, step: int) -> _Numbered:
        return _Numbered(step, self._task.batch(step))


class _From:
    """The steps that are still to do, asked when they begin; of no known length, so that Lightning skips none."""

    def __init__(self, trainer: pl.Trainer, steps: int) -> None:
        self._trainer, self._steps = trainer, steps

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._trainer.global_step, self._steps))


def _seed_of(seed: int, step: int, rank: int) -> int:
    words = (seed, step, rank) if rank else (seed, step)
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _copy(learnt: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: p.detach().cpu().clone() for name, p in learnt.items()}


def _load(learnt: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    if learnt.keys() != state.keys():
        raise InvalidInput(
            "the checkpoint holds other parameters than are trained; remove it, or choose another folder"
        )
    with torch.no_grad():
        for name, parameter in learnt.items():
            parameter.copy_(state[name])
