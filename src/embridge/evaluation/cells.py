"""The cells of a report: which queries search which gallery, and what they find.

Fusion, cascade and mixed search call what `embridge.query` calls, so that a report measures what a server finds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from embridge.adapters.upgrade import Upgrade
from embridge.errors import InvalidInput
from embridge.evaluation._parted import cut_to, mapped, searchable
from embridge.evaluation.judged import Judged
from embridge.evaluation.retrieve import Retrieved, drawn_at_the_end, retrieve
from embridge.evaluation.sides import Side
from embridge.evaluation.ties import Searched, dense, find_ties, runs_of
from embridge.nearest import Ranking
from embridge.nearest._parts import Parts, Portions, Searchable, through
from embridge.nearest.ties import pair_scores
from embridge.query.cascade import rank_again
from embridge.query.fusion import nlerp
from embridge.shapes import Int64
from embridge.space import Metric, Space, require_same

__all__ = ["MORE_CELLS", "Bench"]

MORE_CELLS = {
    "fused/old": "the mean of the old query and the bridged one: both encoders for each query",
    "cascade": "the bridge's best items, ranked again by the new model: so many items re-encoded for each query",
    "ceiling": "the mean of the right items' own stored vectors: about the most that a map into this gallery can do",
}
"""Cells on request, and what they are."""

_CASCADE_VALUES = 1 << 22  # of the vectors that are ranked again at once


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """Both sides of one direction and the upgrade between them.

    Attributes:
        old: The old model's queries [q] and gallery [n].
        new: The same items as the new model sees them.
        upgrade: From the new model to the old one.
        own: Each query's own gallery row [q], which it may not find, -1 where it has none; None where none has.

    Examples:
        >>> from embridge import Embeddings
        >>> from embridge.adapters import Identity, Prefix, Provenance
        >>> from embridge.evaluation import LabelRelevance
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> rows = Embeddings.of(np.eye(3, dtype=np.float32), new)
        >>> stored = rows.with_vectors(np.eye(3, 2, dtype=np.float32), old)
        >>> upgrade = Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix"))
        >>> bench = Bench(Side(stored, stored), Side(rows, rows), upgrade)
        >>> judged = LabelRelevance(labels := dict(zip(rows.ids, "aab")), labels).judge(rows.ids, rows.ids)
        >>> bench.search(bench.bridged(), 1, judged).ranking.rows.tolist()
        [[0], [1], [0]]
    """

    old: Side
    new: Side
    upgrade: Upgrade
    own: Int64[np.ndarray, " q"] | None = None

    def bridged(self, upgrade: Upgrade | None = None) -> Side:
        """The new queries and the old gallery with the bridge between them."""
        upgrade = upgrade or self.upgrade
        require_same(upgrade.old_space, self.old.gallery.space, what="the old gallery of this upgrade")
        plain = self.new.plain  # a control may have no LoRA
        side = plain if upgrade.new_space == plain.queries.space else self.new
        if upgrade.direction == "forward":
            return Side(upgrade.head(side.queries), mapped(upgrade.bridge, self.old.gallery))
        return Side(upgrade.to_index_space(side.queries), self.old.gallery)

    def backfilled(self) -> Side:
        """The new queries and the re-encoded gallery, as a backfill writes them: without a LoRA, by the upgrade's head."""
        side = self.new.plain
        if side.queries.space != self.upgrade.new_space:  # the upgrade is of the model with a LoRA
            return side
        return Side(self.upgrade.head(side.queries), mapped(self.upgrade.head, side.gallery))

    def search(self, side: Side, depth: int, judged: Judged) -> Retrieved:
        """The best gallery rows of every query, but not its own."""
        return retrieve(side, depth, Searched(judged, self.own))

    def cells(
        self, controls: Mapping[str, Upgrade], more: Sequence[str], judged: Judged
    ) -> dict[str, Callable[[], Side]]:
        """Name → queries and gallery, made when called; in the order of a table."""
        extra = {"fused/old": self._fused, "ceiling": lambda: self._ceiling(judged)}
        return (
            {"old/old": lambda: self.old, "new/old": self.bridged}
            | {f"{name}/old": partial(self.bridged, control) for name, control in controls.items()}
            | {name: extra[name] for name in more if name in extra}
            | {"new/new": self.backfilled, "naive": self._naive}
        )

    def cascade(self, items: int, depth: int, judged: Judged, *, seed: int = 0) -> Retrieved:
        """The bridge's best ``items`` (at least ``depth``), ranked again by the new model's own scores.

        Where equal scores of the bridge decide which items are ranked again, the figures are of items drawn with the seed.
        """
        searched, bridged = Searched(judged, self.own), self.bridged()
        found = retrieve(bridged, max(items, depth), searched)
        served = self._ranked_again(found, searched)
        cut, rows = drawn_at_the_end(found, bridged, searched, seed=seed)
        if not len(cut):
            return served.cut(depth)
        drawn = self._ranked_again(replace(found, ranking=replace(found.ranking, rows=rows)), searched)
        tied = cut if drawn.ties is None else np.union1d(cut, drawn.ties.queries)
        return replace(served, ties=dense(drawn.ranking.rows, drawn.ties, tied, judged)).cut(depth)

    def _ranked_again(self, found: Retrieved, searched: Searched) -> Retrieved:
        candidates, side = found.ranking.rows, self.backfilled()
        queries, gallery, metric = side.queries.vectors, searchable(side.gallery), side.gallery.space.metric
        ranked = _rank_again(queries, gallery, candidates, metric)
        ranking = Ranking(np.take_along_axis(candidates, ranked.rows, axis=1), ranked.scores)
        runs = np.take_along_axis(runs_of(found.ties, *candidates.shape), ranked.rows, axis=1)
        ties = find_ties(queries, gallery, ranking, searched, metric=metric, beside=runs)
        return Retrieved(ranking, ties).own_last(searched)

    def _naive(self) -> Side:
        queries, gallery = self.new.plain.queries, self.old.gallery
        shared = min(queries.space.dim, gallery.space.dim)
        space = Space("no bridge", "", shared, gallery.space.metric)
        return Side(cut_to(queries, shared, space), cut_to(gallery, shared, space))

    def _fused(self) -> Side:
        bridged = self.bridged()
        if self.upgrade.direction == "forward" or bridged.gallery.space.metric != "cosine":
            raise InvalidInput(
                "fused/old is the mean of two unit vectors of the old space: it needs a backward upgrade and cosine"
            )
        return Side(nlerp(self.old.queries, bridged.queries, 0.5), bridged.gallery)

    def _ceiling(self, judged: Judged) -> Side:
        bridged = self.bridged()
        queries, gallery = bridged.queries, bridged.gallery
        right = _RightSums(judged, gallery.space)
        means = through(searchable(gallery), right, [None])[0] / np.maximum(judged.present, 1)[:, None]
        return Side(queries.with_vectors(means.astype(np.float32), gallery.space), gallery)


