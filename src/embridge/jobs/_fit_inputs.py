"""What fitting reads: every file that the settings name, once, and kept apart where it has to be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from embridge.datasets._rows import kind_of
from embridge.datasets.captions import Captions, read_all_captions
from embridge.datasets.image_text import ImageTextPairs, read_image_text
from embridge.jobs._judged_ids import require_judged_ids
from embridge.jobs._judgements import Judgements, read_judgements
from embridge.jobs._leaks import require_apart, require_other_queries
from embridge.jobs._stored_pairs import rows_to_fit_on
from embridge.jobs._stored_rows import StoredRows
from embridge.jobs.models import takes_images
from embridge.progress import Progress, silent
from embridge.settings import EvaluateSettings, FitSettings, Settings
from embridge.settings._columns import columns_of

__all__ = ["FitInputs", "read_fit_inputs"]

_FLATTERS = {
    "finetune_pairs": "a model trained on what is reported flatters itself",
    "validation_pairs": "a bridge whose weights were chosen by what it is measured by flatters itself",
    "judged": "a choice made by what is reported flatters itself",
}


@dataclass(frozen=True, slots=True, eq=False)
class FitInputs:
    """The files of a fit, as they were read; None for those that the settings do not name.

    captions: what the bridge is fitted on, where encoders are to encode it. judged: what methods are chosen by. reported:
    what the upgrade will be judged by, read to be kept apart from the others. validation_pairs, finetune_pairs: see
    `FitSettings`. stored: the rows of a store that stand in the place of captions.
    """

    captions: Captions | None
    judged: Judgements | None
    reported: Judgements | None
    validation_pairs: ImageTextPairs | None
    finetune_pairs: ImageTextPairs | None
    stored: StoredRows | None = None

    @property
    def texts(self) -> list[str] | None:
        """The captions alone, or the texts of stored rows."""
        if self.stored is not None:
            return self.stored.texts
        return None if self.captions is None else self.captions.texts

    @property
    def judged_captions(self) -> tuple[int, int]:
        """How many queries that the upgrade will be judged by are captions that it is fitted on, and of how many."""
        queries = [] if self.reported is None else self.reported.queries
        asked = set(map(str.strip, queries))
        return len(asked & {text.strip() for text in self.texts or ()} if asked else ()), len(asked)

    @property
    def of_images(self) -> bool:
        """Whether anything that is judged is an image that a text finds."""
        return any(part is not None and part.cross_modal for part in (self.judged, self.reported))


def read_fit_inputs(settings: Settings, *, progress: Progress = silent) -> FitInputs:
    """Read them all.

    Raises `InvalidInput` for files that cannot be read and for judged ids that no vector has, and `SettingsError` where one
    file holds queries, texts or images of another that has to be apart from it: nothing may be chosen by or trained on what
    is reported.
    """
    options = settings.fit
    finetune_pairs, validation_pairs = _pairs(options, "finetune_pairs"), _pairs(options, "validation_pairs")
    judged = None
    if options.judged is not None:
        judged = read_judgements(
            EvaluateSettings(
                judged=options.judged, metrics=options.metrics, columns=columns_of(options.columns, "judged")
            )
        )
    reported = _reported(settings, needed=any((finetune_pairs, validation_pairs, judged)))
    for key, pairs in (("finetune_pairs", finetune_pairs), ("validation_pairs", validation_pairs)):
        if pairs is not None and reported is not None:
            require_apart(pairs, reported, names=(f"fit.{key}", _source(settings)), why=_FLATTERS[key])
    if validation_pairs is not None and judged is not None:
        why = _FLATTERS["validation_pairs"]
        require_apart(validation_pairs, judged, names=("fit.validation_pairs", "fit.judged"), why=why)
    if judged is not None and reported is not None:
        why = _FLATTERS["judged"]
        require_other_queries(judged, reported, names=("fit.judged", _source(settings)), why=why)
    for judgements in (judged, reported):
        require_judged_ids(settings, judgements)
    captions = None if options.captions is None else read_all_captions(options.captions, column=_column(options))
    stored = None
    if settings.old.store is not None:
        stored = rows_to_fit_on(settings, (judged, reported), progress)
    return FitInputs(captions, judged, reported, validation_pairs, finetune_pairs, stored)


def _pairs(options: FitSettings, key: str) -> ImageTextPairs | None:
    path: Path | None = getattr(options, key)
    return None if path is None else read_image_text(path, names=columns_of(options.columns, key))


def _column(options: FitSettings) -> str | None:
    """The column of the captions; what is said for the whole section is not meant for a text without columns."""
    if options.column is not None or "captions" in options.columns:
        return options.column or columns_of(options.columns, "captions").get("text")
    assert options.captions is not None
    plain = not options.captions.is_dir() and kind_of(options.captions) not in ("csv", "tsv", "jsonl", "parquet")
    return None if plain else options.columns.get("text")


def _reported(settings: Settings, *, needed: bool) -> Judgements | None:
    """What the upgrade will be judged by; where nothing has to be apart from it, only if it is there already."""
    evaluate = settings.evaluate
    files = [] if evaluate is None else [evaluate.judged, evaluate.qrels, evaluate.labels]
    if evaluate is None or not (needed or any(file is not None and file.exists() for file in files)):
        return None
    encoded = [model for model in (settings.old, settings.new) if model.encoder is not None]
    of_rows = settings.old.store is not None  # whose labels are of ids
    return read_judgements(evaluate, images=of_rows or all(map(takes_images, encoded)))


def _source(settings: Settings) -> str:
    """The key of what the upgrade will be judged by."""
    evaluate = settings.evaluate
    keys = [key for key in ("judged", "qrels", "labels") if evaluate is not None and getattr(evaluate, key) is not None]
    return f"evaluate.{keys[0] if keys else 'neighbours'}"
