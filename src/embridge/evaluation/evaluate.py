"""Measure an upgrade: every cell, on the same queries and judgements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from embridge.adapters.lora_folder import space_with_lora
from embridge.adapters.upgrade import Upgrade
from embridge.errors import InvalidInput
from embridge.evaluation._parted import Parted
from embridge.evaluation.backfill_curve import Mixed, backfilled
from embridge.evaluation.cells import Bench
from embridge.evaluation.full_ranking import full_average_precision
from embridge.evaluation.judged import Judged
from embridge.evaluation.measures import FULL
from embridge.evaluation.one_set import settle_own
from embridge.evaluation.relevance import AnyRelevance
from embridge.evaluation.report import BACKFILLED, Cell, Report, Task
from embridge.evaluation.retrieve import Retrieved
from embridge.evaluation.scope import Scope
from embridge.evaluation.sides import Side, fingerprint, require_same_items
from embridge.progress import Progress, silent
from embridge.provenance import environment
from embridge.space import require_same

__all__ = ["evaluate"]

_Find = Callable[[], tuple[Retrieved, np.ndarray | None]]


def evaluate(
    old: Side,
    new: Side,
    upgrade: Upgrade,
    relevance: AnyRelevance,
    *,
    scope: Scope | None = None,
    progress: Progress = silent,
) -> Report:
    """Measure old/old, new/old, new/new, naive, and what else the scope names.

    ``naive`` is the new query on the old gallery with nothing between them; where the dimensions differ, on the shared
    prefix. A query that is an item of the gallery does not find itself, unless pairs call an item right for itself; the
    scope may say which are (``own_items``). A right item that the gallery lacks counts as not found.

    Where the upgrade has a LoRA, ``new`` is of the model with it, and ``new.without_lora`` of the model without. A full
    backfill would be written so: ``new/new``, ``naive`` and the backfilled part of a curve are of it, a cascade ranks by
    it, and controls of its space ask by it.

    Args:
        old: Queries [q] and gallery [n] as the old model sees them.
        new: The same items as the new model sees them.
        upgrade: From the new model to the old one.
        relevance: Which items are right for which query.
        scope: What to measure; text to image and image to text by default.
        progress: Hears of every cell.

    Returns:
        Every query's hits in every cell.

    Raises:
        InvalidInput: The sides hold other items, or a query has no right item, unless the scope says otherwise.
        SpaceMismatch: A side is of another model than the upgrade's.

    Examples:
        >>> from embridge import Embeddings, Space, Upgrade
        >>> from embridge.adapters import Identity, Linear, Provenance
        >>> from embridge.evaluation import Relevance
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> photos = np.array([[0, 1, 0], [1, 0, 0], [0, 1, 2]], np.float32)
        >>> sides = [
        ...     Side(*[Embeddings.of(photos[:, : s.dim], s, [f"{x}{i}" for i in range(3)]) for x in "qg"])
        ...     for s in (old, new)
        ... ]
        >>> upgrade = Upgrade(Identity(new, new), Linear(new, old, np.eye(3, 2, dtype=np.float32)), Provenance("known"))
        >>> relevance = Relevance.from_pairs([("q0", "g0"), ("q1", "g1"), ("q2", "g2")])
        >>> report = evaluate(*sides, upgrade, relevance, scope=Scope(metrics=["recall_at_1"], directions=["t2i"]))
        >>> {name: round(figures["recall_at_1"], 3) for name, figures in report.figures()["t2i"].items()}
        {'old/old': 0.667, 'new/old': 0.667, 'new/new': 1.0, 'naive': 0.667}
    """
    scope = scope or Scope()
    require_same_items(old, new)
    _require_without_lora(new, upgrade)
    about = _about(old, new)
    tasks: list[Task] = []
    cells: list[Cell] = []
    for i, direction in enumerate(scope.directions):
        if i == 1:
            old, new, relevance = old.reversed(), new.reversed(), relevance.inverted()
        asked = _asked(old, new, upgrade, relevance, scope)
        if i == 0:
            asked = replace(asked, notes=(*asked.notes, *scope.notes))
        tasks.append(_task(direction, asked, scope, source=relevance.source))
        finds = _finds(asked.bench, asked.judged, scope)
        for j, (name, find) in enumerate(finds.items()):
            cells.append(_cell(direction, name, find(), asked.judged))
            progress(i * len(finds) + j + 1, len(scope.directions) * len(finds), "evaluate")
    return Report(tuple(tasks), tuple(cells), tuple(scope.metrics), scope.seed, about | dict(scope.about))


def _require_without_lora(new: Side, upgrade: Upgrade) -> None:
    """Raise `SpaceMismatch` unless the side without the LoRA is of the upgrade's new model as it is without its LoRA."""
    if new.without_lora is None:
        return
    space = new.without_lora.queries.space
    tuned = space if upgrade.lora is None else space_with_lora(space, upgrade.lora)
    require_same(upgrade.new_space, tuned, what="the new side without LoRA, once the upgrade's LoRA is attached")


