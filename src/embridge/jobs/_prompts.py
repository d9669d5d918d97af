"""Whether the pairs were encoded as what is searched was: with one prefix or prompt."""

from __future__ import annotations

import warnings

from embridge.embeddings import Embeddings, HalfEmbeddings
from embridge.errors import EmbridgeError
from embridge.methods.prompts import prompt_shift
from embridge.settings import ModelSettings, Settings
from embridge.vector_files import read_vectors

__all__ = ["warn_of_other_prompts"]

_LARGEST_BYTES = 1 << 31  # of a gallery that is read for this alone


def warn_of_other_prompts(
    settings: Settings, *, old: Embeddings | HalfEmbeddings, new: Embeddings | HalfEmbeddings
) -> None:
    """Warn where items of the pairs lie elsewhere in a model's own gallery, on one side alone.

    Where both sides are moved, both were encoded as queries, and a map of queries is what is wanted.
    """
    sides = {"old": (settings.old, old), "new": (settings.new, new)}
    shifts = {side: shift for side, (model, rows) in sides.items() if (shift := _shift(model, rows)) is not None}
    if len(shifts) != 1:
        return
    ((side, cosine),) = shifts.items()
    warnings.warn(
        f"{side}.captions looks as if it were encoded with another prefix or prompt than {side}.gallery: their vectors of one "
        f"item are moved one way (mean cosine {cosine:.2f}). Encode both with the same prompt, or both models' captions with "
        "that of queries",
        stacklevel=3,
    )


def _shift(model: ModelSettings, rows: Embeddings | HalfEmbeddings) -> float | None:
    path = model.gallery
    if model.encoder is not None or path is None or not path.is_file() or path.stat().st_size > _LARGEST_BYTES:
        return None
    space = None if model.space is None else model.space.to_space()
    try:
        stored = read_vectors(path, space=space, cast=model.cast, columns=model.columns_of("gallery"))
    except EmbridgeError:
        return None  # evaluate says what is wrong with it
    return prompt_shift(rows, stored)
