"""One step of compatible training: the batch of a step number, the gradients of an objective, and the held-out score."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from embridge.backbones.base import Backbone
from embridge.backbones.pixels import Pixels
from embridge.errors import InvalidInput, SettingsError
from embridge.training.compatible.averaging import Average
from embridge.training.compatible.held_out_items import HeldOut
from embridge.training.compatible.labelled import Labelled
from embridge.training.lightning.ranks import average, rank_and_world, summed
from embridge.training.objectives.base import Objective

__all__ = ["Batch", "CompatibleTask", "Inputs", "Optimization"]

Optimizer = Literal["adamw", "adam", "sgd"]

_CHUNK_ROWS = 512


@dataclass(frozen=True, slots=True)
class Optimization:
    """How the parameters are moved; see `embridge.training.compatible.trainer.CompatibleTraining`."""

    optimizer: Optimizer
    learning_rate: float
    weight_decay: float
    momentum: float
    batch_size: int
    epochs: int
    ema: float | None
    bfloat16: bool

    def make(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                parameters, lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
            )
        kind = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        return kind(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What is trained on, and what becomes of images before the backbone; pixels are None for vectors.

    layout: of the images and of the backbone, see `image_layout`.
    """

    data: Labelled
    pixels: Pixels | None
    augment: nn.Module
    seed: int
    workers: int
    layout: torch.memory_format = torch.contiguous_format

    def prepared(self, x: Tensor, *, augmented: bool) -> Tensor:
        if self.pixels is None:
            return x
        images = x.float() / 255
        scaled = self.pixels.normalised(self.augment(images) if augmented else images)
        return scaled.contiguous(memory_format=self.layout)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The items of a step, as their rows among all, not yet augmented."""

    step: int
    inputs: Tensor
    labels: Tensor
    index: Tensor


class CompatibleTask:
    """See `embridge.training.lightning.loop.Task`. The backbone and the objective are trained in place."""

    def __init__(
        self,
        inputs: Inputs,
        backbone: Backbone,
        objective: Objective,
        optimization: Optimization,
        *,
        device: str,
        held_out: HeldOut | None,
    ) -> None:
        self._inputs, self._data, self._how, self._held = inputs, inputs.data, optimization, held_out
        self._backbone, self._objective, self._device = backbone, objective, device
        self._part = (0, 1)
        self.average: Average | None = None
        self._place()
        if optimization.ema is not None:
            self.average = Average(self._followed, decay=optimization.ema)
        self._train_mode(False)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches; what is left over waits for another epoch's order."""
        return len(self._data) // self._how.batch_size

    def learnt(self) -> dict[str, Tensor]:
        found = {f"backbone.{name}": t for name, t in self._backbone.state_dict().items()}
        found |= {f"objective.{name}": t for name, t in self._objective.state_dict().items()}
        if self.average is not None:
            found |= {f"average.{name}": t for name, t in self.average.state.items()}
            found["average.updates"] = self.average.updates
        return found

    def optimizer(self) -> torch.optim.Optimizer:
        """Made in each process of a training, after it has got its device."""
        self._part = rank_and_world()
        self._place()
        parameters = [*self._backbone.parameters(), *self._objective.parameters()]
        made = self._how.make([p for p in parameters if p.requires_grad])
        if self.average is not None:
            followed = self.average
            made.register_step_post_hook(lambda *_: followed.update())
        return made

    def batch(self, step: int) -> Batch:
        epoch, place = divmod(step, self.steps_per_epoch)
        size, (rank, world) = self._how.batch_size, self._part
        order = np.random.default_rng((self._inputs.seed, epoch)).permutation(len(self._data))
        rows = order[place * size : (place + 1) * size][rank::world]
        labels = torch.from_numpy(self._data.labels[rows])
        return Batch(step, self._data.batch(rows), labels, torch.from_numpy(rows))

    def step(self, batch: Batch, backward: Callable[[Tensor], None]) -> dict[str, Tensor]:
        epoch, place = divmod(batch.step, self.steps_per_epoch)
        if place == 0:
            with self._precision(exact=True):
                self._objective.begin_epoch(epoch, self._how.epochs, self._embedded)
        self._train_mode(True)
        features = self._features(batch.inputs, augmented=True)
        with self._precision(exact=True):
            terms = self._objective(features.float(), batch.labels.to(self._device), batch.index.to(self._device))
            loss = torch.stack(list(terms.values())).sum()
        if not loss.isfinite():
            said = {name: float(term.detach()) for name, term in terms.items()}
            raise InvalidInput(f"step {batch.step}: the loss is {said}; lower the learning rate, or clip the gradients")
        backward(loss)
        self._train_mode(False)
        average(buffer for buffer in self._backbone.buffers() if buffer.is_floating_point())
        return {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def score(self) -> float:
        if self._held is None:
            return 0.0
        with nullcontext() if self.average is None else self.average.applied():
            new = torch.cat(
                [rows for _, rows in self._embeddings(self._held.data, _rows_of(self._held.data), exact=True)]
            )
            comparable = self._objective.comparable(new.to(self._device)).cpu()
        return self._held.score(new.numpy(), comparable.numpy())

    def finish(self) -> None:
        """End with the averages, where there are any, on the processor and laid out as they are when read from a file."""
        if self.average is not None:
            self.average.settle()
        for module in (self._backbone, self._objective):
            _placed(module, "cpu", torch.contiguous_format).eval()

    @torch.no_grad()
    def _embedded(self) -> tuple[Tensor, Tensor]:
        """Of the training items that the objective asks for, in their order; with several processes, each embeds its share."""
        rank, world = self._part
        asked = _share_of_each(self._data.labels, self._objective.refresh_share)
        rows = torch.zeros(len(asked), self._objective.embedding_dim)
        for mine, embeddings in self._embeddings(self._data, asked[rank::world], exact=False):
            rows[torch.from_numpy(np.searchsorted(asked, mine.numpy()))] = embeddings
        return summed(rows.to(self._device)), torch.from_numpy(self._data.labels[asked]).to(self._device)

    def _embeddings(self, data: Labelled, rows: np.ndarray, *, exact: bool) -> Iterator[tuple[Tensor, Tensor]]:
        """Row numbers and embeddings of these items, not augmented, a part at a time."""
        chunks = [rows[start : start + _CHUNK_ROWS] for start in range(0, len(rows), _CHUNK_ROWS)]
        loader = DataLoader(  # with a generator of its own: a loader draws from torch's otherwise
            _Chunks(data, chunks), batch_size=None, num_workers=self._inputs.workers, generator=torch.Generator()
        )
        for chunk, inputs in zip(chunks, loader, strict=True):
            features = self._features(inputs, augmented=False, exact=exact)
            yield torch.from_numpy(chunk), self._objective.embed(features.float()).float().cpu()

    def _features(self, inputs: Tensor, *, augmented: bool, exact: bool = False) -> Tensor:
        prepared = self._inputs.prepared(inputs.to(self._device), augmented=augmented)
        with self._precision(exact=exact):
            features: Tensor = self._backbone(prepared)
        return features

    def _precision(self, *, exact: bool) -> AbstractContextManager[None]:
        """Losses, prototypes and scores are in float32, whatever the backbone runs in."""
        kind = torch.device(self._device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self._how.bfloat16 and not exact)

    def _followed(self) -> dict[str, Tensor]:
        """What is averaged: all that the model is made of; what an objective refreshes stays as it is."""
        found = {f"backbone.{name}": t for name, t in self._backbone.state_dict().items()}
        return found | {f"objective.{name}": p for name, p in self._objective.named_parameters()}

    def _place(self) -> None:
        _placed(self._backbone, self._device, self._inputs.layout)
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


def _rows_of(data: Labelled) -> np.ndarray:
    """Every row number."""
    return np.arange(len(data))


def _share_of_each(labels: np.ndarray, share: float) -> np.ndarray:
    """Row numbers, rising: of every class at least that share of its rows, evenly spread over them."""
    if not 0 < share <= 1:
        raise SettingsError(f"refresh_share is above 0 and at most 1, came {share}")
    order, starts = np.argsort(labels, kind="stable"), np.unique(np.sort(labels), return_index=True)[1]
    parts = np.split(order, starts[1:])
    taken = [part[np.linspace(0, len(part) - 1, math.ceil(share * len(part))).astype(np.int64)] for part in parts]
    return np.sort(np.concatenate(taken))
