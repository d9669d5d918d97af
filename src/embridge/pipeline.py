"""From a settings file to an upgrade, and from both to a report: the work of ``embridge fit`` and ``evaluate``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embridge.adapters.upgrade import MANIFEST, Upgrade
from embridge.datasets.judged_pairs import JudgedPairs, read_pairs
from embridge.datasets.text_lines import read_captions
from embridge.embeddings import Embeddings
from embridge.encoders import Encoder, load
from embridge.errors import InvalidInput, SettingsError
from embridge.evaluation import Relevance, Report, Side, evaluate
from embridge.evaluation.evaluate import CROSS_MODAL
from embridge.evaluation.render.markdown import report_markdown
from embridge.files import refuse_foreign_folder
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


def evaluate_upgrade(settings: Settings, *, progress: Progress = silent) -> Report:
    """Measure the upgrade of the settings on their judged pairs; write the report, into the upgrade's folder too.

    From files of vectors the whole files are searched, whether judged or not; encoders see what the pairs name.
    """
    if settings.evaluate is None:
        raise SettingsError("the settings have no section 'evaluate' with the pairs to judge by")
    upgrade = Upgrade.load(settings.upgrade)
    pairs = read_pairs(settings.evaluate.pairs)
    old, new = (_side(model, pairs, settings.evaluate, progress) for model in (settings.old, settings.new))
    report = evaluate(
        old,
        new,
        upgrade,
        Relevance.from_pairs(pairs.pairs),
        directions=CROSS_MODAL if pairs.cross_modal else ("",),
        ks=settings.evaluate.ks,
        seed=settings.evaluate.seed,
        unjudged="skip",
        about=_about(upgrade, old, new),
        progress=progress,
    )
    report.save(settings.report)
    upgrade.save(settings.upgrade, report=report.to_dict(), card=report_markdown(report))
    return report


def _about(upgrade: Upgrade, old: Side, new: Side) -> dict[str, Any]:
    """What was measured on what."""
    return {
        "upgrade": upgrade.provenance.method,
        "old": str(old.gallery.space),
        "new": str(new.gallery.space),
        "queries": len(old.queries),
        "gallery": len(old.gallery),
    }


def _caption_vectors(model: ModelSettings, captions: list[str] | None, progress: Progress) -> Embeddings:
    if model.encoder is None:
        if model.captions is None:
            raise SettingsError("fit: a model without an encoder needs a file of caption vectors (captions:)")
        return _read(model.captions, model)
    if captions is None:
        raise SettingsError("fit: name a text file with captions (fit.captions), one a line")
    encoder = _encoder(model, progress)
    return Embeddings.of(encoder.encode(captions, modality="text", role="query"), encoder.space)


def _side(model: ModelSettings, pairs: JudgedPairs, settings: EvaluateSettings, progress: Progress) -> Side:
    if model.encoder is None:
        if model.queries is None or model.gallery is None:
            raise SettingsError("evaluate: a model without an encoder needs files of vectors (queries:, gallery:)")
        return Side(_arranged(model.queries, pairs.queries, model), _arranged(model.gallery, pairs.items, model))
    encoder = _encoder(model, progress)
    queries = encoder.encode(pairs.queries, modality="text", role="query")
    if pairs.cross_modal:
        images = [str(settings.pairs.parent / item) for item in pairs.items]
        gallery = encoder.encode(images, modality="image")
    else:
        gallery = encoder.encode(pairs.items, modality="text")
    space = encoder.space
    return Side(Embeddings.of(queries, space, pairs.queries), Embeddings.of(gallery, space, pairs.items))


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
