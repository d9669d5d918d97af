"""Search, with what is equal among the hits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from embridge.evaluation._equal_rows import DrawnRows, placed
from embridge.evaluation._parted import searchable
from embridge.evaluation.sides import Side
from embridge.evaluation.ties import Searched, Ties, find_ties
from embridge.nearest import Ranking
from embridge.nearest._parts import Parts, over, ranked
from embridge.nearest.ties import pair_scores, tie_keys
from embridge.shapes import Float32, Int64
from embridge.space import Metric

__all__ = ["Retrieved", "drawn_at_the_end", "hits_and_ties", "retrieve"]


@dataclass(frozen=True, slots=True, eq=False)
class Retrieved:
    """What every query found.

    Attributes:
        ranking: Rows of the whole gallery and scores, best first.
        ties: Which hits are equal; None where none are.

    Examples:
        >>> found = Retrieved(Ranking(np.array([[1, 0]]), np.array([[0.9, 0.2]], np.float32)))
        >>> found.cut(1).ranking.rows.tolist()
        [[1]]
    """

    ranking: Ranking
    ties: Ties | None = None

    def cut(self, depth: int) -> Retrieved:
        """The first hits alone."""
        ranking = Ranking(self.ranking.rows[:, :depth], self.ranking.scores[:, :depth])
        return Retrieved(ranking, self.ties and self.ties.cut(depth))

    def without_own(self, searched: Searched) -> Retrieved:
        """Without each query's own row; where not every query has one, `own_last`."""
        every = searched.own is not None and bool((searched.own >= 0).all())
        found = self.own_last(searched)
        return found.cut(found.ranking.rows.shape[1] - every)

    def own_last(self, searched: Searched) -> Retrieved:
        """With each query's own row as its last hit, with a score of −inf, if it is one."""
        rows = self.ranking.rows
        is_own = searched.is_own(np.arange(len(rows))[:, None], rows)
        if not is_own.any():
            return self
        order = np.argsort(is_own, axis=1, kind="stable")
        scores = np.where(is_own, np.float32(-np.inf), self.ranking.scores)
        ranking = Ranking(*(np.take_along_axis(values, order, axis=1) for values in (rows, scores)))
        return Retrieved(ranking, self.ties and self.ties.arranged(order))


def retrieve(side: Side, depth: int, searched: Searched) -> Retrieved:
    """Search exactly, and find what is equal among the hits and beyond them.

    Args:
        side: Queries and gallery.
        depth: How many hits a query gets at most.
        searched: What they are judged by, and which rows no query may find.

    Returns:
        The hits, best first and equal ones by row, without each query's own row.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> from embridge.evaluation import Relevance
        >>> rows = Embeddings.of(np.ones((3, 2), np.float32), Space("toy", "1", 2))
        >>> judged = Relevance.from_pairs([("0", "1")]).judge(rows.ids, rows.ids)
        >>> retrieve(Side(rows, rows), 1, Searched(judged)).ties.size.tolist()
        [[3], [3], [3]]
    """
    metric = side.gallery.space.metric
    found = hits_and_ties(side.queries.vectors, searchable(side.gallery), depth + 1, searched, metric=metric)
    return found.without_own(searched).cut(depth)


def drawn_at_the_end(
    found: Retrieved, side: Side, searched: Searched, *, seed: int
) -> tuple[Int64[np.ndarray, " c"], Int64[np.ndarray, "q k"]]:
    """Draw which rows are the last hits of a query, among all that score the same.

    What is done with the hits then does not depend on the order of rows. The draw depends on the query and the row.

    Args:
        found: What `retrieve` found.
        side: In which queries and gallery.
        searched: What it is judged by.
        seed: Of the draw.

    Returns:
        The queries of which not all equal rows are among the hits [c], and the rows of all hits [q, k].

    Examples:
        >>> from embridge import Embeddings, Space
        >>> from embridge.evaluation import Relevance
        >>> rows = Embeddings.of(np.ones((99, 2), np.float32), Space("toy", "1", 2))
        >>> side, searched = Side(rows, rows), Searched(Relevance.from_pairs([("0", "1")]).judge(rows.ids, rows.ids))
        >>> cut, drawn = drawn_at_the_end(retrieve(side, 1, searched), side, searched, seed=0)
        >>> len(cut), len(np.unique(drawn)) > 50
        (99, True)
    """
    ties, rows = found.ties, found.ranking.rows.copy()
    cut = np.zeros(0, np.int64) if ties is None else np.flatnonzero(ties.size[:, -1] > ties.before[:, -1] + 1)
    if ties is None or not len(cut):
        return cut, rows
    asked, count, metric = ties.queries[cut], ties.before[cut, -1] + 1, side.gallery.space.metric
    queries, gallery = side.queries.vectors[asked], searchable(side.gallery)
    keys = tie_keys(pair_scores(queries, gallery, rows[asked, -1:], metric=metric)[:, 0], metric)
    drawn = over(gallery, DrawnRows(queries, keys, asked, searched, metric, count, seed))
    drawn, place = placed(drawn[[0, 2, 2]])  # among the equal by row, as found
    rows[asked[drawn[0]], rows.shape[1] - count[drawn[0]] + place] = drawn[2]
    return asked, rows


def hits_and_ties(
    queries: Float32[np.ndarray, "q d"],
    gallery: Float32[np.ndarray, "n d"] | Parts,
    depth: int,
    searched: Searched,
    *,
    metric: Metric,
) -> Retrieved:
    """Search what may be a part of the gallery; where queries have own rows, one hit more, for they are among the hits.

    Args:
        queries: Float32 [q, d].
        gallery: What is searched, float32 [n, d], or its parts.
        depth: How many hits a query gets; of the last one's equals those beyond are counted where it is one of two.
        searched: What they are judged by.
        metric: ``cosine``, ``dot`` or ``l2``.

    Returns:
        The hits, by rows of the whole gallery.

    Examples:
        >>> from embridge.evaluation import Relevance
        >>> points = np.eye(2, dtype=np.float32)
        >>> judged = Relevance.from_pairs([("q", "b")]).judge(["q"], ["x", "a", "b"])
        >>> part = Searched(judged, rows=np.array([1, 2]))
        >>> hits_and_ties(points[:1], points, 1, part, metric="cosine").ranking.rows.tolist()
        [[1]]
    """
    ranking = ranked(queries, gallery, depth + (searched.own is not None), metric=metric)
    ties = find_ties(queries, gallery, ranking, searched, metric=metric)
    return Retrieved(replace(ranking, rows=searched.whole(ranking.rows)), ties)
