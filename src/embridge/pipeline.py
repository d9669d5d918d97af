"""From a settings file to an upgrade, and from both to a report: the work of ``embridge fit`` and ``evaluate``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from embridge.adapters.upgrade import MANIFEST, Upgrade
from embridge.datasets.text_lines import read_captions
from embridge.embeddings import Embeddings
from embridge.encoders import Encoder, load
from embridge.errors import InvalidInput, SettingsError, require
from embridge.evaluation import Relevance, Scope, Side, Summary, evaluate
from embridge.evaluation.measures import FULL
from embridge.evaluation.render.html import pictures_from, save_html
from embridge.evaluation.render.markdown import report_markdown
from embridge.evaluation.report_files import save_report, summary_to_dict
from embridge.files import refuse_foreign_folder
from embridge.judging import Judgements, read_judgements, read_orders
from embridge.methods import Pairs, make
from embridge.progress import Progress, silent
from embridge.settings import EvaluateSettings, ModelSettings, Settings
from embridge.vector_files import read

__all__ = ["evaluate_upgrade", "fit_upgrade"]


def fit_upgrade(settings: Settings, *, progress: Progress = silent) -> Upgrade:
    """Encode the captions with both models (or read their vectors), fit, and write the upgrade's folder.

    Raises `SettingsError` for settings that lack what is needed, and `InvalidInput` for data that cannot be used or a
    folder of other things in the upgrade's place, before any work.
    """
    refuse_foreign_folder(settings.upgrade, marker=MANIFEST)
    method = make(settings.fit.method, settings.fit.settings)
    captions = None if settings.fit.captions is None else read_captions(settings.fit.captions)
    old, new = (_caption_vectors(model, captions, progress) for model in (settings.old, settings.new))
    upgrade = method.fit(Pairs(new, old), seed=settings.fit.seed, progress=progress)
    names = {side: model.encoder for side, model in (("old", settings.old), ("new", settings.new)) if model.encoder}
    upgrade = replace(upgrade, provenance=replace(upgrade.provenance, encoders=names))
    upgrade.save(settings.upgrade)
    return upgrade


def evaluate_upgrade(settings: Settings, *, progress: Progress = silent) -> Summary:
    """Measure the upgrade of the settings; write the report, its page, and the figures into the upgrade's folder.

    From files of vectors the whole files are searched, whether judged or not; encoders see what the pairs name. Raises
    `SettingsError` for settings that lack what is needed, and `InvalidInput` for data that cannot be used. Gates that were
    not met are in the summary; see `embridge.evaluation.require_gates`.
    """
    wanted = settings.evaluate
    if wanted is None:
        raise SettingsError("the settings have no section 'evaluate' with what to judge by")
    require("pyarrow", extra="parquet")  # before hours of encoding
    upgrade = Upgrade.load(settings.upgrade)
    judgements = read_judgements(wanted)
    old, new = (_side(model, judgements, wanted, progress) for model in (settings.old, settings.new))
    truth = judgements.truth or Relevance.from_neighbours(new.queries, new.gallery, wanted.neighbours or 1)
    report = evaluate(
        old, new, upgrade, truth, scope=_scope(settings, wanted, judgements, upgrade, old), progress=progress
    )
    summary = save_report(
        report, settings.report, gates=wanted.gates, precisions=wanted.precisions, thresholds=wanted.thresholds
    )
    show = None if wanted.pairs is None else pictures_from(wanted.pairs.parent)
    save_html(settings.report.with_suffix(".html"), summary, show=show)
    upgrade.save(settings.upgrade, report=summary_to_dict(summary), card=report_markdown(summary))
    return summary


def _scope(settings: Settings, wanted: EvaluateSettings, judgements: Judgements, upgrade: Upgrade, old: Side) -> Scope:
    cells = _applicable(wanted, upgrade, old) if wanted.cells is None else wanted.cells
    folder = {} if wanted.pairs is None else {"items": os.path.relpath(wanted.pairs.parent, settings.report.parent)}
    return Scope(
        metrics=wanted.metrics,
        directions=judgements.directions,
        cells=cells,
        orders=read_orders(wanted),
        slices=judgements.slices,
        unjudged=wanted.unjudged,
        cascade_items=wanted.cascade_items,
        seed=wanted.seed,
        about={"upgrade": upgrade.provenance.method, "fitted on": upgrade.provenance.data} | folder,
    )


def _applicable(wanted: EvaluateSettings, upgrade: Upgrade, old: Side) -> tuple[str, ...]:
    """The further cells that make sense here: a cascade over most of the gallery would be a backfill."""
    fused = upgrade.direction == "backward" and old.gallery.space.metric == "cosine"
    smallest = min(len(old.queries), len(old.gallery)) if wanted.pairs is not None else len(old.gallery)
    cascade = FULL not in wanted.metrics and 5 * wanted.cascade_items <= smallest
    return (*(["fused/old"] if fused else []), *(["cascade"] if cascade else []), "ceiling")


def _caption_vectors(model: ModelSettings, captions: list[str] | None, progress: Progress) -> Embeddings:
    if model.encoder is None:
        if model.captions is None:
            raise SettingsError("fit: a model without an encoder needs a file of caption vectors (captions:)")
        return _read(model.captions, model)
    if captions is None:
        raise SettingsError("fit: name a text file with captions (fit.captions), one a line")
    encoder = _encoder(model, progress)
    return Embeddings.of(encoder.encode(captions, modality="text", role="query"), encoder.space)


def _side(model: ModelSettings, judgements: Judgements, wanted: EvaluateSettings, progress: Progress) -> Side:
    if model.encoder is None:
        if model.queries is None or model.gallery is None:
            raise SettingsError("evaluate: a model without an encoder needs files of vectors (queries:, gallery:)")
        asked = _arranged(model.queries, judgements.queries, model)
        return Side(asked, _arranged(model.gallery, judgements.items, model))
    if wanted.pairs is None:
        raise SettingsError(
            "evaluate: qrels, labels and neighbours are of ids, so both models need files of vectors (queries:, gallery:); "
            "an encoder needs pairs, which hold the texts and images themselves"
        )
    encoder = _encoder(model, progress)
    queries = encoder.encode(judgements.queries, modality="text", role="query")
    if judgements.cross_modal:
        images = [str(wanted.pairs.parent / item) for item in judgements.items]
        gallery = encoder.encode(images, modality="image")
    else:
        gallery = encoder.encode(judgements.items, modality="text")
    space = encoder.space
    return Side(Embeddings.of(queries, space, judgements.queries), Embeddings.of(gallery, space, judgements.items))


def _encoder(model: ModelSettings, progress: Progress) -> Encoder:
    assert model.encoder is not None
    return load(model.encoder, device=model.device, batch_size=model.batch_size, progress=progress)


def _read(path: Path, model: ModelSettings) -> Embeddings:
    return read(path, space=None if model.space is None else model.space.to_space(), cast=model.cast)


def _arranged(path: Path, ids: list[str], model: ModelSettings) -> Embeddings:
    """All rows of a file: those ids in that order, then the others by name, so that two models' files agree."""
    rows = _read(path, model)
    row_of = {name: row for row, name in enumerate(rows.ids)}
    missing = [name for name in ids if name not in row_of]
    if missing:
        raise InvalidInput(f"{path} lacks {len(missing)} of {len(ids)} ids that the pairs name, first {missing[0]!r}")
    order = [*ids, *sorted(row_of.keys() - set(ids))]
    return rows.take(np.array([row_of[name] for name in order]))
