"""From a settings file to an upgrade: the work of ``embridge fit``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from embridge.adapters.upgrade import MANIFEST, Upgrade
from embridge.atomic_write import refuse_foreign_folder
from embridge.datasets.captions import Captions, read_all_captions
from embridge.datasets.judged_pairs import read_pairs
from embridge.embeddings import Embeddings, HalfEmbeddings
from embridge.errors import InvalidInput, SettingsError
from embridge.evaluation import Scope
from embridge.evaluation.measures import measure
from embridge.export import foldable_into
from embridge.jobs.evaluate import NAMED_FOR_EVALUATION
from embridge.jobs.finetune import outcome, second_stage
from embridge.jobs.judgements import read_judgements
from embridge.jobs.models import caption_vectors, searches_images, side_of
from embridge.jobs.validation_pairs import validation_pairs
from embridge.methods import METHODS, Pairs, make
from embridge.methods.choose import Choice, Choose, JudgedQueries, choose
from embridge.progress import Progress, silent
from embridge.settings import EvaluateSettings, Settings
from embridge.settings.reading import require_files

__all__ = ["Fitted", "fit_upgrade"]

_MODELS = {"clip": "a CLIP", "sentence-transformers": "a sentence model"}
_NAMED_FOR_FIT = ("fit.captions", "fit.judged", "fit.validation_pairs", "fit.pairs", "old.captions", "new.captions")


@dataclass(frozen=True, slots=True)
class Fitted:
    """What `fit_upgrade` made: the upgrade (None: keep the old model), and the table where a choice was made.

    score: what the candidates were compared by. captions: what was read, where captions were named.
    """

    upgrade: Upgrade | None
    choice: Choice | None
    score: str = ""
    captions: Captions | None = None

    @property
    def said(self) -> str:
        """One line for people."""
        if self.upgrade is None:
            return "nothing was written"
        made = self.upgrade.provenance
        read = "" if self.captions is None else f"; {self.captions}"
        spaces = f"from {self.upgrade.new_space} to {self.upgrade.old_space}"
        return "; ".join(filter(None, (f"{made.method}, {spaces}", made.data + read, outcome(self.upgrade))))

    @property
    def stretch(self) -> str:
        """One line: how near the bridge is to an isometry; empty where that was not measured."""
        figures = {} if self.upgrade is None else self.upgrade.provenance.figures
        if "singular_values" not in figures:
            return ""
        median, relative = figures["singular_values"]["median"], figures["singular_values_relative"]
        return (
            f"near held-out vectors this bridge stretches directions by {median:.2f} (median), nine in ten of them by "
            f"{relative['q05']:.2f} to {relative['q95']:.2f} times that (a rotation: 1.00 to 1.00)"
        )

    @property
    def folds(self) -> str:
        """One line: can queries do without any further work?"""
        into = () if self.upgrade is None else foldable_into(self.upgrade)
        if self.upgrade is not None and self.upgrade.lora is not None:
            return (
                "this bridge is of the new model with the upgrade's LoRA, so it cannot be folded into the model alone"
            )
        if not into:
            return "this bridge cannot be folded into the new model: it is not linear, or maps the gallery"
        models = " or ".join(_MODELS[provider] for provider in into)
        rest = "" if "clip" in into else " (a CLIP takes no bias)"
        return (
            f"this bridge can be folded into {models}{rest}, and then adds no work to a query (embridge export --fold)"
        )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The candidates, and whether each makes a linear map, which can be folded into the new model."""
        if self.choice is None:
            return [], []
        columns, rows = self.choice.table()
        linear = ["yes" if METHODS[row[0]].linear else "no" for row in rows]
        return [*columns[:-1], "linear", columns[-1]], [
            [*row[:-1], word, row[-1]] for row, word in zip(rows, linear, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """What ``embridge fit --json`` prints."""
        made: dict[str, Any] = {"schema": "embridge.fit/1", "method": None}
        if self.upgrade is not None:
            spaces = {"new": self.upgrade.new_space, "old": self.upgrade.old_space}
            made["method"] = self.upgrade.provenance.method
            made |= {side: space.to_dict() | {"id": space.id} for side, space in spaces.items()}
            made["figures"] = dict(self.upgrade.provenance.figures)
            made["foldable_into"] = list(foldable_into(self.upgrade))
        if self.captions is not None:
            dropped = {"repeats": self.captions.repeats, "blanks": self.captions.blanks}
            made["captions"] = {"kept": len(self.captions), **dropped, "files": self.captions.files}
        if self.choice is not None:
            made |= {
                "reason": self.choice.reason,
                "score": self.score,
                "candidates": [asdict(c) for c in self.choice.candidates],
            }
        return made


def fit_upgrade(settings: Settings, *, progress: Progress = silent) -> Fitted:
    """Encode the captions with both models (or read their vectors), fit, and write the upgrade's folder.

    With ``fit.pairs`` the new model is then trained further (`XBTFinetune`), on top of the bridge. A run that was stopped
    goes on from what is in the cache: encoded captions, and the last checkpoint.

    Raises `SettingsError` for settings that lack what is needed, and `InvalidInput` for data that cannot be used or a
    folder of other things in the upgrade's place, before any work.
    """
    refuse_foreign_folder(settings.upgrade, marker=MANIFEST)
    wanted = settings.fit
    also_read = wanted.judged or wanted.validation_pairs or wanted.pairs
    require_files(settings, *_NAMED_FOR_FIT, *(NAMED_FOR_EVALUATION if also_read else ()))
    method, second = make(wanted.method, wanted.settings), second_stage(settings, _cache(settings))
    judged_by = validation_pairs(settings, method, progress)
    captions, pairs = _captions_and_pairs(settings, progress)
    pairs = replace(pairs, judged_by=judged_by)
    choice, score = None, ""
    if isinstance(method, Choose):
        method = replace(method, cross_modal=method.cross_modal or _searches_images(settings))
        choice = choose(pairs, method, judged=_judged(settings, progress), seed=wanted.seed, progress=progress)
        upgrade, score = choice.upgrade, _score(settings, cross_modal=method.cross_modal)
    else:
        upgrade = method.fit(pairs, seed=wanted.seed, progress=progress)
    if upgrade is None:
        return Fitted(None, choice, score, captions)
    names = {side: model.encoder for side, model in (("old", settings.old), ("new", settings.new)) if model.encoder}
    upgrade = replace(upgrade, provenance=replace(upgrade.provenance, encoders=names))
    if second is not None:
        upgrade = second.fit(upgrade, pairs, progress)
    upgrade.save(settings.upgrade)
    return Fitted(upgrade, choice, score, captions)


def _cache(settings: Settings) -> Path:
    """Where encoded captions and the checkpoints of a training lie."""
    return settings.fit.cache or settings.upgrade.parent / ".embridge-cache"


def _captions_and_pairs(settings: Settings, progress: Progress) -> tuple[Captions | None, Pairs]:
    """What the settings name, as both models see it."""
    wanted = settings.fit
    captions = None if wanted.captions is None else read_all_captions(wanted.captions, column=wanted.column)
    texts = None if captions is None else captions.texts
    old, new = (caption_vectors(model, texts, _cache(settings), progress) for model in (settings.old, settings.new))
    weights = None
    if wanted.weigh_repeats:
        if captions is None or len(captions) != len(old):
            raise SettingsError("fit.weigh_repeats counts the lines of fit.captions; name that file")
        weights = np.array(list(captions.counts.values()), np.float64)
    return captions, _pairs(settings, new, old, weights)


def _pairs(
    settings: Settings, new: Embeddings | HalfEmbeddings, old: Embeddings | HalfEmbeddings, weights: np.ndarray | None
) -> Pairs:
    try:
        return Pairs(new, old, weights)
    except InvalidInput as error:
        where = [str(model.captions or settings.fit.captions) for model in (settings.new, settings.old)]
        raise InvalidInput(f"{' and '.join(where)}: {error}") from error


def _score(settings: Settings, *, cross_modal: bool) -> str:
    """What `choose` compares by, in words."""
    if settings.fit.judged is not None:
        return f"{measure(settings.fit.metrics[-1]).label} of fit.judged, new queries on the old gallery"
    return "mean reciprocal rank of held-out captions" + (", half of them moved as images lie" if cross_modal else "")


def _searches_images(settings: Settings) -> bool:
    """Whether images will be searched: an encoder takes them, or judged pairs hold them."""
    if any(searches_images(model) for model in (settings.old, settings.new)):
        return True
    pairs = [p for p in (settings.fit.judged, settings.evaluate and settings.evaluate.pairs) if p]
    return any(read_pairs(path).cross_modal for path in pairs if path.exists())


def _judged(settings: Settings, progress: Progress) -> JudgedQueries | None:
    """The judged pairs to choose by, which may not be those that are reported on."""
    if settings.fit.judged is None:
        return None
    wanted = EvaluateSettings(pairs=settings.fit.judged, metrics=settings.fit.metrics)
    judgements = read_judgements(wanted)
    if settings.evaluate is not None:
        reported = set(read_judgements(settings.evaluate).queries)
        seen = [query for query in judgements.queries if query in reported]
        if seen:
            raise SettingsError(
                f"fit.judged and evaluate.pairs share {len(seen)} queries, first {seen[0]!r}: a choice made by what is "
                "reported flatters itself; keep them apart"
            )
    sides = [side_of(model, judgements, settings.fit.judged.parent, progress) for model in (settings.old, settings.new)]
    assert judgements.truth is not None
    scope = Scope(
        metrics=settings.fit.metrics, directions=judgements.directions, unjudged="skip", seed=settings.fit.seed
    )
    return JudgedQueries(sides[0], sides[1], judgements.truth, scope)
