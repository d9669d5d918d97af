"""Pairs out of a store: old vectors as they are, and the items of their rows as the new model sees them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from xxhash import xxh3_64_intdigest

from embridge.embeddings import Embeddings, HalfEmbeddings, concatenate
from embridge.encoders import Encoder
from embridge.errors import InvalidInput, SettingsError
from embridge.evaluation import Relevance
from embridge.items import read_items
from embridge.jobs._judgements import Judgements
from embridge.jobs._model_vectors import caption_vectors
from embridge.jobs._stored_rows import StoredRows, drawn_ids, kind_of_reason, opened_store, read_stored_rows
from embridge.jobs.models import Models
from embridge.methods import Pairs
from embridge.progress import Progress
from embridge.settings import Settings

__all__ = [
    "STORED",
    "encoded_rows",
    "is_kept_apart",
    "judged_names",
    "require_modality",
    "rows_to_fit_on",
    "stored_pairs",
]

STORED = "stored_rows"
"""The figure of an upgrade that says of what rows of a store it was fitted on."""

_FEWEST, _APART, _ENCODED_ROWS = 10, 10, 256


def rows_to_fit_on(settings: Settings, judgements: Iterable[Judgements | None], progress: Progress) -> StoredRows:
    """A sample of the store's rows, without those that are judged.

    Where the new model's neighbours are to be found, a tenth of the ids is left for that. Raises `InvalidInput` where too few
    rows have an item.
    """
    judged = set().union(*map(judged_names, judgements))
    apart = settings.evaluate is not None and settings.evaluate.neighbours is not None

    def usable(name: str) -> bool:
        return name not in judged and not (apart and is_kept_apart(name))

    with opened_store(settings.old) as opened:
        ids = drawn_ids(opened.store, opened.space, settings.old.sample, seed=settings.fit.seed, usable=usable)
        rows = read_stored_rows(opened, ids, distinct=True, progress=progress)
    if len(rows.vectors) < _FEWEST:
        others = f"; {len(judged):,} judged ids are kept apart" if judged else ""
        raise InvalidInput(
            f"{rows}{others}: fitting needs at least {_FEWEST} rows with an item, and methods take thousands"
        )
    return rows


def is_kept_apart(name: str) -> bool:
    """Whether a row is one of the tenth that is asked for its neighbours, and never fitted on there."""
    return xxh3_64_intdigest(name.encode(), seed=_APART) % _APART == 0


def judged_names(judgements: Judgements | None) -> set[str]:
    """The ids of rows that judgements name, as items or as queries that are no texts."""
    if judgements is None:
        return set()
    relevance = judgements.relevance
    gains = relevance.gains if isinstance(relevance, Relevance) else {}
    queries = () if judgements.queries else gains
    return {*queries, *judgements.labelled, *(item for found in gains.values() for item in found)}


def stored_pairs(
    settings: Settings, rows: StoredRows, cache: Path, *, models: Models, progress: Progress
) -> tuple[Pairs, StoredRows]:
    """The rows as both models see them, and the rows; those whose image cannot be read are left out of both.

    Items are documents, as the stored vectors are of. Texts that are encoded are kept in the cache.
    """
    encoder = models.encoder(settings.new)
    require_modality(rows, encoder, str(settings.new.encoder))
    if rows.texts is None:
        new, rows = encoded_rows(settings, rows, encoder, progress)
        return Pairs(new, rows.vectors), rows
    halves = caption_vectors(settings.new, rows.texts, cache, models=models, role="document")
    assert isinstance(halves, HalfEmbeddings)
    return Pairs(HalfEmbeddings(rows.vectors.ids, halves.halves, halves.space, halves.rows), rows.vectors), rows


def require_modality(rows: StoredRows, encoder: Encoder, name: str) -> None:
    """Raise `SettingsError` for a model that does not take what the rows are of."""
    if rows.source.modality not in encoder.modalities:
        raise SettingsError(
            f"new: the rows of {rows.where} are {rows.source.modality}s, and {name} takes "
            f"{' and '.join(sorted(encoder.modalities))} alone"
        )


def encoded_rows(
    settings: Settings, rows: StoredRows, encoder: Encoder, progress: Progress
) -> tuple[Embeddings, StoredRows]:
    """The items of the rows as a model sees them, and the rows that have one."""
    ids = rows.vectors.ids
    if rows.texts is not None:
        return Embeddings.of(encoder.encode(rows.texts, modality="text"), encoder.space, ids), rows
    parts, missing = [], Counter(rows.missing)
    with opened_store(settings.old) as opened:
        for start in range(0, len(ids), _ENCODED_ROWS):
            items = read_items(rows.source, opened.store, opened.space, ids[start : start + _ENCODED_ROWS])
            missing.update(map(kind_of_reason, items.missing.values()))
            if items.ids:
                vectors = encoder.encode(items.items, modality="image")
                parts.append(Embeddings.of(vectors, encoder.space, items.ids))
            progress(min(start + _ENCODED_ROWS, len(ids)), len(ids), f"{encoder.space.model}: images of {rows.where}")
    if not parts:
        raise InvalidInput(f"{replace(rows, missing=missing)}: no image can be read")
    new, row_of = concatenate(parts), {name: row for row, name in enumerate(ids)}
    return new, replace(rows, vectors=rows.vectors.take([row_of[name] for name in new.ids]), missing=dict(missing))
