"""A few hundred pairs of image and caption that XBT is judged by while it trains, as the settings name them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embridge.datasets.image_text import ImageTextPairs, read_image_text
from embridge.embeddings import Embeddings
from embridge.encoders import Encoder
from embridge.encoders.base import Modality, Role
from embridge.errors import SettingsError
from embridge.jobs.judgements import require_apart
from embridge.jobs.models import encoder_of
from embridge.methods import METHODS, record_of
from embridge.methods.choose import Choose
from embridge.methods.real_pairs import RealPairs
from embridge.progress import Progress
from embridge.settings import EvaluateSettings, ModelSettings, Settings

__all__ = ["validation_pairs"]


def validation_pairs(settings: Settings, method: Any, progress: Progress) -> RealPairs | None:
    """The pairs of ``fit.validation_pairs`` as both models see them, or None.

    The old model encodes captions, and images where it takes any. Raises `SettingsError` for a method that is not judged by
    them, for models without an encoder or a new one that takes no images, and for pairs that ``evaluate.pairs`` reports on
    or ``fit.judged`` chooses by; `InvalidInput` for pairs that cannot be read.
    """
    wanted = settings.fit
    if wanted.validation_pairs is None:
        return None
    names = method.candidates if isinstance(method, Choose) else (wanted.method,)
    if not any("real pairs" in record_of(name).uses for name in names):
        able = " and ".join(name for name, found in METHODS.items() if "real pairs" in found.uses)
        raise SettingsError(
            f"fit.validation_pairs: only {able} is judged by image-text pairs while it trains, and the method is "
            f"{wanted.method}; leave them out, or name judged pairs to choose by in fit.judged"
        )
    _require_encoders(settings)
    pairs = read_image_text(wanted.validation_pairs)
    _require_apart(pairs, settings)
    old, new = (encoder_of(model, progress) for model in (settings.old, settings.new))
    if "image" not in new.modalities:
        raise SettingsError(f"fit.validation_pairs: images are asked by, and {settings.new.encoder} takes none")
    images = list(map(str, pairs.images))
    return RealPairs(
        new_images=_encoded(new, images, "image", "query"),
        new_texts=_encoded(new, pairs.captions, "text", "query"),
        old_texts=_encoded(old, pairs.captions, "text", "document"),
        old_images=_encoded(old, images, "image", "document") if "image" in old.modalities else None,
        groups=pairs.group_numbers(),
    )


def _require_encoders(settings: Settings) -> None:
    models: dict[str, ModelSettings] = {"old": settings.old, "new": settings.new}
    for side, model in models.items():
        if model.encoder is None:
            raise SettingsError(f"fit.validation_pairs: both models encode these pairs, and {side} is files of vectors")


def _require_apart(pairs: ImageTextPairs, settings: Settings) -> None:
    """What weights are chosen by may neither be reported on nor choose between methods."""
    judged = None if settings.fit.judged is None else EvaluateSettings(pairs=settings.fit.judged)
    why = "a bridge whose weights were chosen by what it is measured by flatters itself"
    for name, others in (("evaluate.pairs", settings.evaluate), ("fit.judged", judged)):
        require_apart(pairs, others, names=("fit.validation_pairs", name), why=why)


def _encoded(encoder: Encoder, items: Sequence[str], modality: Modality, role: Role) -> Embeddings:
    """One row a pair; each item is encoded once."""
    distinct = list(dict.fromkeys(items))
    row_of = {item: row for row, item in enumerate(distinct)}
    vectors = encoder.encode(distinct, modality=modality, role=role)
    return Embeddings.of(vectors[[row_of[item] for item in items]], encoder.space)
