"""The vectors of the models that a settings file names: encoded now, or read from files."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings, HalfEmbeddings
from embridge.encoders import Encoder, Role
from embridge.encoders.caption_cache import encode_by, encode_once
from embridge.errors import InvalidInput, MissingSetting, SettingsError, SpaceMismatch
from embridge.evaluation import Side
from embridge.jobs._judgements import Judgements
from embridge.jobs.models import Models, with_lora
from embridge.progress import Progress
from embridge.scale.captions import encoded_by
from embridge.scale.gallery import Spreading
from embridge.settings import ModelSettings, Settings
from embridge.vector_files import read_texts, read_vectors

__all__ = ["caption_vectors", "side_of", "sides_of_new", "texts_of_tables"]


def caption_vectors(
    model: ModelSettings,
    captions: Sequence[str] | None,
    cache: Path,
    *,
    models: Models,
    role: Role = "query",
) -> Embeddings | HalfEmbeddings:
    """The captions as a model sees them; workers encode them, where there are any.

    What an encoder makes is kept in the cache, and taken from there the next time, without the model's weights where its
    files say its space. Raises `SettingsError` for a model that says neither how nor where.
    """
    if model.encoder is None:
        if model.captions is None:
            raise SettingsError("fit: a model without an encoder needs a file of caption vectors (captions:)")
        return _read(model, "captions")
    if captions is None:
        raise SettingsError("fit: name a text file with captions (fit.captions), one a line")
    whole, encoder = _Whole(models.progress, len(captions)), models.encoder(model)
    with models.heard_by(whole.part):
        if models.engine is None:
            return encode_once(encoder, captions, cache, role=role, progress=whole.shard)
        run = encoded_by(models.engine, encoder)
        return encode_by(run, encoder.space, captions, cache, role=role, progress=whole.shard)


def side_of(
    model: ModelSettings,
    judgements: Judgements,
    models: Models,
    *,
    lora: Path | None = None,
    workers: Spreading | None = None,
) -> Side:
    """Judged queries and gallery as a model sees them; where there are workers, they hold the gallery.

    Labelled images or texts are both: each is searched among the others. lora: the LoRA to attach to an encoder; vectors in files
    are what they are. Raises `SettingsError` for a model that lacks what the judgements need.
    """
    if model.encoder is None:
        if model.queries is None or model.gallery is None:
            raise SettingsError("evaluate: a model without an encoder needs files of vectors (queries:, gallery:)")
        queries = _arranged(model, "queries", judgements.queries)
        if workers is not None:
            return Side(queries, _spread(model, judgements.items, workers))
        return Side(queries, _arranged(model, "gallery", judgements.items))
    if judgements.folder is None:
        raise SettingsError(
            "evaluate: qrels and neighbours are of ids, so both models need files of vectors (queries:, gallery:); an "
            "encoder needs judged pairs, which hold the texts and images themselves, or labels of images"
        )
    lazy = models.encoder(model)
    if not judgements.modalities <= lazy.modalities:
        raise SettingsError(
            f"evaluate: {model.encoder} takes {' and '.join(sorted(lazy.modalities))} alone, and what is judged is "
            f"{' and '.join(sorted(judgements.modalities))}"
        )
    side = _encoded(with_lora(lazy, lora), judgements, judgements.folder)
    return side if workers is None else Side(side.queries, workers.held(side.gallery))


def _encoded(encoder: Encoder, judgements: Judgements, folder: Path) -> Side:
    def images(names: Sequence[str]) -> np.ndarray:
        return encoder.encode([str(folder / name) for name in names], modality="image")

    if judgements.labelled:
        texts = [judgements.texts[name] for name in judgements.labelled] if judgements.texts else None
        vectors = images(judgements.labelled) if texts is None else encoder.encode(texts, modality="text")
        rows = Embeddings.of(vectors, encoder.space, judgements.labelled)
        return Side(rows, rows)
    items, space = judgements.items, encoder.space
    queries = encoder.encode(judgements.queries, modality="text", role="query")
    gallery = images(items) if judgements.cross_modal else encoder.encode(items, modality="text")
    return Side(Embeddings.of(queries, space, judgements.queries), Embeddings.of(gallery, space, items))


def sides_of_new(
    settings: Settings, upgrade: Upgrade, judgements: Judgements, models: Models, workers: Spreading | None = None
) -> tuple[Side, Side | None]:
    """The new model as the upgrade takes it, and, where the upgrade has a LoRA, as it is without.

    Raises `SpaceMismatch` for vectors in files that are not of the model with the LoRA, and warns where nothing says what
    it makes without.
    """
    new = side_of(settings.new, judgements, models, lora=upgrade.lora, workers=workers)
    if upgrade.lora is None:
        return new, None
    if new.queries.space != upgrade.new_space:
        raise SpaceMismatch(
            f"new: this upgrade is of {upgrade.new_space}, the new model with the upgrade's LoRA; came vectors of "
            f"{new.queries.space}. Encode with embridge.load_encoder(MODEL, lora={str(upgrade.lora)!r}), whose recipe is "
            f"{upgrade.new_space.recipe!r}"
        )
    without = settings.new_without_lora or settings.new
    if settings.new_without_lora is None and without.encoder is None:
        warnings.warn(
            "new/new is of the new model with the upgrade's LoRA, and a backfill would be of the model without; name its "
            "vectors, or the model itself, under new_without_lora",
            stacklevel=2,
        )
        return new, None
    return new, side_of(without, judgements, models, workers=workers)


class _Whole:
    """The progress of all captions, whose shards an encoder takes one after the other, each from its own beginning."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._before, self._what = progress, total, 0, ""

    def shard(self, done: int, total: int, what: str) -> None:
        self._before, self._what = done, what
        self._progress(done, total, what)

    def part(self, done: int, total: int, what: str) -> None:
        self._progress(self._before + done, self._total, self._what or what)


