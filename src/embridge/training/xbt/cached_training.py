"""The training on cached vectors: its loss, its steps, and the loss of held-out photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from embridge.methods.divergence import require_converging
from embridge.methods.unit_rows import UnitRows
from embridge.progress import Progress
from embridge.training.objectives.xbt import Captions, XBTCaptioned, XBTImageText
from embridge.training.xbt.residuals import Residuals
from embridge.training.xbt.settings import CachedSettings

__all__ = ["CachedTraining", "CachedVectors"]

_HELD_OUT_PAIRS = 1_000
_LOOKS = 20  # at whether the training goes astray


@dataclass(frozen=True, slots=True, eq=False)
class CachedVectors:
    """What is trained on, as unit rows; row i of the first three is one pair.

    Attributes:
        images: Of the new model [n, d_new].
        texts: Of the new model [n, d_new].
        targets: ψ₀ of the texts, the surrogates of the old model's captions [n, d_old].
        captions: What the bridge was fitted on, if the loss is to use it.

    Examples:
        >>> CachedVectors(torch.eye(3), torch.eye(3), torch.eye(3, 2), None).targets.shape
        torch.Size([3, 2])
    """

    images: Tensor
    texts: Tensor
    targets: Tensor
    captions: UnitRows | None


@dataclass(frozen=True, slots=True, eq=False)
class CachedTraining:
    """One training on cached vectors.

    Attributes:
        settings: How it is done.
        objective: The loss.
        model: What is trained.
        vectors: What it is trained on.

    Examples:
        >>> from embridge.adapters.upgrade import Upgrade
        >>> from embridge.adapters import Identity, Linear
        >>> from embridge.provenance import Provenance
        >>> from embridge.space import Space
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> fitted = Upgrade(Identity(new, new), Linear(new, old, np.eye(3, 2, dtype=np.float32)), Provenance("known"))
        >>> settings = CachedSettings(epochs=2, batch_size=2)
        >>> vectors = CachedVectors(torch.eye(3), torch.eye(3), torch.eye(3, 2), None)
        >>> from embridge.training.xbt.settings import objective_of
        >>> training = CachedTraining(settings, objective_of(settings, captioned=False), Residuals(fitted, 1), vectors)
        >>> training.train([np.array([row]) for row in range(3)], lambda done, total, what: print(done, total, what))
        1 2 finetune steps
        2 2 finetune steps
    """

    settings: CachedSettings
    objective: XBTImageText | XBTCaptioned
    model: Residuals
    vectors: CachedVectors

    def train(self, rows_of_photos: Sequence[np.ndarray], progress: Progress) -> None:
        """Train on one caption of each photo of a batch, drawn anew each time.

        Args:
            rows_of_photos: The rows of each photo.
            progress: Called after each step.

        Raises:
            InvalidInput: The loss or the weights are no longer finite.
        """
        size = min(self.settings.batch_size, len(rows_of_photos))
        steps = self.settings.epochs * (len(rows_of_photos) // size)
        optimizer = self._optimizer()
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        order: list[int] = []
        for step in range(1, steps + 1):
            if len(order) < size:
                order = torch.randperm(len(rows_of_photos)).tolist()
            photos, order = order[:size], order[size:]
            rows = [_one_of(rows_of_photos[photo]) for photo in photos]
            optimizer.zero_grad()
            loss = self._loss(torch.tensor(rows))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            if step % max(1, steps // _LOOKS) == 0 or step == steps:
                weights = self.model.parameters()
                require_converging(loss, weights, what="finetune steps", step=step, steps=steps)
            progress(step, steps, "finetune steps")

    @torch.no_grad()
    def held_out_loss(self, rows: np.ndarray, seed: int) -> float:
        """Take the loss of one caption of every held-out photo, always against the same captions of the bridge.

        Args:
            rows: One for each photo.
            seed: Of the captions.

        Returns:
            The loss.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return float(self._loss(torch.from_numpy(rows[:_HELD_OUT_PAIRS])))

    def _optimizer(self) -> torch.optim.Optimizer:
        residuals = [*self.model.down.parameters(), *self.model.up.parameters()]
        parts = [
            {"params": residuals, "lr": self.settings.learning_rate},
            {"params": list(self.model.bridge.parameters()), "lr": self.settings.projection_learning_rate},
        ]
        return torch.optim.AdamW(parts, weight_decay=self.settings.weight_decay)

    def _loss(self, rows: Tensor) -> Tensor:
        vectors, captions = self.vectors, self.vectors.captions
        images = vectors.images[rows]
        pairs = self.model(images, "image"), self.model(vectors.texts[rows], "text"), vectors.targets[rows]
        if captions is None:
            terms = self.objective(*pairs)
        else:
            new, old = captions.batch(torch.randint(len(captions), (self.settings.caption_batch_size,)))
            terms = self.objective(
                *pairs, new_without_lora=images, captions=Captions(new, old, self.model(new, "text"))
            )
        return torch.stack(list(terms.values())).sum()


def _one_of(rows: np.ndarray) -> int:
    return int(rows[int(torch.randint(len(rows), (1,)))])
