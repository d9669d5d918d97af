"""Queries fused of the old model's and the bridged one's, as cells beside those of a report."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from embridge import Embeddings, Upgrade
from embridge.evaluation import Cell, Relevance, Report, Side, choose_alpha
from embridge.evaluation.retrieve import retrieve
from embridge.evaluation.ties import Searched
from embridge.query import FusionKind

__all__ = ["NAMES", "with_fusions"]

NAMES = {"adaptive": "adaptive-nlerp"}
"""What a kind of fusion is called in a table, where it is not its own name."""


def with_fusions(
    report: Report,
    sides: tuple[Side, Side],
    upgrade: Upgrade,
    relevance: Relevance,
    *,
    support: tuple[Side, Side, Relevance],
    metric: str,
) -> Report:
    """The report with a cell ``slerp/old``, ``nlerp/old`` and ``adaptive-nlerp/old`` a direction.

    How far each trusts the bridge is chosen on ``support``, queries and gallery of which nothing is judged here.
    """
    cells = list(report.cells)
    for i, direction in enumerate(report.directions):
        old, bridged, known = _facing(*sides, relevance, upgrade, reverse=i == 1)
        support_parts = _facing(*support, upgrade, reverse=i == 1)
        judged = known.judge(old.queries.ids, old.gallery.ids)
        depth = report.cells[0].rows.shape[1]
        for kind in get_args(FusionKind):
            fusion = choose_alpha(*support_parts, metric=metric, kind=kind)
            fused = fusion.apply(old.queries, bridged)
            found = retrieve(Side(fused, old.gallery), depth, Searched(judged))
            hits, name = found.ranking, f"{NAMES.get(kind, kind)}/old"
            cells.append(Cell(direction, name, hits.rows, hits.scores, judged.gains(hits.rows), None, found.ties))
    return replace(report, cells=tuple(cells))


def _facing(
    old: Side, new: Side, relevance: Relevance, upgrade: Upgrade, *, reverse: bool
) -> tuple[Side, Embeddings, Relevance]:
    """The old side, the bridged queries, and what is right, of one direction."""
    if reverse:
        old, new, relevance = old.reversed(), new.reversed(), relevance.inverted()
    return old, upgrade.to_index_space(new.queries), relevance
