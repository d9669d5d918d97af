"""From a settings file and an upgrade to a report: the work of ``embridge evaluate``."""

from __future__ import annotations

import os

from embridge.adapters.upgrade import Upgrade
from embridge.errors import SettingsError, require
from embridge.evaluation import Relevance, Scope, Side, Summary, evaluate
from embridge.evaluation.measures import FULL
from embridge.evaluation.render.html import pictures_from, save_html
from embridge.evaluation.render.markdown import report_markdown
from embridge.evaluation.report_files import save_report, summary_to_dict
from embridge.jobs.judgements import Judgements, read_judgements, read_orders, require_answerable
from embridge.jobs.models import side_of, sides_of_new
from embridge.progress import Progress, silent
from embridge.settings import EvaluateSettings, Settings
from embridge.settings.reading import require_files

__all__ = ["NAMED_FOR_EVALUATION", "evaluate_upgrade"]

NAMED_FOR_EVALUATION = (
    *(f"evaluate.{key}" for key in ("pairs", "qrels", "labels", "orders")),
    *(f"{side}.{key}" for side in ("old", "new", "native") for key in ("queries", "gallery")),
)
"""The files that an evaluation reads, by their keys in the settings."""


def evaluate_upgrade(settings: Settings, *, progress: Progress = silent) -> Summary:
    """Measure the upgrade of the settings; write the report, its page, and the figures into the upgrade's folder.

    From files of vectors the whole files are searched, whether judged or not; encoders see what the pairs name. Raises
    `SettingsError` for settings that lack what is needed, and `InvalidInput` for data that cannot be used. Gates that were
    not met are in the summary; see `embridge.evaluation.require_gates`.
    """
    wanted = settings.evaluate
    if wanted is None:
        raise SettingsError("the settings have no section 'evaluate' with what to judge by")
    require_files(settings, *NAMED_FOR_EVALUATION)
    require("pyarrow", extra="parquet")  # before hours of encoding
    upgrade = Upgrade.load(settings.upgrade)
    judgements = read_judgements(wanted)
    require_answerable(wanted, judgements)
    judged = wanted.pairs or wanted.labels
    folder = None if judged is None else judged.parent
    old = side_of(settings.old, judgements, folder, progress)
    new, native = sides_of_new(settings, upgrade, judgements, folder, progress)
    best = native or new
    truth = judgements.truth or Relevance.from_neighbours(best.queries, best.gallery, wanted.neighbours or 1)
    scope = _scope(settings, wanted, judgements, upgrade, old)
    report = evaluate(old, new, upgrade, truth, native=native, scope=scope, progress=progress)
    summary = save_report(
        report, settings.report, gates=wanted.gates, precisions=wanted.precisions, thresholds=wanted.thresholds
    )
    encoded = wanted.pairs is not None or settings.old.encoder is not None
    show = pictures_from(folder) if folder is not None and encoded else None
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
