"""The vectors of the models that a settings file names: encoded now, or read from files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings, HalfEmbeddings
from embridge.encoders import Encoder, load
from embridge.encoders.caption_cache import encode_once
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch
from embridge.evaluation import Side
from embridge.jobs.judgements import Judgements
from embridge.progress import Progress, silent
from embridge.settings import ModelSettings, Settings
from embridge.vector_files import read

__all__ = ["caption_vectors", "encoder_of", "load_with_lora", "searches_images", "side_of", "sides_of_new"]


def caption_vectors(
    model: ModelSettings, captions: Sequence[str] | None, cache: Path, progress: Progress
) -> Embeddings | HalfEmbeddings:
    """The captions as a model sees them; raises `SettingsError` for a model that says neither how nor where.

    What an encoder makes is kept in the cache, and taken from there the next time.
    """
    if model.encoder is None:
        if model.captions is None:
            raise SettingsError("fit: a model without an encoder needs a file of caption vectors (captions:)")
        return _read(model.captions, model)
    if captions is None:
        raise SettingsError("fit: name a text file with captions (fit.captions), one a line")
    told = _Whole(progress, len(captions))
    return encode_once(encoder_of(model, told.part), captions, cache, role="query", progress=told.shard)


def side_of(
    model: ModelSettings, judgements: Judgements, folder: Path | None, progress: Progress, *, lora: Path | None = None
) -> Side:
    """Judged queries and gallery as a model sees them; ``folder``: where the images of pairs or labels are, None without.

    Labelled images are both: each is searched among the others. lora: the LoRA to attach to an encoder; vectors in files are
    what they are.
    """
    if model.encoder is None:
        if model.queries is None or model.gallery is None:
            raise SettingsError("evaluate: a model without an encoder needs files of vectors (queries:, gallery:)")
        asked = _arranged(model.queries, judgements.queries, model)
        return Side(asked, _arranged(model.gallery, judgements.items, model))
    if folder is None:
        raise SettingsError(
            "evaluate: qrels and neighbours are of ids, so both models need files of vectors (queries:, gallery:); an "
            "encoder needs pairs, which hold the texts and images themselves, or labels of images"
        )
    encoder = encoder_of(model, progress, lora=lora)
    needed = {"image"} if judgements.labelled else {"text", "image"} if judgements.cross_modal else {"text"}
    if not needed <= encoder.modalities:
        raise SettingsError(
            f"evaluate: {model.encoder} takes {' and '.join(sorted(encoder.modalities))} alone, and what is judged is "
            f"{' and '.join(sorted(needed))}"
        )
    if judgements.labelled:
        vectors = encoder.encode([str(folder / item) for item in judgements.labelled], modality="image")
        rows = Embeddings.of(vectors, encoder.space, judgements.labelled)
        return Side(rows, rows)
    queries = encoder.encode(judgements.queries, modality="text", role="query")
    if judgements.cross_modal:
        images = [str(folder / item) for item in judgements.items]
        gallery = encoder.encode(images, modality="image")
    else:
        gallery = encoder.encode(judgements.items, modality="text")
    space = encoder.space
    return Side(Embeddings.of(queries, space, judgements.queries), Embeddings.of(gallery, space, judgements.items))


def sides_of_new(
    settings: Settings, upgrade: Upgrade, judgements: Judgements, folder: Path | None, progress: Progress
) -> tuple[Side, Side | None]:
    """The new model as the upgrade takes it, and, where the upgrade has a LoRA, as it is without.

    Raises `SpaceMismatch` for vectors in files that are not of the model with the LoRA, and warns where nothing says what
    it makes without.
    """
    new = side_of(settings.new, judgements, folder, progress, lora=upgrade.lora)
    if upgrade.lora is None:
        return new, None
    if new.queries.space != upgrade.new_space:
        raise SpaceMismatch(
            f"new: this upgrade is of {upgrade.new_space}, the new model with the upgrade's LoRA; came vectors of "
            f"{new.queries.space}. Encode with embridge.encoders.load(MODEL, lora={str(upgrade.lora)!r}), whose recipe is "
            f"{upgrade.new_space.recipe!r}"
        )
    native = settings.native or settings.new
    if settings.native is None and native.encoder is None:
        warnings.warn(
            "new/new is of the new model with the upgrade's LoRA, and a backfill would be of the model without; name its "
            "vectors, or the model itself, under native",
            stacklevel=2,
        )
        return new, None
    return new, side_of(native, judgements, folder, progress)


def searches_images(model: ModelSettings) -> bool:
    """Whether the model has an encoder that takes images."""
    return model.encoder is not None and "image" in encoder_of(model, silent).modalities


class _Whole:
    """The progress of all captions, whose shards an encoder takes one after the other, each from its own beginning."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._before, self._what = progress, total, 0, ""

    def shard(self, done: int, total: int, what: str) -> None:
        self._before, self._what = done, what
        self._progress(done, total, what)

    def part(self, done: int, total: int, what: str) -> None:
        self._progress(self._before + done, self._total, self._what or what)


def load_with_lora(name: str, lora: Path | None, **options: Any) -> Encoder:
    """An encoder by name with the LoRA of an upgrade, or without one; raises `SettingsError` where it takes none."""
    if lora is None:
        return load(name, **options)
    if not name.startswith("clip:"):
        raise SettingsError(f"this upgrade is of a model with a LoRA, which only clip:MODEL takes; came {name}")
    return load(name, lora=lora, **options)


def encoder_of(model: ModelSettings, progress: Progress, *, lora: Path | None = None) -> Encoder:
    """The encoder that the settings name, with the LoRA of an upgrade if there is one."""
    assert model.encoder is not None
    said = {name: getattr(model, name) for name in ("revision", "key_variable", "dim")}
    options: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    options |= {"device": model.device, "batch_size": model.batch_size, "progress": progress}
    return load_with_lora(model.encoder, lora, **options)


def _read(path: Path, model: ModelSettings) -> Embeddings:
    try:
        return read(path, space=None if model.space is None else model.space.to_space(), cast=model.cast)
    except InvalidInput as error:
        raise error if str(path) in str(error) else InvalidInput(f"{path}: {error}") from error


def _arranged(path: Path, ids: list[str], model: ModelSettings) -> Embeddings:
    """All rows of a file: those ids in that order, then the others by name, so that two models' files agree."""
    rows = _read(path, model)
    row_of = {name: row for row, name in enumerate(rows.ids)}
    missing = [name for name in ids if name not in row_of]
    if missing:
        raise InvalidInput(f"{path} lacks {len(missing)} of {len(ids)} ids that the pairs name, first {missing[0]!r}")
    order = [*ids, *sorted(row_of.keys() - set(ids))]
    return rows.take(np.array([row_of[name] for name in order]))
