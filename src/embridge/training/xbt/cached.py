"""XBT, stage 2, for people who have vectors and no backbone: a low-rank residual a tower in the place of LoRA.

Jang & Lim, "Cross-modal backward-compatible training", ICCV 2025 (arXiv 2405.14715), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.adapters.base import normalized
from embridge.adapters.linear import Identity, Linear
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SettingsError, WrongDirection
from embridge.methods.base import Pairs
from embridge.methods.unit_rows import UnitRows
from embridge.progress import Progress, silent
from embridge.provenance import Provenance, library_versions
from embridge.space import Space, require_same
from embridge.training.objectives.xbt import Captions, XBTCaptioned, XBTImageText
from embridge.training.xbt.bridge import TrainableBridge

__all__ = ["Towers", "XBTCached"]

_HELD_OUT_PAIRS = 1_000


@dataclass(frozen=True, slots=True)
class Towers:
    """The upgrades of both towers: one bridge, before it the residual of the text and of the image vectors."""

    text: Upgrade
    image: Upgrade


@dataclass(frozen=True, slots=True)
class XBTCached:
    """ψ(L2(z + BAz)) with A, B of the text's and of the image's tower, and ψ itself, trained on image-text pairs.

    The loss is `XBTImageText`, of images I, captions T' and surrogates T = ψ₀(caption). Where the captions of stage 1 are
    given with both models' vectors (no old model: they lie in the cache since stage 1), it is `XBTCaptioned`. On Flickr8k's
    validation photos, two seeds, the gap to a full backfill closes by .27 and .54 (text to image, image to text), and by
    .21 and .44 without them.

    rank: of A and B. learning_rate: of these; projection_learning_rate: of ψ. epochs: passes over the photos, with one
    caption drawn for each. temperature, keep_weight: of the loss. caption_batch_size: captions of stage 1 in a step.
    validation_fraction: of the photos; where the loss of these is no lower at the end than at the start, both towers are the
    upgrade of stage 1.

    Requirements: vectors of images and of their captions by the new model, a backward upgrade with a linear or an mlp
    bridge. Related: `XBTFinetune`, with the backbone.

    >>> from embridge.space import Space
    >>> new, old = Space("new", "1", 6), Space("old", "1", 4)
    >>> seen = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    >>> stage_1 = Upgrade(Identity(new, new), Linear(new, old, np.eye(6, 4, dtype=np.float32)), Provenance("known"))
    >>> towers = XBTCached(epochs=1, batch_size=16).fit(Embeddings.of(seen + 0.1, new), Embeddings.of(seen, new), stage_1)
    >>> towers.text.old_space == towers.image.old_space == old
    True
    """

    paper: ClassVar[str] = "Jang & Lim, Cross-modal backward-compatible training, ICCV 2025, arXiv 2405.14715"

    rank: int = 16
    learning_rate: float = 3e-3
    projection_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    epochs: int = 20
    batch_size: int = 500
    temperature: float = 0.1
    keep_weight: float = 1.0
    neighbour_weight: float = 2.0
    neighbour_temperature: float = 0.05
    caption_batch_size: int = 1024
    validation_fraction: float = 0.05

    def __post_init__(self) -> None:
        if min(self.rank, self.epochs) < 1 or min(self.batch_size, self.caption_batch_size) < 2:
            raise SettingsError(f"finetune: rank and epochs are at least 1, batches at least 2; came {self}")
        above = (self.learning_rate, self.temperature, self.neighbour_temperature)
        rest = (self.projection_learning_rate, self.weight_decay, self.keep_weight, self.neighbour_weight)
        if not all(0 < x < math.inf for x in above) or not all(0 <= x < math.inf for x in rest):
            raise SettingsError(f"finetune: a rate, a temperature or a weight is out of range: {self}")
        if not 0 < self.validation_fraction < 1:
            raise SettingsError(f"finetune: validation_fraction is between 0 and 1, came {self.validation_fraction}")

    def fit(
        self,
        images: Embeddings,
        texts: Embeddings,
        upgrade: Upgrade,
        *,
        captions: Pairs | None = None,
        photos: Sequence[int] | np.ndarray | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Towers:
        """Row i of images and of texts are one pair; photos [n]: the number of each one's photo, if several share one.

        captions: the pairs of stage 1. Raises `InvalidInput` for rows that do not match and too few photos,
        `SpaceMismatch` and `WrongDirection` for another upgrade's vectors and for a forward one.
        """
        groups = _groups(images, texts, upgrade, captions, photos)
        train, held = _split(groups, self.validation_fraction, seed)
        vectors = _Vectors(
            torch.from_numpy(normalized(images.vectors)),
            torch.from_numpy(normalized(texts.vectors)),
            torch.from_numpy(normalized(upgrade.bridge.apply(texts.vectors))),
            None if captions is None else UnitRows(captions, np.arange(len(captions)), "cpu"),
        )
        rows_of = [np.flatnonzero(groups == photo) for photo in train]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = _Residuals(upgrade, self.rank)
            objective = self._objective(captions)
            before = _held_out_loss(self, objective, model, vectors, held, seed)
            _train(self, objective, model, vectors, rows_of, progress)
            after = _held_out_loss(self, objective, model, vectors, held, seed)
        provenance = self._provenance(upgrade, len(images), captions, seed, {"held_out_losses": [before, after]})
        if not after < before:
            kept = replace(upgrade, provenance=provenance)
            return Towers(kept, kept)
        return Towers(*(model.to_upgrade(tower, upgrade, provenance) for tower in ("text", "image")))

    def _objective(self, captions: Pairs | None) -> XBTImageText | XBTCaptioned:
        if captions is None:
            return XBTImageText(self.temperature, self.keep_weight)
        return XBTCaptioned(self.temperature, self.keep_weight, self.neighbour_weight, self.neighbour_temperature)

    def _provenance(
        self, upgrade: Upgrade, pairs: int, captions: Pairs | None, seed: int, figures: dict[str, list[float]]
    ) -> Provenance:
        return Provenance(
            method="xbt-stage2-cached",
            settings=asdict(self),
            seed=seed,
            data=f"{pairs} image-text pairs, {0 if captions is None else len(captions)} captions",
            versions=library_versions(),
            figures=figures | {"stage_1": upgrade.provenance.method},
            encoders=upgrade.provenance.encoders,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Vectors:
    """Unit rows: of the pairs' images and captions, of the surrogates of the captions, and the captions of stage 1."""

    images: Tensor
    texts: Tensor
    targets: Tensor
    captions: UnitRows | None