def _about(old: Side, new: Side) -> dict[str, Any]:
    """What was measured, and where."""
    sides = {"old": old, "new": new}
    if new.without_lora is not None:
        sides["new_without_lora"] = new.without_lora
    return {
        **{name: str(side.gallery.space) for name, side in sides.items()},
        "data": {name: fingerprint(side) for name, side in sides.items()},
        "environment": environment(),
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Both sides with the queries that are asked, what is right for each, and what a reader should know of that."""

    bench: Bench
    judged: Judged
    notes: tuple[str, ...]
    skipped: int


def _asked(old: Side, new: Side, upgrade: Upgrade, relevance: AnyRelevance, scope: Scope) -> _Asked:
    gallery, before = old.gallery.ids, len(old.queries)
    named = np.ones(before, bool) if relevance.names_itself else relevance.naming_themselves(old.queries.ids)
    sides = [(side.queries, side.gallery) for side in (old, new)]
    own, caution = settle_own(sides, scope.own_items, named)
    notes = [*map(str, relevance.missing(old.queries.ids, gallery)), *filter(None, [caution])]
    judged = relevance.judge(old.queries.ids, gallery, one_set=own is not None)
    if not judged.present.any():
        raise InvalidInput(
            f"none of the {before} queries has a right item among the {len(gallery)} of the gallery; are the ids those of "
            "the judgements?"
        )
    if scope.unjudged == "skip":
        rows = np.flatnonzero(judged.relevant)
        old, new, own = old.asking(rows), new.asking(rows), None if own is None else own[rows]
        judged = relevance.judge(old.queries.ids, gallery, one_set=own is not None)
    elif any(isinstance(side.queries, Parted) for side in (old, new)):  # a gallery that asks: then it has to be here
        old, new = (side.asking(np.arange(before)) for side in (old, new))
    if scope.unjudged == "error" and not judged.present.all():
        query = old.queries.ids[int(np.argmin(judged.present > 0))]
        raise InvalidInput(
            f"query {query!r} has no relevant item in this gallery of {len(gallery)}; leave it out (unjudged: skip), count "
            "it as failed (zero), or add its item"
        )
    notes.sort(key=lambda note: not note.startswith("most"))
    return _Asked(Bench(old, new, upgrade, own), judged, tuple(notes), before - len(old.queries))


def _task(direction: str, asked: _Asked, scope: Scope, *, source: str) -> Task:
    bench, judged = asked.bench, asked.judged
    query_ids, gallery = bench.old.queries.ids, bench.old.gallery.ids
    return Task(
        direction,
        query_ids,
        gallery,
        len(gallery),
        judged.relevant,
        judged.ideal(min(scope.deepest, len(gallery))),
        judged.weights,
        {column: tuple(labels.get(query, "") for query in query_ids) for column, labels in scope.slices.items()},
        source,
        judged.groups,
        asked.skipped,
        asked.notes,
    )


def _finds(bench: Bench, judged: Judged, scope: Scope) -> dict[str, _Find]:
    """Every cell's search, done when called; in the order of a table."""
    finds: dict[str, _Find] = {}
    for name, side in bench.cells(scope.controls, scope.cells, judged).items():
        if name == BACKFILLED and "cascade" in scope.cells:
            finds["cascade"] = lambda: (
                bench.cascade(scope.cascade_items, scope.deepest, judged, seed=scope.seed),
                None,
            )
        finds[name] = partial(_search, bench, side, judged, scope)
    return finds | _curves(bench, judged, scope)


def _search(
    bench: Bench, cell: Callable[[], Side], judged: Judged, scope: Scope
) -> tuple[Retrieved, np.ndarray | None]:
    side = cell()
    whole = None
    if FULL in scope.metrics:
        whole = full_average_precision(side.queries, side.gallery, judged, own=bench.own)
    return bench.search(side, scope.deepest, judged), whole


def _curves(bench: Bench, judged: Judged, scope: Scope) -> dict[str, _Find]:
    """One search a cut-off, for every order that names this gallery's items."""
    if not scope.orders:
        return {}
    finds: dict[str, _Find] = {}
    mixed = Mixed(bench.backfilled(), bench.bridged(), bench.own, seed=scope.seed)
    for name, ids in scope.orders.items():
        order = _rows_in_order(name, ids, bench.old.gallery.ids, scope.seed)
        for fraction, done in backfilled(order) if len(order) else ():
            finds[f"mixed@{fraction:.4f}/{name}"] = partial(_mix, mixed, done, scope.deepest, judged)
    return finds


def _mix(mixed: Mixed, done: np.ndarray, depth: int, judged: Judged) -> tuple[Retrieved, None]:
    return mixed.search(done, depth, judged), None


def _rows_in_order(name: str, ids: Sequence[str] | None, gallery: Sequence[str], seed: int) -> np.ndarray:
    """The gallery's rows, first to be backfilled first; none where the order is of other items altogether."""
    if ids is None:
        return np.random.default_rng(seed).permutation(len(gallery))
    row_of = {item: row for row, item in enumerate(gallery)}
    rows = [row_of[item] for item in dict.fromkeys(ids) if item in row_of]
    if rows and len(rows) < len(gallery):
        raise InvalidInput(f"backfill order {name!r} lacks {len(gallery) - len(rows)} of {len(gallery)} gallery items")
    return np.array(rows, np.int64)


def _cell(direction: str, name: str, hits: tuple[Retrieved, np.ndarray | None], judged: Judged) -> Cell:
    found, whole = hits
    rows = found.ranking.rows
    return Cell(direction, name, rows, found.ranking.scores, judged.gains(rows), whole, found.ties)
