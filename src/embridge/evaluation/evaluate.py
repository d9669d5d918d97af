"""Measure an upgrade: every cell, on the same queries and judgements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from embridge.adapters.lora_folder import space_with_lora
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.evaluation.backfill_curve import Mixed, backfilled
from embridge.evaluation.cells import Bench
from embridge.evaluation.full_ranking import full_average_precision
from embridge.evaluation.judged import Judged
from embridge.evaluation.measures import FULL
from embridge.evaluation.one_set import own_rows
from embridge.evaluation.relevance import Truth
from embridge.evaluation.report import BACKFILLED, Cell, Report, Task
from embridge.evaluation.scope import Scope
from embridge.evaluation.sides import Side, fingerprint, require_same_items
from embridge.nearest import Ranking
from embridge.progress import Progress, silent
from embridge.provenance import environment
from embridge.space import require_same

__all__ = ["evaluate"]

_Find = Callable[[], tuple[Ranking, np.ndarray | None]]


def evaluate(
    old: Side,
    new: Side,
    upgrade: Upgrade,
    relevance: Truth,
    *,
    native: Side | None = None,
    scope: Scope | None = None,
    controls: Mapping[str, Upgrade] | None = None,
    progress: Progress = silent,
) -> Report:
    """Measure old/old, new/old, new/new, naive, NAME/old for every control, and what else the scope names.

    ``naive`` is the new query on the old gallery with nothing between them; where the dimensions differ, on the shared
    prefix. Where queries and gallery are one set no query finds itself, unless pairs call an item right for itself.

    native: where the upgrade has a LoRA, and ``new`` is of the model with it, the same items as the model sees them
    without. A full backfill would be written so: ``new/new``, ``naive`` and the backfilled part of a curve are of it, a
    cascade ranks by it, and controls of its space ask by it.

    Raises `InvalidInput` unless all sides hold the same items, and for a query without a right item, unless the scope
    says otherwise; `SpaceMismatch` for sides of other models than the upgrade's.

    >>> from embridge import Embeddings, Space, Upgrade
    >>> from embridge.adapters import Identity, Linear, Provenance
    >>> from embridge.evaluation import Relevance
    >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
    >>> photos = np.array([[0, 1, 0], [1, 0, 0], [0, 1, 2]], np.float32)
    >>> sides = [Side(*[Embeddings.of(photos[:, : s.dim], s, [f"{x}{i}" for i in range(3)]) for x in "qg"]) for s in (old, new)]
    >>> upgrade = Upgrade(Identity(new, new), Linear(new, old, np.eye(3, 2, dtype=np.float32)), Provenance("known"))
    >>> truth = Relevance.from_pairs([("q0", "g0"), ("q1", "g1"), ("q2", "g2")])
    >>> report = evaluate(*sides, upgrade, truth, scope=Scope(metrics=["recall_at_1"], directions=["t2i"]))
    >>> {name: round(figures["recall_at_1"], 3) for name, figures in report.figures()["t2i"].items()}
    {'old/old': 0.667, 'new/old': 0.667, 'new/new': 1.0, 'naive': 0.667}
    """
    scope = scope or Scope()
    require_same_items(old, new)
    if native is not None:
        _require_native(native, upgrade)
        require_same_items(old, native)
    every: tuple[Side, ...] = (old, new, native or new)
    tasks: list[Task] = []
    cells: list[Cell] = []
    for i, direction in enumerate(scope.directions):
        sides, truth = every, relevance
        if i == 1:
            sides, truth = tuple(side.reversed() for side in every), relevance.inverted()
        bench, judged = _bench(sides, upgrade, truth, scope)
        skipped = len(sides[0].queries) - len(bench.old.queries)
        tasks.append(replace(_task(direction, bench, judged, truth, scope), skipped=skipped))
        finds = _finds(bench, judged, scope, controls or {})
        for j, (name, find) in enumerate(finds.items()):
            cells.append(_cell(direction, name, find(), judged))
            progress(i * len(finds) + j + 1, len(scope.directions) * len(finds), "evaluate")
    return Report(
        tuple(tasks), tuple(cells), tuple(scope.metrics), scope.seed, _about(old, new, native) | dict(scope.about)
    )


def _require_native(native: Side, upgrade: Upgrade) -> None:
    """Raise `SpaceMismatch` unless these vectors are of the upgrade's new model as it is without the upgrade's LoRA."""
    space = native.queries.space
    tuned = space if upgrade.lora is None else space_with_lora(space, upgrade.lora)
    require_same(upgrade.new_space, tuned, what="native, once the upgrade's LoRA is attached")


def _about(old: Side, new: Side, native: Side | None) -> dict[str, Any]:
    """What was measured, and where."""
    sides = {"old": old, "new": new} | ({} if native is None else {"native": native})
    return {
        **{name: str(side.gallery.space) for name, side in sides.items()},
        "data": {name: fingerprint(side) for name, side in sides.items()},
        "environment": environment(),
    }


def _bench(sides: tuple[Side, ...], upgrade: Upgrade, truth: Truth, scope: Scope) -> tuple[Bench, Judged]:
    """All sides with the queries that are asked, and what is right for each."""
    old, new, native = sides
    one_set = (old.one_set or new.one_set) and not truth.names_itself
    gallery = old.gallery.ids
    judged = truth.judge(old.queries.ids, gallery, one_set=one_set)
    asked = np.arange(len(old.queries))
    if scope.unjudged == "skip" or not judged.relevant.any():
        asked = np.flatnonzero(judged.relevant)
        if not len(asked):
            raise InvalidInput(
                f"none of the {len(old.queries)} queries has a right item among the {len(gallery)} of the gallery; are "
                "the ids those of the judgements?"
            )
        old, new, native = (side.asking(asked) for side in sides)
        judged = truth.judge(old.queries.ids, gallery, one_set=one_set)
    if scope.unjudged == "error" and not judged.relevant.all():
        query = old.queries.ids[int(np.argmin(judged.relevant > 0))]
        raise InvalidInput(
            f"query {query!r} has no relevant item in this gallery of {len(gallery)}; leave it out (unjudged: skip), count "
            "it as failed (zero), or add its item"
        )
    return Bench(old, new, native, upgrade, own_rows(old.queries, old.gallery) if one_set else None), judged


def _task(direction: str, bench: Bench, judged: Judged, truth: Truth, scope: Scope) -> Task:
    queries, gallery = bench.old.queries.ids, bench.old.gallery.ids
    return Task(
        direction,
        queries,
        gallery,
        len(gallery),
        judged.relevant,
        judged.ideal(min(scope.deepest, len(gallery))),
        judged.weights,
        {column: tuple(labels.get(query, "") for query in queries) for column, labels in scope.slices.items()},
        truth.source,
        judged.groups,
    )


def _finds(bench: Bench, judged: Judged, scope: Scope, controls: Mapping[str, Upgrade]) -> dict[str, _Find]:
    """Every cell's search, done when called; in the order of a table."""
    made: dict[str, _Find] = {}
    for name, sides in bench.cells(controls, scope.cells, judged).items():
        if name == BACKFILLED and "cascade" in scope.cells:
            made["cascade"] = lambda: (bench.cascade(scope.cascade_items, scope.deepest), None)
        made[name] = partial(_search, bench, sides, judged, scope)
    return made | _curves(bench, scope)