class _Residuals(nn.Module):
    """ψ after the residual of a tower."""

    def __init__(self, upgrade: Upgrade, rank: int) -> None:
        super().__init__()
        dim = upgrade.new_space.dim
        self.bridge = TrainableBridge(upgrade.bridge)
        self.down = nn.ParameterDict({tower: torch.randn(dim, rank) * dim**-0.5 for tower in ("text", "image")})
        self.up = nn.ParameterDict({tower: torch.zeros(rank, dim) for tower in ("text", "image")})

    def forward(self, z: Tensor, tower: str) -> Tensor:
        rows: Tensor = self.bridge(F.normalize(z + z @ self.down[tower] @ self.up[tower], dim=1))
        return rows

    def to_upgrade(self, tower: str, upgrade: Upgrade, provenance: Provenance) -> Upgrade:
        """The residual as a linear head, the bridge after it."""
        new = upgrade.new_space
        moved = Space(new.model, new.revision, new.dim, new.metric, f"{new.recipe}; {tower} residual of xbt stage 2")
        residual = (self.down[tower] @ self.up[tower]).detach().numpy()
        weight = np.ascontiguousarray(np.eye(new.dim, dtype=np.float32) + residual)
        head = Linear(new, moved, weight, normalize_input=True)
        return Upgrade(head, self.bridge.to_adapter(moved, upgrade.old_space), provenance)


