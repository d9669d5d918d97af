"""One step of XBT's second stage: the batch of a step number, its gradients, and the held-out score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.datasets.image_text import ImageTextPairs
from embridge.encoders.base import Modality
from embridge.encoders.clip import ClipEncoder
from embridge.methods.unit_rows import UnitRows
from embridge.training.objectives.xbt import XBTCaptioned, XBTImageText
from embridge.training.xbt.bridge import TrainableBridge
from embridge.training.xbt.cached_gradients import cached_backward, plain_backward
from embridge.training.xbt.held_out_pairs import HeldOutPairs
from embridge.training.xbt.lora import lora_state

__all__ = ["Batch", "Rates", "Surrogates", "XBTTask"]


@dataclass(frozen=True, slots=True, eq=False)
class Surrogates:
    """Pairs with the surrogates ψ₀(native caption) of their old captions, their groups, and native image vectors.

    Vectors are unit rows; those of the images are needed beside captions of stage 1 alone.
    """

    pairs: ImageTextPairs
    old_texts: np.ndarray
    groups: np.ndarray
    images: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Surrogates:
        """Those pairs, in that order."""
        images = None if self.images is None else self.images[rows]
        return Surrogates(self.pairs.take(rows), self.old_texts[rows], self.groups[rows], images)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The inputs of both towers in chunks, with the targets, groups and native image vectors of all rows."""

    images: list[Any]
    texts: list[Any]
    targets: Tensor
    groups: Tensor
    seen: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """Learning rates of LoRA and ψ, weight decay of both; rows of a batch and of a chunk, captions of a step."""

    lora: float
    projection: float
    weight_decay: float
    batch_size: int
    chunk_size: int
    caption_batch_size: int = 1024


class XBTTask:
    """See `embridge.training.lightning.loop.Task`. attached: the encoder's own model with the LoRA in it.

    captions: of stage 1, which the loss `XBTCaptioned` asks for, and `XBTImageText` does not.
    """

    def __init__(
        self,
        encoder: ClipEncoder,
        attached: nn.Module,
        bridge: TrainableBridge,
        objective: XBTImageText | XBTCaptioned,
        rates: Rates,
        *,
        train: Surrogates,
        held: Surrogates,
        seed: int,
        captions: UnitRows | None = None,
    ) -> None:
        self._captions = captions
        self._encoder, self._attached, self._bridge, self._objective = encoder, attached, bridge, objective
        self._rates, self._train, self._held, self._seed = rates, train, held, seed
        self._dropouts = [m for n, m in attached.named_modules() if "lora_dropout" in n]
        self._judge = HeldOutPairs(
            self._tensor(held.old_texts), self._rows("image", held.pairs.images), self._tensor(held.groups)
        )  # the LoRA is still nothing and the bridge ψ₀, so these images are the surrogates of the old ones

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches; what is left over waits for another epoch's order."""
        return len(self._train.pairs) // self._rates.batch_size

    def learnt(self) -> dict[str, Tensor]:
        return lora_state(self._attached) | {f"bridge.{n}": p for n, p in self._bridge.named_parameters()}

    def optimizer(self) -> torch.optim.Optimizer:
        groups = [
            {"params": list(lora_state(self._attached).values()), "lr": self._rates.lora},
            {"params": list(self._bridge.parameters()), "lr": self._rates.projection},
        ]
        return torch.optim.AdamW(groups, weight_decay=self._rates.weight_decay)

    def batch(self, step: int) -> Batch:
        epoch, place = divmod(step, self.steps_per_epoch)
        size = self._rates.batch_size
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._train.pairs))
        rows = self._train.take(order[place * size : (place + 1) * size])
        chunk = self._rates.chunk_size or size
        parts = [slice(start, start + chunk) for start in range(0, size, chunk)]
        images = [self._encoder.image_inputs(rows.pairs.images[part], first_row=part.start) for part in parts]
        texts = [self._encoder.text_inputs(rows.pairs.captions[part]) for part in parts]
        seen = None if rows.images is None else torch.from_numpy(rows.images)
        return Batch(images, texts, torch.from_numpy(rows.old_texts), torch.from_numpy(rows.groups), seen)

    def step(self, batch: Batch, backward: Callable[[Tensor], None]) -> dict[str, Tensor]:
        self._train_mode(True)
        embed = {"images": partial(self._embed, "image"), "texts": partial(self._embed, "text")}
        chunks = {"images": batch.images, "texts": batch.texts}
        gradients = plain_backward if len(batch.images) == 1 else cached_backward
        terms = gradients(embed, chunks, partial(self._loss, batch), backward=backward)
        self._train_mode(False)
        return terms

    def score(self) -> float:
        pairs = self._held.pairs
        return self._judge.score(self._rows("image", pairs.images), self._rows("text", pairs.captions))

    def _loss(self, batch: Batch, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        device = rows["images"].device
        pairs, groups = (rows["images"], rows["texts"], batch.targets.to(device)), batch.groups.to(device)
        with torch.autocast(device.type, enabled=False):
            if batch.seen is None or self._captions is None:
                plain: dict[str, Tensor] = self._objective(*pairs, groups=groups)
                return plain
            drawn = torch.randint(len(self._captions), (self._rates.caption_batch_size,))
            new, old = (side.to(device) for side in self._captions.batch(drawn))
            terms: dict[str, Tensor] = self._objective(
                *pairs, seen=batch.seen.to(device), captions=(new, old), mapped=self._bridge(new), groups=groups
            )
        return terms

    def _embed(self, modality: Modality, inputs: Any) -> Tensor:
        """ψ in full precision, whatever the towers run in: absolute scores come from it."""
        features = self._encoder.features(modality, inputs)
        with torch.autocast(features.device.type, enabled=False):
            rows: Tensor = self._bridge(F.normalize(features.float(), dim=1))
        return rows

    @torch.no_grad()
    def _rows(self, modality: Modality, items: Any) -> Tensor:
        """Of many items, in chunks."""
        inputs = self._encoder.image_inputs if modality == "image" else self._encoder.text_inputs
        size = self._encoder.batch_size
        return torch.cat([self._embed(modality, inputs(items[i : i + size])) for i in range(0, len(items), size)])

    def _train_mode(self, mode: bool) -> None:
        """Only the LoRA's dropout: that of the model itself stays off, since its weights are not trained."""
        for module in self._dropouts:
            module.train(mode)

    def _tensor(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows).to(self._encoder.device)
