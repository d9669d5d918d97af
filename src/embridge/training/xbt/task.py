"""One step of a finetuning: the batch of a step number, its gradients, and the held-out score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.encoders.base import Modality
from embridge.training.objectives.xbt import Captions
from embridge.training.xbt.bridge import TrainableBridge
from embridge.training.xbt.cached_gradients import cached_backward, plain_backward
from embridge.training.xbt.held_out_pairs import HeldOutPairs
from embridge.training.xbt.lora import lora_state
from embridge.training.xbt.settings import FinetuneSettings, objective_of
from embridge.training.xbt.start import Start, Surrogates

__all__ = ["Batch", "XBTTask"]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The pairs of a step.

    Attributes:
        images: What the image tower takes, in chunks.
        texts: What the text tower takes, in chunks.
        targets: The surrogates of the captions [b, d_old].
        groups: The number of each pair's photo [b].
        new_without_lora: Vectors of the images by the new model without the LoRA [b, d_new].

    Examples:
        >>> Batch([], [], torch.eye(2), torch.arange(2), None).groups.tolist()
        [0, 1]
    """

    images: list[Any]
    texts: list[Any]
    targets: Tensor
    groups: Tensor
    new_without_lora: Tensor | None


class XBTTask:
    """One step of a finetuning, as the loop asks for it; see `embridge.training.lightning.task.Task`.

    Args:
        start: The encoder, and the captions of the bridge if there are some.
        settings: How the training is done.
        attached: The encoder's own model with the LoRA in it.
        bridge: ψ, which is trained too.
        train: The pairs to train on.
        held_out: The pairs to score.

    Examples:
        >>> from embridge.adapters import Identity, Linear
        >>> from embridge.adapters.upgrade import Upgrade
        >>> from embridge.datasets import glyph_models, glyphs
        >>> from embridge.datasets.image_text import ImageTextPairs
        >>> from embridge.encoders.clip import ClipEncoder
        >>> from embridge.provenance import Provenance
        >>> from embridge.space import Space
        >>> from embridge.training.xbt.lora import attached_lora
        >>> encoder = ClipEncoder(glyph_models.folder("new"), device="cpu")
        >>> bridge = Linear(encoder.space, Space("old", "1", 64), np.eye(128, 64, dtype=np.float32))
        >>> fitted = Upgrade(Identity(encoder.space, encoder.space), bridge, Provenance("known"))
        >>> drawn = glyphs.render(glyphs.split()["validation"][:8], one_each=True)
        >>> start = Start(ImageTextPairs(drawn.captions, drawn.images), encoder, fitted, None, 0)
        >>> pairs, settings = start.surrogates(), FinetuneSettings(batch_size=4)
        >>> with attached_lora(encoder.model, rank=2, alpha=4, dropout=0.0) as attached:
        ...     task = XBTTask(start, settings, attached, TrainableBridge(bridge), train=pairs, held_out=pairs)
        ...     sorted(task.step(task.batch(0), lambda loss: loss.backward()))
        ['image_to_old_text', 'image_to_text', 'keep']
    """

    def __init__(
        self,
        start: Start,
        settings: FinetuneSettings,
        attached: nn.Module,
        bridge: TrainableBridge,
        *,
        train: Surrogates,
        held_out: Surrogates,
    ) -> None:
        self._encoder, self._seed, self._captions = start.encoder, start.seed, start.caption_rows()
        self._settings, self._attached, self._bridge = settings, attached, bridge
        self._objective = objective_of(settings, captioned=self._captions is not None)
        self._train, self._held_out = train, held_out
        self._dropouts = [m for n, m in attached.named_modules() if "lora_dropout" in n]
        self._judge = HeldOutPairs(
            self._tensor(held_out.old_texts), self._rows("image", held_out.pairs.images), self._tensor(held_out.groups)
        )  # the LoRA is still nothing and the bridge ψ₀, so these images are the surrogates of the old ones

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches; what is left over waits for another epoch's order."""
        return len(self._train.pairs) // self._settings.batch_size

    def state(self) -> dict[str, Tensor]:
        """The LoRA's parameters and the bridge's, by name."""
        return lora_state(self._attached) | {f"bridge.{n}": p for n, p in self._bridge.named_parameters()}

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW, with a learning rate for the LoRA and one for the bridge."""
        groups = [
            {"params": list(lora_state(self._attached).values()), "lr": self._settings.learning_rate},
            {"params": list(self._bridge.parameters()), "lr": self._settings.projection_learning_rate},
        ]
        return torch.optim.AdamW(groups, weight_decay=self._settings.weight_decay)

    def batch(self, step: int) -> Batch:
        """The pairs of a step, by its number alone."""
        epoch, place = divmod(step, self.steps_per_epoch)
        size = self._settings.batch_size
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._train.pairs))
        rows = self._train.take(order[place * size : (place + 1) * size])
        chunk = self._settings.chunk_size or size
        parts = [slice(start, start + chunk) for start in range(0, size, chunk)]
        images = [self._encoder.image_inputs(rows.pairs.images[part], first_row=part.start) for part in parts]
        texts = [self._encoder.text_inputs(rows.pairs.captions[part]) for part in parts]
        without_lora = None if rows.images is None else torch.from_numpy(rows.images)
        return Batch(images, texts, torch.from_numpy(rows.old_texts), torch.from_numpy(rows.groups), without_lora)

    def step(self, batch: Batch, backward: Callable[[Tensor], None]) -> dict[str, Tensor]:
        """Add the gradients of a batch, a chunk at a time where it has several."""
        self._train_mode(True)
        embed = {"images": partial(self._embed, "image"), "texts": partial(self._embed, "text")}
        chunks = {"images": batch.images, "texts": batch.texts}
        gradients = plain_backward if len(batch.images) == 1 else cached_backward
        terms = gradients(embed, chunks, partial(self._loss, batch), backward=backward)
        self._train_mode(False)
        return terms

    def score(self) -> float:
        """How well the held-out pairs find each other; see `HeldOutPairs`."""
        pairs = self._held_out.pairs
        return self._judge.score(self._rows("image", pairs.images), self._rows("text", pairs.captions))

    def _loss(self, batch: Batch, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        device = rows["images"].device
        pairs, groups = (rows["images"], rows["texts"], batch.targets.to(device)), batch.groups.to(device)
        with torch.autocast(device.type, enabled=False):
            if batch.new_without_lora is None or self._captions is None:
                plain: dict[str, Tensor] = self._objective(*pairs, groups=groups)
                return plain
            rows_of_captions = torch.randint(len(self._captions), (self._settings.caption_batch_size,))
            new, old = (side.to(device) for side in self._captions.batch(rows_of_captions))
            terms: dict[str, Tensor] = self._objective(
                *pairs,
                new_without_lora=batch.new_without_lora.to(device),
                captions=Captions(new, old, self._bridge(new)),
                groups=groups,
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
