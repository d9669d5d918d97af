"""From a settings file and an upgrade to a report: the work of ``embridge evaluate``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace

from embridge.adapters.upgrade import Upgrade, fingerprint
from embridge.atomic_write import refuse_foreign_file
from embridge.errors import SettingsError, require
from embridge.evaluation import Relevance, Scope, Side, Summary, evaluate
from embridge.evaluation.measures import FULL
from embridge.evaluation.render.html import PAGE_MARKS, Picture, Show, pictures_from, save_html
from embridge.evaluation.render.markdown import report_markdown
from embridge.evaluation.report_files import require_free_report, save_report, summary_to_dict
from embridge.jobs._judgements import Judgements, read_judgements, read_orders, require_answerable
from embridge.jobs._model_vectors import side_of, sides_of_new, texts_of_tables
from embridge.jobs._row_numbers import numbered_files, warn_of_other_numbers
from embridge.jobs._spread import opened_engine, spread_side, spreading_beside
from embridge.jobs._stored_pairs import STORED
from embridge.jobs._stored_sides import stored_sides
from embridge.jobs.models import Models, takes_images
from embridge.progress import Progress, silent
from embridge.scale import Engine
from embridge.scale.gallery import Spreading
from embridge.settings import EvaluateSettings, Settings
from embridge.settings.reading import require_files

__all__ = ["JUDGED_CAPTIONS", "NAMED_FOR_EVALUATION", "evaluate_upgrade"]

JUDGED_CAPTIONS = "judged_captions"
"""The figure of an upgrade that says how many of the judged queries were fitted on, and of how many."""

_SEEN = (
    "the bridge may have been fitted on rows that ask here; fit it with evaluate.neighbours in the settings, which keeps them "
    "apart"
)
NAMED_FOR_EVALUATION = (
    *(f"evaluate.{key}" for key in ("judged", "qrels", "labels", "orders")),
    *(f"{side}.{key}" for side in ("old", "new", "new_without_lora") for key in ("queries", "gallery")),
)
"""The files that an evaluation reads, by their keys in the settings."""


def evaluate_upgrade(settings: Settings, *, engine: Engine | None = None, progress: Progress = silent) -> Summary:
    """Measure the upgrade of the settings; write the report, its page, and the figures into the upgrade's folder.

    Of files of vectors the whole files are searched, whether judged or not; encoders see what the pairs name. Each model is
    loaded once, and each file read once.

    Args:
        settings: The settings file, read by `load_settings`.
        engine: Whose workers read and search the galleries; that of the settings where None.
        progress: Hears how far each part of the work is.

    Returns:
        The report's summary. Gates that were not met are in it; see `embridge.evaluation.require_gates`.

    Raises:
        SettingsError: The settings lack what is needed.
        InvalidInput: The data cannot be used.

    Examples:
        >>> from pathlib import Path
        >>> from embridge.datasets import glyph_models, glyphs
        >>> from embridge.jobs.fit import fit_upgrade
        >>> from embridge.settings import load_settings
        >>> names = [glyphs.caption(c) for c in glyphs.split()["train"][:300]]
        >>> _ = Path("captions.txt").write_text("\\n".join(names))
        >>> _ = Path("judged.csv").write_text("query,document\\n" + "".join(f"{n},{n}\\n" for n in names[:20]))
        >>> models = "\\n".join(f"{side}: clip:{glyph_models.folder(side)}" for side in ("old", "new"))
        >>> _ = Path("settings.yaml").write_text(
        ...     models + "\\nfit: {captions: captions.txt, method: procrustes}\\n"
        ...     "evaluate: {judged: judged.csv, metrics: [recall_at_1], cells: []}\\n"
        ... )
        >>> settings = load_settings("settings.yaml")
        >>> _ = fit_upgrade(settings)
        >>> evaluate_upgrade(settings).figure("", "old/old", "recall_at_1").interval.value
        1.0
    """
    options = settings.evaluate
    if options is None:
        raise SettingsError("the settings have no section 'evaluate' with what to judge by")
    require_files(settings, *NAMED_FOR_EVALUATION)
    require("pyarrow", extra="parquet")  # before hours of encoding
    require_free_report(settings.report)
    refuse_foreign_file(settings.report.with_suffix(".html"), marks=PAGE_MARKS, what="a report's page")
    evaluated, upgrade = fingerprint(settings.upgrade), Upgrade.load(settings.upgrade)
    judgements, models = read_judgements(options, images=_by_images(settings)), Models(progress)
    require_answerable(options, judgements)
    titles = texts_of_tables((settings.new, settings.old)) | dict(judgements.titles)
    with (
        opened_engine(engine, settings) as opened,
        spreading_beside(settings.report, opened, progress) as workers,
    ):
        old, new, notes = _sides(settings, upgrade, judgements, models, titles, workers)
        best = new.plain
        relevance = judgements.relevance or Relevance.from_neighbours(
            best.queries, best.gallery, options.neighbours or 1
        )
        warn_of_other_numbers(settings, relevance, best)
        scope = _scope(settings, options, judgements, upgrade, old, notes)
        report = evaluate(old, new, upgrade, relevance, scope=scope, progress=progress)
    summary = save_report(
        report, settings.report, gates=options.gates, precisions=options.precisions, thresholds=options.thresholds
    )
    save_html(settings.report.with_suffix(".html"), summary, show=_show(settings, options, judgements, titles))
    if fingerprint(settings.upgrade) == evaluated:
        upgrade.save(settings.upgrade, report=summary_to_dict(summary), card=report_markdown(summary))
    else:
        warnings.warn(
            f"{settings.upgrade} holds another upgrade by now; {settings.report} is of the one that was evaluated",
            stacklevel=2,
        )
    return summary


def _sides(
    settings: Settings,
    upgrade: Upgrade,
    judgements: Judgements,
    models: Models,
    titles: dict[str, str],
    workers: Spreading | None,
) -> tuple[Side, Side, tuple[str, ...]]:
    """Both sides, and what a reader should know of them; texts of a store's rows join the titles."""
    if settings.old.store is None:
        old = side_of(settings.old, judgements, models, workers=workers)
        new, without_lora = sides_of_new(settings, upgrade, judgements, models, workers)
        return old, replace(new, without_lora=without_lora), ()
    seed = 0 if settings.evaluate is None else settings.evaluate.seed
    sides = stored_sides(settings, judgements, models, lora=upgrade.lora, seed=seed, progress=models.progress)
    for name, text in sides.titles.items():
        titles.setdefault(name, text)
    seen = "" if judgements.relevance is not None or _kept_apart(upgrade) else _SEEN
    return spread_side(sides.old, workers), spread_side(sides.new, workers), tuple(filter(None, (sides.note, seen)))


