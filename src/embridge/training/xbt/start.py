"""What XBT's second stage starts from: pairs, the new model, and the upgrade of the first stage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from embridge.adapters.base import normalized
from embridge.adapters.linear import Identity
from embridge.adapters.upgrade import Upgrade
from embridge.datasets.image_text import ImageTextPairs
from embridge.encoders.clip import ClipEncoder
from embridge.errors import SettingsError, WrongDirection
from embridge.methods.base import Pairs
from embridge.methods.unit_rows import UnitRows
from embridge.space import require_same
from embridge.training.xbt.task import Surrogates

__all__ = ["Start"]

_INDECISIVE = ("checkpoint_every_steps", "workers")


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What a training starts from; raises for an encoder and an upgrade that cannot be trained.

    captions: the pairs of stage 1, if the loss is to use them.
    """

    pairs: ImageTextPairs
    encoder: ClipEncoder
    upgrade: Upgrade
    seed: int
    captions: Pairs | None

    def __post_init__(self) -> None:
        _require_trainable(self.encoder, self.upgrade, self.captions)

    def surrogates(self) -> Surrogates:
        """The pairs with all that the losses compare them with."""
        images = None if self.captions is None else self.encoder.encode(self.pairs.images, modality="image")
        return Surrogates(self.pairs, self._old_texts(), self.pairs.group_numbers(), images)

    def caption_rows(self) -> UnitRows | None:
        if self.captions is None:
            return None
        return UnitRows(self.captions, np.arange(len(self.captions)), str(self.encoder.device))

    @property
    def data(self) -> str:
        """What is trained on, for the provenance."""
        pairs = f"{len(self.pairs)} image-text pairs, {self.pairs.fingerprint}"
        if self.captions is None:
            return pairs
        return f"{pairs}; {len(self.captions)} captions, {self.captions.fingerprint}"

    def _old_texts(self) -> np.ndarray:
        """ψ₀(native caption) for each pair, unit rows; a caption that comes often is encoded once."""
        distinct = list(dict.fromkeys(self.pairs.captions))
        row_of = {caption: row for row, caption in enumerate(distinct)}
        mapped = normalized(self.upgrade.bridge.apply(self.encoder.encode(distinct, modality="text")))
        return np.asarray(mapped[[row_of[caption] for caption in self.pairs.captions]])

    def name(self, settings: Mapping[str, Any]) -> str:
        """A hash of all that decides the outcome under these settings."""
        decisive = {k: v for k, v in settings.items() if k not in _INDECISIVE}
        spaces = [self.encoder.space.id, self.upgrade.old_space.id]
        captions = None if self.captions is None else self.captions.fingerprint
        described = json.dumps([decisive, self.seed, self.pairs.fingerprint, spaces, captions], sort_keys=True)
        digest = hashlib.sha256(described.encode())
        for part, array in sorted(self.upgrade.bridge.weights().items()):
            digest.update(part.encode() + array.tobytes())
        return digest.hexdigest()


def _require_trainable(encoder: ClipEncoder, upgrade: Upgrade, captions: Pairs | None) -> None:
    if not isinstance(encoder, ClipEncoder):
        raise SettingsError(
            f"finetune: xbt trains a dual encoder of text and images (clip:MODEL), came a {type(encoder).__name__}"
        )
    if upgrade.direction == "forward":
        raise WrongDirection("finetune: xbt trains on a backward upgrade, from new to old; this one is forward")
    if encoder.lora is not None or upgrade.lora is not None:
        raise SettingsError(
            "finetune: there is a LoRA already; start from the upgrade of stage 1 and the encoder without a LoRA"
        )
    require_same(upgrade.new_space, encoder.space, what="the encoder to train with this upgrade")
    if captions is not None:
        require_same(upgrade.new_space, captions.new.space, what="the new side of the captions")
        require_same(upgrade.old_space, captions.old.space, what="the old side of the captions")
    if not isinstance(upgrade.head, Identity):
        raise SettingsError(f"finetune: xbt trains on an upgrade without a head of its own, came {upgrade.head.kind}")
