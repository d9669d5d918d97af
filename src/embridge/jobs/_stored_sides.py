"""Both sides of an evaluation on a store: its vectors are the old gallery, and its items are encoded anew for the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embridge.embeddings import Embeddings
from embridge.encoders import Encoder, LazyEncoder
from embridge.errors import EmbridgeError, InvalidInput, SettingsError, SpaceMismatch
from embridge.evaluation import Side
from embridge.jobs._judgements import Judgements
from embridge.jobs._stored_pairs import encoded_rows, is_kept_apart, judged_names, require_modality
from embridge.jobs._stored_rows import StoredRows, drawn_ids, opened_store, read_stored_rows
from embridge.jobs.models import Models, with_lora
from embridge.progress import Progress
from embridge.settings import Settings

__all__ = ["StoredSides", "stored_sides"]

_INSTEAD = (
    "Judge by neighbours (evaluate: {neighbours: 10}) or by labels of the store's ids: both ask by stored items, and need no "
    "old model"
)


@dataclass(frozen=True, slots=True, eq=False)
class StoredSides:
    """The two sides, and the rows of the store that are searched."""

    old: Side
    new: Side
    rows: StoredRows

    @property
    def titles(self) -> dict[str, str]:
        """What people read for an id."""
        texts = self.rows.texts or []
        return dict(zip(self.rows.vectors.ids, texts, strict=True)) if texts else {}

    @property
    def note(self) -> str:
        """What a reader should know of the gallery; empty where it is the whole store."""
        return f"the gallery is {self.rows}" if len(self.rows.vectors) < self.rows.rows else ""


def stored_sides(
    settings: Settings,
    judgements: Judgements,
    models: Models,
    *,
    lora: Path | None = None,
    seed: int,
    progress: Progress,
) -> StoredSides:
    """The judged rows and a sample of the others as both models see them, and the queries.

    Raises `SettingsError` where queries are texts and no old model can encode them, and `InvalidInput` where the store has
    none of the judged ids.
    """
    asked_by_text = bool(judgements.queries)
    if judgements.relevance is not None and not asked_by_text and not judgements.labelled:
        raise SettingsError(
            "evaluate.qrels: a store knows no texts of queries; name judged pairs of query and id. " + _INSTEAD
        )
    rows = _gallery(settings, judgements, seed, progress)
    plain = models.encoder(settings.new)
    require_modality(rows, plain, str(settings.new.encoder))
    old_encoder = _old_encoder(settings, rows, models) if asked_by_text else None
    encoder = with_lora(plain, lora)
    gallery, rows = encoded_rows(settings, rows, encoder, progress)
    without = None if lora is None else encoded_rows(settings, rows, plain, progress)[0]
    if old_encoder is not None:
        old = Side(_queries(old_encoder, judgements), rows.vectors)
        new = Side(
            _queries(encoder, judgements),
            gallery,
            None if without is None else Side(_queries(plain, judgements), without),
        )
        return StoredSides(old, new, rows)
    asked = _asked(judgements, rows)
    sides = [None if side is None else Side(side.take(asked), side) for side in (rows.vectors, gallery, without)]
    assert sides[0] is not None
    assert sides[1] is not None
    return StoredSides(sides[0], Side(sides[1].queries, gallery, sides[2]), rows)


def _gallery(settings: Settings, judgements: Judgements, seed: int, progress: Progress) -> StoredRows:
    """The judged rows, and a sample of the others."""
    judged = judged_names(judgements)
    with opened_store(settings.old) as opened:
        drawn = drawn_ids(opened.store, opened.space, settings.old.sample, seed=seed, usable=lambda _: True)
        rows = read_stored_rows(
            opened, list(dict.fromkeys([*sorted(judged), *drawn])), distinct=False, progress=progress, optional=judged
        )
    if judged and not judged & set(rows.vectors.ids):
        raise InvalidInput(
            f"{rows.where} has none of the {len(judged)} judged ids, such as {min(judged)!r}; name its rows by the ids that "
            "embridge inspect shows"
        )
    return rows


def _asked(judgements: Judgements, rows: StoredRows) -> np.ndarray:
    """Which rows ask: those with a label, or the tenth that is never fitted on where neighbours are asked for."""
    labelled = set(judgements.labelled)
    chosen = [
        row for row, name in enumerate(rows.vectors.ids) if (name in labelled if labelled else is_kept_apart(name))
    ]
    if not chosen:
        raise InvalidInput(f"{rows}: none of these rows can be asked for its neighbours; raise old.sample")
    return np.array(chosen)


def _old_encoder(settings: Settings, rows: StoredRows, models: Models) -> Encoder:
    """What encodes queries as the stored vectors are; named in the settings, or declared with the store."""
    lacking = "evaluate.judged: judged queries are texts, which the old model has to encode to compare with it"
    if settings.old.encoder is None and rows.encoder is None:
        raise SettingsError(f"{lacking}; name it in old.encoder. {_INSTEAD}")
    try:
        encoder = (
            models.encoder(settings.old) if settings.old.encoder else models.named(str(rows.encoder), **rows.options)
        )
        space = encoder.space
    except EmbridgeError as error:
        named = "old.encoder" if settings.old.encoder else "the store's declaration"
        raise SettingsError(f"{lacking}, and the one that {named} names cannot: {error}. {_INSTEAD}") from error
    if space != rows.vectors.space:
        raise SpaceMismatch(
            f"{rows.where} holds vectors of {rows.vectors.space}, and {_name(encoder)} makes those of {space}; queries of "
            "another model do not search it"
        )
    return encoder


def _name(encoder: Encoder) -> str:
    return encoder.name if isinstance(encoder, LazyEncoder) else encoder.space.model


def _queries(encoder: Encoder, judgements: Judgements) -> Embeddings:
    vectors = encoder.encode(judgements.queries, modality="text", role="query")
    return Embeddings.of(vectors, encoder.space, judgements.queries)