def _kept_apart(upgrade: Upgrade) -> bool:
    """Whether the upgrade was fitted without the stored rows that are asked for their neighbours."""
    rows = upgrade.provenance.figures.get(STORED)
    return isinstance(rows, dict) and rows.get("tenth_kept_apart") is True


def _by_images(settings: Settings) -> bool:
    """Whether every encoder takes images, so that labels can be of them; those of a store are of its rows."""
    if settings.old.store is not None:
        return True
    return all(takes_images(model) for model in (settings.old, settings.new) if model.encoder is not None)


def _show(
    settings: Settings, options: EvaluateSettings, judgements: Judgements, titles: Mapping[str, str]
) -> Show | None:
    """What people look at for an id: its picture, else its title and the id."""
    has_pictures = options.judged is not None or settings.old.encoder is not None
    pictures = pictures_from(judgements.folder) if judgements.folder is not None and has_pictures else None

    def show(item: str) -> Picture | str:
        seen = item if pictures is None else pictures(item)
        title = titles.get(item, item)
        return seen if isinstance(seen, Picture) or title == item else f"{title} ({item})"

    return show if titles else pictures


def _notes(upgrade: Upgrade) -> tuple[str, ...]:
    if JUDGED_CAPTIONS not in upgrade.provenance.figures:
        return ()
    shared, queries = upgrade.provenance.figures[JUDGED_CAPTIONS]
    return (
        f"{shared:,} of {queries:,} judged queries are captions that the bridge was fitted on; queries that it has not seen "
        "may gain less",
    )


def _scope(
    settings: Settings,
    options: EvaluateSettings,
    judgements: Judgements,
    upgrade: Upgrade,
    old: Side,
    notes: tuple[str, ...],
) -> Scope:
    cells = _applicable(options, upgrade, old) if options.cells is None else options.cells
    folder = {} if options.judged is None else {"items": os.path.relpath(options.judged.parent, settings.report.parent)}
    numbered = sorted({file.name for files in numbered_files(settings).values() for file in files})
    named = {"ids": f"row numbers, from 0, where files hold none: {', '.join(numbered)}"} if numbered else {}
    return Scope(
        metrics=options.metrics,
        directions=judgements.directions,
        cells=cells,
        orders=read_orders(options),
        slices=judgements.slices,
        unjudged=options.unjudged,
        own_items=options.own_items,
        notes=(*_notes(upgrade), *notes),
        cascade_items=options.cascade_items,
        seed=options.seed,
        about={"upgrade": upgrade.provenance.method, "fitted on": upgrade.provenance.data} | folder | named,
    )


def _applicable(options: EvaluateSettings, upgrade: Upgrade, old: Side) -> tuple[str, ...]:
    """The further cells that make sense here: a cascade over most of the gallery would be a backfill."""
    fused = upgrade.direction == "backward" and old.gallery.space.metric == "cosine"
    smallest = min(len(old.queries), len(old.gallery)) if options.judged is not None else len(old.gallery)
    cascade = FULL not in options.metrics and 5 * options.cascade_items <= smallest
    return (*(["fused/old"] if fused else []), *(["cascade"] if cascade else []), "ceiling")
