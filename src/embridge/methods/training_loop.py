"""What the maps learnt by gradient share: pairs as tensors, and a loop that keeps the weights best on held-out pairs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from embridge.adapters.base import normalized
from embridge.errors import InvalidInput, SettingsError
from embridge.methods.base import Pairs
from embridge.progress import Progress

__all__ = ["Rows", "Training", "check_training", "reversed_pairs", "split_rows", "train"]

_CHECKS, _HELD_OUT_ROWS = 20, 2_000


@runtime_checkable
class Training(Protocol):
    """The settings that every trained map has."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def min_steps(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def validation_fraction(self) -> float: ...


def check_training(method: str, settings: Training) -> None:
    """Raise `SettingsError` for training settings that cannot be."""
    if not 0 < settings.learning_rate < float("inf") or not 0 <= settings.weight_decay < float("inf"):
        raise SettingsError(f"{method}: learning_rate or weight_decay out of range: {settings}")
    whole = (settings.batch_size, settings.epochs, settings.min_steps, settings.patience)
    if min(whole) < 1 or not 0 < settings.validation_fraction < 1:
        raise SettingsError(
            f"{method}: batch_size, epochs, min_steps, patience or validation_fraction out of range: {settings}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Pairs as unit rows: ``source`` [b, d_source] is mapped to ``target`` [b, d_target].

    share [b]: how much a pair counts, one on average; nothing where a vector is zero, since it has no direction.
    label [b]: the number of its class, or None where the pairs have no classes.
    """

    source: Tensor
    target: Tensor
    share: Tensor
    label: Tensor | None = None

    @staticmethod
    def of(source: np.ndarray, target: np.ndarray, pairs: Pairs) -> Rows:
        """Raises `InvalidInput` where every pair has a vector of zeros."""
        sides = [torch.from_numpy(normalized(np.ascontiguousarray(side))) for side in (source, target)]
        share = torch.ones(len(pairs)) if pairs.weights is None else torch.from_numpy(pairs.weights.astype(np.float32))
        for side in sides:
            share = share * (side != 0).any(1)
        if not bool(share.any()):
            raise InvalidInput(f"pairs: each of the {len(pairs)} to train or to validate on has a vector of zeros")
        label = None if pairs.labels is None else torch.from_numpy(np.array(pairs.labels))
        return Rows(sides[0], sides[1], share / share.mean(), label)

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: Tensor) -> Rows:
        """Those rows, with the shares they have among all."""
        label = None if self.label is None else self.label[rows]
        return Rows(self.source[rows], self.target[rows], self.share[rows], label)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of one value a row [b], each as much as its pair counts."""
        return (self.share * values).mean()


def reversed_pairs(pairs: Pairs) -> Pairs:
    """The same pairs with old and new exchanged, to fit a forward map as if it were a backward one."""
    return Pairs(pairs.old, pairs.new, pairs.weights, pairs.labels)


def split_rows(pairs: Pairs, settings: Training, *, seed: int) -> tuple[Pairs, Rows, Rows]:
    """The training pairs, and the rows to train and to validate on: new is mapped to old.

    At most 2,000 held-out pairs, evenly spread, are looked at: the check comes often.
    """
    fitted, held = pairs.hold_out(settings.validation_fraction, seed=seed)
    looked_at = held.take(np.linspace(0, len(held) - 1, min(len(held), _HELD_OUT_ROWS)).astype(np.int64))
    train_rows, held_rows = (Rows.of(part.new.vectors, part.old.vectors, part) for part in (fitted, looked_at))
    return fitted, train_rows, held_rows


def train(
    module: nn.Module,
    loss: Callable[[Rows], Tensor],
    rows: tuple[Rows, Rows],
    settings: Training,
    progress: tuple[Progress, str],
    *,
    after_step: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Minimise ``loss(batch)`` with AdamW under a cosine schedule; ``module`` ends with the weights best on held-out rows.

    rows: to train on, and held out; the loss of the second, without dropout, is looked at twenty times and once before
    the first step. Figures: ``steps``, ``best_step`` (0: training did not help), ``validation_losses``,
    ``samples_per_second``. after_step: called once the optimiser has moved the parameters.
    """
    fitted, held = rows
    steps = max(settings.epochs * -(-len(fitted) // settings.batch_size), settings.min_steps)
    learnt = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, (tell, what), began, samples = _Best(module, loss, held), progress, perf_counter(), 0
    for step, batch in enumerate(_batches(len(fitted), settings.batch_size, steps), 1):
        module.train()
        optimizer.zero_grad()
        loss(fitted.take(batch)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if after_step is not None:
            after_step()
        samples += len(batch)
        tell(step, steps, what)
        if step % max(1, steps // _CHECKS) == 0 or step == steps:
            best.offer(step)
            if best.checks_since > settings.patience:
                break
    tell(steps, steps, what)
    module.load_state_dict(best.state)
    figures = {"steps": step, "best_step": best.step, "validation_losses": best.losses}
    return figures | {"samples_per_second": round(samples / (perf_counter() - began))}


class _Best:
    """The state of the module with the lowest held-out loss so far."""

    def __init__(self, module: nn.Module, loss: Callable[[Rows], Tensor], held: Rows) -> None:
        self._module, self._loss, self._held = module, loss, held
        self.step, self.checks_since = 0, 0
        self.state = copy.deepcopy(module.state_dict())
        self.losses = [self._look()]

    def offer(self, step: int) -> None:
        came = self._look()
        better = came < min(self.losses)
        self.losses.append(came)
        self.checks_since = 0 if better else self.checks_since + 1
        if better:
            self.state, self.step = copy.deepcopy(self._module.state_dict()), step

    def _look(self) -> float:
        self._module.eval()
        with torch.no_grad():
            return float(self._loss(self._held))


def _batches(rows: int, size: int, steps: int) -> Iterator[Tensor]:
    """``steps`` batches of row numbers, every row once before any comes again."""
    while steps > 0:
        for batch in torch.split(torch.randperm(rows), size)[:steps]:
            yield batch
            steps -= 1