def _search(
    bench: Bench, sides: Callable[[], tuple[Embeddings, Embeddings]], judged: Judged, scope: Scope
) -> tuple[Ranking, np.ndarray | None]:
    queries, gallery = sides()
    whole = full_average_precision(queries, gallery, judged, own=bench.own) if FULL in scope.metrics else None
    return bench.search(queries, gallery, scope.deepest), whole


def _curves(bench: Bench, scope: Scope) -> dict[str, _Find]:
    """One search a cut-off, for every order that names this gallery's items."""
    if not scope.orders:
        return {}
    made: dict[str, _Find] = {}
    mixed = Mixed(bench.backfilled(), bench.bridged(), bench.own, seed=scope.seed)
    for name, ids in scope.orders.items():
        order = _rows_in_order(name, ids, bench.old.gallery.ids, scope.seed)
        for fraction, done in backfilled(order) if len(order) else ():
            made[f"mixed@{fraction:.4f}/{name}"] = partial(_mix, mixed, done, scope.deepest)
    return made


def _mix(mixed: Mixed, done: np.ndarray, depth: int) -> tuple[Ranking, None]:
    return mixed.ranking(done, depth), None


def _rows_in_order(name: str, ids: Sequence[str] | None, gallery: Sequence[str], seed: int) -> np.ndarray:
    """The gallery's rows, first to be backfilled first; none where the order is of other items altogether."""
    if ids is None:
        return np.random.default_rng(seed).permutation(len(gallery))
    row_of = {item: row for row, item in enumerate(gallery)}
    rows = [row_of[item] for item in dict.fromkeys(ids) if item in row_of]
    if rows and len(rows) < len(gallery):
        raise InvalidInput(f"backfill order {name!r} lacks {len(gallery) - len(rows)} of {len(gallery)} gallery items")
    return np.array(rows, np.int64)


def _cell(direction: str, name: str, found: tuple[Ranking, np.ndarray | None], judged: Judged) -> Cell:
    ranking, whole = found
    return Cell(direction, name, ranking.rows, ranking.scores, judged.gains(ranking.rows), whole)
