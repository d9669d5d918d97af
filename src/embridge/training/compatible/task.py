"""One step of compatible training: the batch of a step number, the gradients of an objective, and the held-out score."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader, Dataset

from embridge.errors import InvalidInput, SettingsError
from embridge.training.compatible._balance import Balance
from embridge.training.compatible._balanced import balance_of, crossing_of
from embridge.training.compatible._crossing import Crossing
from embridge.training.compatible.averaging import Average
from embridge.training.compatible.labelled import Labelled
from embridge.training.compatible.preparation import preparation_of
from embridge.training.compatible.settings import CompatibleSettings
from embridge.training.compatible.start import Start
from embridge.training.lightning.precision import precision_on
from embridge.training.lightning.ranks import average, rank_and_world, summed

__all__ = ["Batch", "CompatibleTask"]

_CHUNK_ROWS = 512


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The items of a step, not yet augmented.

    Attributes:
        step: Its number.
        inputs: uint8 images [b, 3, side, side], or float32 vectors [b, d].
        labels: The class of each [b].
        index: Their rows among all items [b].

    Examples:
        >>> Batch(0, torch.zeros(2, 3), labels=torch.tensor([0, 1]), index=torch.tensor([7, 3])).index.tolist()
        [7, 3]
    """

    step: int
    inputs: Tensor
    labels: Tensor
    index: Tensor