def _read(model: ModelSettings, key: str) -> Embeddings:
    space = None if model.space is None else model.space.to_space()
    return read_vectors(getattr(model, key), space=space, cast=model.cast, columns=model.columns_of(key))


def _arranged(model: ModelSettings, key: str, ids: list[str]) -> Embeddings:
    """All rows of a file: those ids in that order, then the others by name, so that two models' files agree."""
    rows = _read(model, key)
    return rows.take(_order(rows.ids, first=ids, path=getattr(model, key)))


def _spread(model: ModelSettings, ids: list[str], workers: Spreading) -> Embeddings:
    """The gallery's file, as workers read it."""
    assert model.gallery is not None
    space = None if model.space is None else model.space.to_space()
    order = partial(_order, first=ids, path=model.gallery)
    return workers.file(model.gallery, space=space, cast=model.cast, columns=model.columns_of("gallery"), arrange=order)


def _order(held: tuple[str, ...], *, first: list[str], path: Path) -> np.ndarray:
    row_of = {name: row for row, name in enumerate(held)}
    missing = [name for name in first if name not in row_of]
    if missing:
        raise InvalidInput(f"{path} lacks {len(missing)} of {len(first)} ids that the pairs name, first {missing[0]!r}")
    return np.array([row_of[name] for name in [*first, *sorted(row_of.keys() - set(first))]])


def texts_of_tables(models: Iterable[ModelSettings]) -> dict[str, str]:
    """What people read for an id, where tables of queries or of a gallery hold it; the last model's texts count.

    A column that is named for all tables of a model need not be in each. Raises `MissingSetting` where it is in none.
    """
    texts: dict[str, str] = {}
    for model in models:
        named = {key: columns for key in ("queries", "gallery") if (columns := model.text_columns_of(key))}
        read, missing = [], []
        for key, columns in named.items():
            try:
                read.append(read_texts(getattr(model, key), columns=columns))
            except MissingSetting as error:
                missing.append(error)
        if missing and not read:
            raise missing[0]
        for part in read:
            texts |= part
    return texts
