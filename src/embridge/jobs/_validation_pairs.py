"""A few hundred pairs of image and caption that XBT is judged by while it trains, as both models see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embridge.datasets.image_text import ImageTextPairs
from embridge.embeddings import Embeddings
from embridge.encoders import Encoder, Modality, Role
from embridge.errors import SettingsError
from embridge.jobs.models import Models, takes_images
from embridge.methods import METHODS, record_of
from embridge.methods.choose import Choose
from embridge.methods.real_pairs import RealPairs
from embridge.settings import Settings

__all__ = ["encoded_validation_pairs", "require_validated"]


def require_validated(settings: Settings, method: Any) -> None:
    """Raise `SettingsError` for ``fit.validation_pairs`` with a method that is not judged by them, with models without an
    encoder, and with a new one that takes no images."""
    options = settings.fit
    if options.validation_pairs is None:
        return
    names = method.candidates if isinstance(method, Choose) else (options.method,)
    if not any("real pairs" in record_of(name).uses for name in names):
        able = " and ".join(name for name, record in METHODS.items() if "real pairs" in record.uses)
        raise SettingsError(
            f"fit.validation_pairs: only {able} is judged by image-text pairs while it trains, and the method is "
            f"{options.method}; leave them out, or name judged pairs to choose by in fit.judged"
        )
    for side, model in (("old", settings.old), ("new", settings.new)):
        if model.encoder is None:
            raise SettingsError(f"fit.validation_pairs: both models encode these pairs, and {side} is files of vectors")
    if not takes_images(settings.new):
        raise SettingsError(f"fit.validation_pairs: new encodes their images, and {settings.new.encoder} takes none")


def encoded_validation_pairs(settings: Settings, pairs: ImageTextPairs | None, models: Models) -> RealPairs | None:
    """The pairs as both models see them; the old model encodes captions, and images where it takes any."""
    if pairs is None:
        return None
    old, new = models.encoder(settings.old), models.encoder(settings.new)
    images = list(map(str, pairs.images))
    return RealPairs(
        new_images=_encoded(new, images, "image", "query"),
        new_texts=_encoded(new, pairs.captions, "text", "query"),
        old_texts=_encoded(old, pairs.captions, "text", "document"),
        old_images=_encoded(old, images, "image", "document") if "image" in old.modalities else None,
        groups=pairs.group_numbers(),
    )


def _encoded(encoder: Encoder, items: Sequence[str], modality: Modality, role: Role) -> Embeddings:
    """One row a pair; each item is encoded once."""
    distinct = list(dict.fromkeys(items))
    row_of = {item: row for row, item in enumerate(distinct)}
    vectors = encoder.encode(distinct, modality=modality, role=role)
    return Embeddings.of(vectors[[row_of[item] for item in items]], encoder.space)