class CompatibleTask:
    """One step of compatible training, as the loop asks for it; see `embridge.training.lightning.task.Task`.

    The backbone and the objective are trained in place.

    Args:
        start: The items, the backbone and the objective.
        settings: How the training is done.
        device: Where.

    Examples:
        >>> from embridge.backbones.vectors import VectorHead
        >>> from embridge.training.compatible.labelled import LabelledVectors
        >>> from embridge.training.objectives import make_objective
        >>> data = LabelledVectors(np.eye(4, dtype=np.float32), np.arange(4) % 2)
        >>> start = Start(data, VectorHead(4, 3), make_objective("independent", None, 2, {"dim": 3}), None, 0)
        >>> task = CompatibleTask(start, CompatibleSettings(batch_size=2), "cpu")
        >>> terms = task.step(task.batch(0), lambda loss: loss.backward())
        >>> task.steps_per_epoch, sorted(terms)
        (2, ['classification'])
    """

    def __init__(self, start: Start, settings: CompatibleSettings, device: str) -> None:
        self._start, self._settings, self._device = start, settings, device
        self._data, self._backbone, self._objective = start.data, start.network, start.objective
        self._preparation = preparation_of(start, settings, device)
        self._bfloat16 = precision_on(device, settings.precision) == "bf16-mixed"
        self._rank, self._world = 0, 1
        self.average: Average | None = None
        self.balance, self._crossing = balance_of(start, settings, self.steps_per_epoch), crossing_of(start)
        self._place()
        if settings.ema is not None:
            self.average = Average(self._averaged, decay=settings.ema)
        self._train_mode(False)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches; what is left over waits for another epoch's order."""
        return len(self._data) // self._settings.batch_size

    def state(self) -> dict[str, Tensor]:
        """Backbone, objective and, where there is one, the average, by name."""
        state = {f"backbone.{name}": t for name, t in self._backbone.state_dict().items()}
        state |= {f"objective.{name}": t for name, t in self._objective.state_dict().items()}
        if self.average is not None:
            state |= {f"average.{name}": t for name, t in self.average.state.items()}
            state["average.updates"] = self.average.updates
        if self.balance is not None:
            state |= {f"balance.{name}": t for name, t in self.balance.state.items()}
        return state

    def optimizer(self) -> torch.optim.Optimizer:
        """Made in each process of a training, after it has got its device."""
        self._rank, self._world = rank_and_world()
        self._place()
        parameters = [*self._backbone.parameters(), *self._objective.parameters()]
        optimizer = self._settings.optimizer_of([p for p in parameters if p.requires_grad])
        if self.average is not None:
            average_of_parameters = self.average
            optimizer.register_step_post_hook(lambda *_: average_of_parameters.update())
        return optimizer

    def batch(self, step: int) -> Batch:
        """The items of a step; of several processes, the share of this one."""
        epoch, place = divmod(step, self.steps_per_epoch)
        size = self._settings.batch_size
        order = np.random.default_rng((self._start.seed, epoch)).permutation(len(self._data))
        rows = order[place * size : (place + 1) * size][self._rank :: self._world]
        labels = torch.from_numpy(self._data.labels[rows])
        return Batch(step, self._data.batch(rows), labels, torch.from_numpy(rows))

    def step(self, batch: Batch, backward: Callable[[Tensor], None]) -> dict[str, Tensor]:
        """Add the gradients of a batch; before the first of an epoch, the objective refreshes what it has to."""
        epoch, place = divmod(batch.step, self.steps_per_epoch)
        if place == 0:
            with self._precision(exact=True):
                self._objective.begin_epoch(epoch, self._settings.epochs, self._embedded)
        if self.balance is not None and self._crossing is not None and self.balance.due(batch.step):
            self._look(batch.step, self.balance, self._crossing)
        self._train_mode(True)
        features = self._features(batch.inputs, augmented=True).float()
        with self._precision(exact=True):
            terms = self._terms(batch, features)
            loss = torch.stack(list(terms.values())).sum()
        if not loss.isfinite():
            values = {name: float(term.detach()) for name, term in terms.items()}
            raise InvalidInput(
                f"step {batch.step}: the loss is {values}; lower the learning rate, or clip the gradients"
            )
        backward(loss)
        self._train_mode(False)
        average(buffer for buffer in self._backbone.buffers() if buffer.is_floating_point())
        return {name: term.detach() for name, term in terms.items()}

    def _terms(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        """The terms of the loss, weighed; at first those of compatibility leave some classes out."""
        labels, index = batch.labels.to(self._device), batch.index.to(self._device)
        balance, crossing = self.balance, self._crossing
        if balance is None:
            terms: dict[str, Tensor] = self._objective(features, labels, index)
            return terms
        with parametrize.cached():
            terms = self._objective(features, labels, index)
            if crossing is not None and batch.step < balance.all_from:
                kept = np.flatnonzero(~np.isin(batch.labels.numpy(), crossing.classes_left_out))
                if len(kept) < len(labels):
                    self._objective.eval()  # what it counts, it counts once
                    rows = torch.from_numpy(kept).to(self._device)
                    others = self._objective(features[rows], labels[rows], index[rows]) if len(kept) > 1 else {}
                    terms |= {name: others.get(name, 0 * terms[name]) for name in balance.moved}
        return balance.weighed(batch.step, terms, features)

    @torch.no_grad()
    def _look(self, step: int, balance: Balance, crossing: Crossing) -> None:
        """See how far new queries are ahead, and move the weights."""
        ahead = torch.from_numpy(crossing.ahead(self._held_out_embeddings()[1])).float().to(self._device)
        average([ahead])
        balance.look(step, ahead.cpu())

    @torch.no_grad()
    def score(self) -> float:
        """How often the nearest held-out item is of the right class; 0 without held-out items."""
        held_out = self._start.held_out
        if held_out is None:
            return 0.0
        return held_out.score(*self._held_out_embeddings())

    def _held_out_embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the held-out items by the model as it would end now, and the same as they meet old rows."""
        assert self._start.held_out is not None
        data = self._start.held_out.data
        with nullcontext() if self.average is None else self.average.applied():
            new = torch.cat([rows for _, rows in self.embeddings(data, np.arange(len(data)), exact=True)])
            comparable = self._objective.comparable(new.to(self._device)).cpu()
        return new.numpy(), comparable.numpy()

    def finish(self) -> None:
        """End with the averages, where there are any, on the processor and laid out as they are when read from a file."""
        if self.average is not None:
            self.average.settle()
        for module in (self._backbone, self._objective):
            _placed(module, "cpu", torch.contiguous_format).eval()

    @torch.no_grad()
    def _embedded(self) -> tuple[Tensor, Tensor]:
        """Of the training items that the objective asks for, in their order; with several processes, each embeds its share."""
        sample = _share_of_each(self._data.labels, self._objective.refresh_share)
        rows = torch.zeros(len(sample), self._objective.embedding_dim)
        for own, embeddings in self.embeddings(self._data, sample[self._rank :: self._world], exact=False):
            rows[torch.from_numpy(np.searchsorted(sample, own.numpy()))] = embeddings
        return summed(rows.to(self._device)), torch.from_numpy(self._data.labels[sample]).to(self._device)

    def embeddings(self, data: Labelled, rows: np.ndarray, *, exact: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """Embed items that are not augmented, a part at a time.

        Args:
            data: The items.
            rows: Which of them.
            exact: In float32, whatever the backbone is trained in.

        Yields:
            Row numbers and embeddings of a part.
        """
        chunks = [rows[start : start + _CHUNK_ROWS] for start in range(0, len(rows), _CHUNK_ROWS)]
        loader = DataLoader(  # with a generator of its own: a loader draws from torch's otherwise
            _Chunks(data, chunks), batch_size=None, num_workers=self._settings.workers, generator=torch.Generator()
        )
        for chunk, inputs in zip(chunks, loader, strict=True):
            features = self._features(inputs, augmented=False, exact=exact)
            yield torch.from_numpy(chunk), self._objective.embed(features.float()).float().cpu()

    def _features(self, inputs: Tensor, *, augmented: bool, exact: bool = False) -> Tensor:
        prepared = self._preparation.prepared(inputs.to(self._device), augmented=augmented)
        with self._precision(exact=exact):
            features: Tensor = self._backbone(prepared)
        return features

    def _precision(self, *, exact: bool) -> AbstractContextManager[None]:
        """Losses, prototypes and scores are in float32, whatever the backbone runs in."""
        kind = torch.device(self._device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self._bfloat16 and not exact)

    def _averaged(self) -> dict[str, Tensor]:
        """What is averaged: all that the model is made of; what an objective refreshes stays as it is."""
        backbone = {f"backbone.{name}": t for name, t in self._backbone.state_dict().items()}
        return backbone | {f"objective.{name}": p for name, p in self._objective.named_parameters()}

    def _place(self) -> None:
        _placed(self._backbone, self._device, self._preparation.layout)
        self._objective.to(self._device)
        if self.average is not None:
            self.average.to(self._device)

    def _train_mode(self, mode: bool) -> None:
        self._backbone.train(mode)
        self._objective.train(mode)


def _placed(module: nn.Module, device: str, layout: torch.memory_format) -> nn.Module:
    moved: nn.Module = module.to(device).to(memory_format=layout)  # type: ignore[call-overload]
    return moved


class _Chunks(Dataset[Tensor]):
    def __init__(self, data: Labelled, chunks: list[np.ndarray]) -> None:
        self._data, self._chunks = data, chunks

    def __len__(self) -> int:
        return len(self._chunks)

    def __getitem__(self, place: int) -> Tensor:
        return self._data.batch(self._chunks[place])


def _share_of_each(labels: np.ndarray, share: float) -> np.ndarray:
    """Row numbers, rising: of every class at least that share of its rows, evenly spread over them."""
    if not 0 < share <= 1:
        raise SettingsError(f"refresh_share is above 0 and at most 1, came {share}")
    order, starts = np.argsort(labels, kind="stable"), np.unique(np.sort(labels), return_index=True)[1]
    parts = np.split(order, starts[1:])
    sample = [part[np.linspace(0, len(part) - 1, math.ceil(share * len(part))).astype(np.int64)] for part in parts]
    return np.sort(np.concatenate(sample))
