"""Measure an upgrade: every cell, on the same queries and judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.evaluation.relevance import Relevance
from embridge.evaluation.report import Cell, Report
from embridge.progress import Progress, silent
from embridge.search import top_k
from embridge.space import require_same

__all__ = ["CROSS_MODAL", "Side", "evaluate"]

CROSS_MODAL = ("t2i", "i2t")


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The same queries and gallery as one model sees them, in its one space."""

    queries: Embeddings
    gallery: Embeddings

    def __post_init__(self) -> None:
        require_same(self.gallery.space, self.queries.space, what="the queries of a side")

    def reversed(self) -> Side:
        """The gallery asks, the queries answer."""
        return Side(self.gallery, self.queries)

    def asking(self, relevance: Relevance) -> Side:
        """Only the queries that have a right item; the gallery stays whole."""
        judged = [row for row, name in enumerate(self.queries.ids) if name in relevance.relevant]
        if not judged:
            raise InvalidInput(
                f"none of the {len(self.queries)} queries has a right item; are the ids those of the pairs?"
            )
        return Side(self.queries.take(judged), self.gallery)


def evaluate(
    old: Side,
    new: Side,
    upgrade: Upgrade,
    relevance: Relevance,
    *,
    controls: Mapping[str, Upgrade] | None = None,
    directions: Sequence[str] = CROSS_MODAL,
    ks: Sequence[int] = (1, 5, 10),
    seed: int = 0,
    unjudged: Literal["error", "skip"] = "error",
    about: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Report:
    """Measure the cells old/old, new/old, new/new, naive, and NAME/old for every control.

    ``directions`` names one direction, or two: the second exchanges queries and gallery (text-to-image, then
    image-to-text). ``naive`` is the new query on the old gallery with nothing between them; where the dimensions
    differ, on the shared prefix. ``unjudged`` says what happens to a query without a right item: it is refused, or not
    asked (it stays in the gallery that others search). Raises `InvalidInput` unless both sides hold the same items.
    """
    if not ks or len(directions) not in (1, 2):
        raise InvalidInput(f"expected at least one k and one or two directions, came {ks} and {directions}")
    _require_same_items(old, new)
    cells: list[Cell] = []
    ids: dict[str, tuple[str, ...]] = {}
    for i, direction in enumerate(directions):
        a, b, judged = (old, new, relevance) if i == 0 else (old.reversed(), new.reversed(), relevance.inverted())
        if unjudged == "skip":
            a, b = a.asking(judged), b.asking(judged)
        ids[direction] = a.queries.ids
        sides = _searches(a, b, {"new/old": upgrade} | {f"{n}/old": u for n, u in (controls or {}).items()})
        for j, (name, queries, gallery) in enumerate(sides):
            cells.append(_measure(direction, name, queries, gallery, judged, max(ks)))
            progress(i * len(sides) + j + 1, len(directions) * len(sides), "evaluate")
    return Report(tuple(cells), ids, tuple(ks), seed, about or {})


def _searches(old: Side, new: Side, upgrades: Mapping[str, Upgrade]) -> list[tuple[str, Embeddings, Embeddings]]:
    bridged = [(name, *_bridge(upgrade, new.queries, old.gallery)) for name, upgrade in upgrades.items()]
    return [
        ("old/old", old.queries, old.gallery),
        *bridged,
        ("new/new", new.queries, new.gallery),
        ("naive", new.queries, old.gallery),
    ]


def _bridge(upgrade: Upgrade, queries: Embeddings, gallery: Embeddings) -> tuple[Embeddings, Embeddings]:
    require_same(upgrade.old_space, gallery.space, what="the old gallery of this upgrade")
    if upgrade.direction == "forward":
        return upgrade.head(queries), upgrade.bridge(gallery)
    return upgrade.to_index_space(queries), gallery


def _measure(
    direction: str, name: str, queries: Embeddings, gallery: Embeddings, judged: Relevance, depth: int
) -> Cell:
    shared = min(queries.space.dim, gallery.space.dim)
    ranking = top_k(queries.vectors[:, :shared], gallery.vectors[:, :shared], depth, metric=gallery.space.metric)
    return Cell(direction, name, judged.first_hits(queries.ids, gallery.ids, ranking.rows))


def _require_same_items(old: Side, new: Side) -> None:
    for what, a, b in (("queries", old.queries, new.queries), ("gallery items", old.gallery, new.gallery)):
        if a.ids != b.ids:
            raise InvalidInput(
                f"{what}: both models must see the same items in the same order; {len(a)} and {len(b)} came"
            )
