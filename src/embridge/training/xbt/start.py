"""What a finetuning starts from: pairs, the new model, and the upgrade with the bridge."""

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

__all__ = ["Start", "Surrogates", "require_fitted"]

_INDECISIVE = ("checkpoint_every_steps", "workers")


@dataclass(frozen=True, slots=True, eq=False)
class Surrogates:
    """Pairs with what stands for the old model's vectors of them.

    Attributes:
        pairs: Images with their captions.
        old_texts: ψ₀ of each caption as the new model without the LoRA sees it, unit rows [n, d_old].
        groups: The number of each pair's photo [n].
        images: Vectors of the images by the new model without the LoRA, unit rows [n, d_new]; needed beside captions of the
            bridge alone.

    Examples:
        >>> pairs = ImageTextPairs(["a", "b"], np.zeros((2, 4, 4), np.uint8))
        >>> Surrogates(pairs, np.eye(2, dtype=np.float32), np.arange(2)).take(np.array([1])).pairs.captions
        ['b']
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
class Start:
    """The parts of a finetuning, checked against each other.

    Attributes:
        pairs: Images with their captions.
        encoder: The new model.
        upgrade: With the bridge that was fitted between the two models' captions.
        captions: What the bridge was fitted on, if the loss is to use it.
        seed: Of the order of the pairs, of the LoRA's start and of dropout.

    Raises:
        SettingsError: The encoder or the upgrade cannot be trained.
        WrongDirection: The upgrade is forward.
        SpaceMismatch: The upgrade or the captions are of other models.

    Examples:
        >>> from embridge.adapters import Linear
        >>> from embridge.datasets import glyph_models
        >>> from embridge.provenance import Provenance
        >>> from embridge.space import Space
        >>> encoder = ClipEncoder(glyph_models.folder("new"), device="cpu")
        >>> new, old = encoder.space, Space("old", "1", 2)
        >>> fitted = Upgrade(Identity(new, new), Linear(new, old, np.eye(128, 2, dtype=np.float32)), Provenance("known"))
        >>> pairs = ImageTextPairs(["latin small letter a", "latin small letter b"], np.zeros((2, 32, 32), np.uint8))
        >>> Start(pairs, encoder, fitted, None, 0).surrogates().old_texts.shape
        (2, 2)
    """

    pairs: ImageTextPairs
    encoder: ClipEncoder
    upgrade: Upgrade
    captions: Pairs | None
    seed: int

    def __post_init__(self) -> None:
        _require_trainable(self.encoder, self.upgrade)
        require_fitted(self.upgrade, self.captions)

    def surrogates(self) -> Surrogates:
        """The pairs with all that the losses compare them with."""
        images = None if self.captions is None else self.encoder.encode(self.pairs.images, modality="image")
        return Surrogates(self.pairs, self._old_texts(), self.pairs.group_numbers(), images)

    def caption_rows(self) -> UnitRows | None:
        """The captions of the bridge as both models see them, None without them."""
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
        """ψ₀ of each pair's caption as the new model without the LoRA sees it, unit rows; a caption is encoded once."""
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


def require_fitted(upgrade: Upgrade, captions: Pairs | None) -> None:
    """Refuse an upgrade that no finetuning can start from, and captions of other models.

    Args:
        upgrade: With the bridge that was fitted between the two models' captions.
        captions: What it was fitted on, if the loss is to use it.

    Raises:
        WrongDirection: The upgrade is forward.
        SettingsError: The upgrade has a head of its own.
        SpaceMismatch: The captions are of other models.

    Examples:
        >>> from embridge.adapters import Identity, Linear
        >>> from embridge.provenance import Provenance
        >>> from embridge.space import Space
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> fitted = Upgrade(Identity(new, new), Linear(new, old, np.eye(3, 2, dtype=np.float32)), Provenance("known"))
        >>> require_fitted(fitted, None)
    """
    if upgrade.direction == "forward":
        raise WrongDirection("finetune: xbt trains on a backward upgrade, from new to old; this one is forward")
    if not isinstance(upgrade.head, Identity):
        raise SettingsError(f"finetune: xbt trains on an upgrade without a head of its own, came {upgrade.head.kind}")
    if captions is not None:
        require_same(upgrade.new_space, captions.new.space, what="the new side of the captions")
        require_same(upgrade.old_space, captions.old.space, what="the old side of the captions")


def _require_trainable(encoder: ClipEncoder, upgrade: Upgrade) -> None:
    if not isinstance(encoder, ClipEncoder):
        raise SettingsError(
            f"finetune: xbt trains a dual encoder of text and images (clip:MODEL), came a {type(encoder).__name__}"
        )
    if encoder.lora is not None or upgrade.lora is not None:
        raise SettingsError("finetune: there is a LoRA already; start from an upgrade and an encoder without one")
    require_same(upgrade.new_space, encoder.space, what="the encoder to train with this upgrade")