@torch.no_grad()
def _held_out_loss(
    settings: XBTCached,
    objective: XBTImageText | XBTCaptioned,
    model: _Residuals,
    vectors: _Vectors,
    held: np.ndarray,
    seed: int,
) -> float:
    """Of one caption of every held-out photo, always against the same captions of stage 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return float(_loss(settings, objective, model, vectors, torch.from_numpy(held[:_HELD_OUT_PAIRS])))


def _train(
    settings: XBTCached,
    objective: XBTImageText | XBTCaptioned,
    model: _Residuals,
    vectors: _Vectors,
    rows_of: list[np.ndarray],
    progress: Progress,
) -> None:
    size = min(settings.batch_size, len(rows_of))
    steps = settings.epochs * (len(rows_of) // size)
    residuals = [*model.down.parameters(), *model.up.parameters()]
    parts = [
        {"params": residuals, "lr": settings.learning_rate},
        {"params": list(model.bridge.parameters()), "lr": settings.projection_learning_rate},
    ]
    optimizer = torch.optim.AdamW(parts, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order: list[int] = []
    for step in range(1, steps + 1):
        if len(order) < size:
            order = torch.randperm(len(rows_of)).tolist()
        photos, order = order[:size], order[size:]
        rows = torch.tensor([int(own[int(torch.randint(len(own), (1,)))]) for own in map(rows_of.__getitem__, photos)])
        optimizer.zero_grad()
        _loss(settings, objective, model, vectors, rows).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        progress(step, steps, "finetune steps")


def _loss(
    settings: XBTCached, objective: XBTImageText | XBTCaptioned, model: _Residuals, vectors: _Vectors, rows: Tensor
) -> Tensor:
    seen = vectors.images[rows]
    pairs = model(seen, "image"), model(vectors.texts[rows], "text"), vectors.targets[rows]
    if vectors.captions is None:
        terms = objective(*pairs)
    else:
        new, old = vectors.captions.batch(torch.randint(len(vectors.captions), (settings.caption_batch_size,)))
        terms = objective(*pairs, new_without_lora=seen, captions=Captions(new, old, model(new, "text")))
    return torch.stack(list(terms.values())).sum()


def _groups(
    images: Embeddings,
    texts: Embeddings,
    upgrade: Upgrade,
    captions: Pairs | None,
    photos: Sequence[int] | np.ndarray | None,
) -> np.ndarray:
    """The photo of each row; raises for what cannot be trained on."""
    if upgrade.direction == "forward":
        raise WrongDirection("finetune: xbt trains on a backward upgrade, from new to old; this one is forward")
    if not isinstance(upgrade.head, Identity):
        raise SettingsError(f"finetune: xbt trains on an upgrade without a head of its own, came {upgrade.head.kind}")
    for what, side in (
        ("images", images),
        ("texts", texts),
        *(() if captions is None else (("captions", captions.new),)),
    ):
        require_same(upgrade.new_space, side.space, what=f"the {what} to train on")
    if captions is not None:
        require_same(upgrade.old_space, captions.old.space, what="the old side of the captions")
    groups = np.arange(len(images)) if photos is None else np.asarray(photos)
    if not len(images) == len(texts) == len(groups):
        raise InvalidInput(f"pairs: {len(images)} images, {len(texts)} texts and {len(groups)} photos; give one a row")
    return groups


def _split(groups: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The photos to train on, and one row of each held-out photo."""
    names, first = np.unique(groups, return_index=True)
    held = max(2, round(fraction * len(names)))
    if len(names) < 2 * held:
        raise InvalidInput(f"finetune: {len(names)} photos came, of which {held} would be held out; give at least 4")
    order = np.random.default_rng(seed).permutation(len(names))
    return names[order[held:]], first[order[:held]]
