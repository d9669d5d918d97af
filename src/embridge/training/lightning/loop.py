"""The training loop, by Lightning: optimiser, precision, loggers, checkpoints of what is learnt, and resuming exactly.

Every step is a function of its number: its batch, and the state of torch's generators in it. So a run that was killed and
taken up again from its last checkpoint ends, on a CPU, with the bytes of one that was not. Needs the extra ``finetune`` or
``train``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader, Dataset

from embridge.errors import EmbridgeError, InvalidInput
from embridge.training.lightning._deaths import told_deaths
from embridge.training.lightning.best import Best, copied, load
from embridge.training.lightning.checkpoints import PlainCheckpoints, require_own
from embridge.training.lightning.quiet import quiet_lightning
from embridge.training.lightning.ranks import average_gradients, rank_and_world
from embridge.training.lightning.run import Run
from embridge.training.lightning.strategies import strategy_of
from embridge.training.lightning.task import Loop, Task

__all__ = ["CHECKPOINT", "train"]

CHECKPOINT = "last.ckpt"


def train(task: Task, loop: Loop, run: Run) -> Best:
    """Train a task, from the folder's checkpoint where there is one.

    Args:
        task: What is trained; its parameters end as the best that were seen, or as the last.
        loop: How long and where.
        run: Where checkpoints lie, and who is told; its folder is there already.

    Returns:
        Scores, losses, and after which step the best parameters were there.

    Raises:
        InvalidInput: The checkpoint is of another training, or cannot be read; or the loss or the weights are no longer
            finite.

    Examples:
        >>> class Toy:
        ...     weight = torch.ones(1, requires_grad=True)
        ...     def state(self): return {"weight": self.weight}
        ...     def optimizer(self): return torch.optim.SGD([self.weight], lr=0.1)
        ...     def batch(self, step): return torch.ones(1)
        ...     def step(self, batch, backward):
        ...         loss = (self.weight * batch).square().sum()
        ...         backward(loss)
        ...         return {"loss": loss.detach()}
        ...     def score(self): return -float(self.weight.detach().square())
        >>> best = train(Toy(), Loop("toy", "steps", steps=3, seed=0, share=lambda step: 1.0), Run())
        >>> best.step, [round(loss, 3) for loss in best.losses]
        (3, [1.0, 0.64, 0.41])
    """
    best, file = Best(task, loop), None if run.folder is None else Path(run.folder) / CHECKPOINT
    module = _Module(task, loop, best, file)
    resumed = file if file is not None and file.exists() else None
    if resumed is not None:
        require_own(resumed, loop.name)
    with quiet_lightning():
        trainer = _trainer(loop, run)
        loader = DataLoader(
            _Batches(task), sampler=_From(trainer, loop.steps), batch_size=None, num_workers=loop.workers
        )
        with told_deaths(trainer), _blamed(resumed, module):
            trainer.fit(module, loader, ckpt_path=None if resumed is None else str(resumed))
    if file is not None and loop.devices > 1 and not strategy_of(loop.strategy).runs_script_again:
        module.on_load_checkpoint(PlainCheckpoints().load_checkpoint(file))  # other processes have learnt it
    if loop.keep == "best":
        load(task.state(), best.state)
    return best


@contextmanager
def _blamed(resumed: Path | None, module: _Module) -> Iterator[None]:
    """What fails in taking up a checkpoint, or in the first step after it, is told of the checkpoint."""
    try:
        yield
    except EmbridgeError:
        raise
    except Exception as error:  # torch and Lightning share no base class but this
        if resumed is None or module.begun_steps > 1:
            raise
        raise InvalidInput(
            f"{resumed}: the training cannot go on from there ({type(error).__name__}: {error}); if nothing else is wrong, the "
            "checkpoint was altered: remove it to start again"
        ) from error


def _trainer(loop: Loop, run: Run) -> pl.Trainer:
    kind, _, number = loop.device.partition(":")
    alone, strategy = loop.devices == 1, strategy_of(loop.strategy)
    return pl.Trainer(
        accelerator="gpu" if kind == "cuda" else kind,
        devices=[int(number)] if number and alone else loop.devices,
        strategy="auto" if alone else _Unwrapped(start_method=strategy.start_method),
        use_distributed_sampler=False,
        precision=loop.precision,
        max_epochs=-1,
        max_steps=loop.steps,
        logger=list(run.loggers) or False,
        log_every_n_steps=1,
        callbacks=[_Follow(run, loop)],
        plugins=[PlainCheckpoints(), *([] if strategy.runs_script_again and not alone else [LightningEnvironment()])],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run.folder,
    )


class _Unwrapped(DDPStrategy):  # type: ignore[misc]
    """Without torch's wrapper, which takes one forward of one module; the loop averages the gradients itself."""

    def configure_ddp(self) -> None:
        pass


class _Module(pl.LightningModule):  # type: ignore[misc]
    """The task as Lightning sees it. It holds no module of its own: checkpoints have what is learnt, and no more."""

    def __init__(self, task: Task, loop: Loop, best: Best, checkpoint: Path | None) -> None:
        super().__init__()
        self.automatic_optimization = False  # the gradients may come in chunks
        self.task, self.loop, self.best, self.checkpoint = task, loop, best, checkpoint
        self.begun_steps = 0

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return batch  # the task moves what it needs when it needs it

    def configure_optimizers(self) -> Any:
        optimizer = self.task.optimizer()
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, self.loop.share)]

    def training_step(self, numbered: _Numbered, batch_idx: int) -> None:
        self.begun_steps += 1
        rank, world = rank_and_world()
        _seed_generators(_seed_of(self.loop.seed, numbered.step, rank), self.loop.device)
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
        self.best.add_loss(numbered.step, loss)
        if self.trainer.loggers:
            self.log_dict({"loss": loss, **terms}, batch_size=1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = copied(self.task.state())
        checkpoint["embridge"] = {"name": self.loop.name, "learnt": state, "best": self.best.to_dict()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        load(self.task.state(), checkpoint["embridge"]["learnt"])
        self.best.restore(checkpoint["embridge"]["best"])


class _Follow(pl.Callback):  # type: ignore[misc]
    """After each step: say so, look at the score, keep a checkpoint."""

    def __init__(self, run: Run, loop: Loop) -> None:
        self._progress, self._loop = run.progress, loop

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, *_: Any) -> None:
        step = trainer.global_step
        if trainer.is_global_zero:
            self._progress(step, self._loop.steps, self._loop.what)
        if step in self._loop.check_steps:
            score = module.best.check(step)
            if trainer.loggers:
                module.log("held_out_score", score, batch_size=1)
        due = step % self._loop.checkpoint_every_steps == 0 or step == self._loop.steps
        if due:
            module.best.require_converging(step, module.task.state().values())
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


def _seed_generators(seed: int, device: str) -> None:
    """As ``torch.manual_seed``, which on a processor also prepares every device there is not, 4 ms a step."""
    (torch.default_generator if device == "cpu" else torch).manual_seed(seed)