@dataclass(frozen=True, slots=True)
class _RightSums:
    """The sum of each query's right items; of unit vectors where lengths do not count."""

    judged: Judged
    space: Space

    def through(self, portions: Portions, item: None) -> np.ndarray:
        return self.judged.sums_of(((first, self._weighed(rows)) for first, rows in portions()), self.space.dim)

    def _weighed(self, rows: np.ndarray) -> np.ndarray:
        return (_unit(rows) if self.space.metric == "cosine" else rows).astype(np.float32)


def _rank_again(queries: np.ndarray, gallery: Searchable, candidates: np.ndarray, metric: Metric) -> Ranking:
    """Places among each query's candidates, and scores."""
    width = candidates.shape[1]
    if isinstance(gallery, Parts):  # where the vectors are that `rank_again` would be given: the same scores and order
        scores = pair_scores(queries, gallery, candidates, metric=metric)
        places = np.argsort(-scores, axis=1, kind="stable")
        return Ranking(places, np.take_along_axis(scores, places, axis=1).astype(np.float32))
    step = max(1, _CASCADE_VALUES // (width * gallery.shape[1]))
    parts = [slice(start, start + step) for start in range(0, len(queries), step)]
    ranked = [rank_again(queries[part], gallery[candidates[part]], width, metric=metric) for part in parts]
    return Ranking(*(np.concatenate([getattr(one, name) for one in ranked]) for name in ("rows", "scores")))


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.finfo(np.float64).tiny)
