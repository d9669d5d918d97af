"""Average precision over the whole gallery, in blocks: the one metric that a ranking cut at some depth cannot give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embridge.embeddings import Embeddings
from embridge.evaluation._parted import searchable
from embridge.evaluation.judged import Judged
from embridge.evaluation.metrics import average_precision
from embridge.evaluation.tied_metrics import expected_average_precision
from embridge.evaluation.ties import Ties
from embridge.nearest._parts import Portions, blocks, through
from embridge.nearest.ties import tie_keys
from embridge.shapes import Float64, Int64
from embridge.space import Metric, require_same

__all__ = ["full_average_precision"]

_BLOCK_VALUES = 1 << 22
_STEPS_AT_ONCE = 4  # a gallery is read and scaled once for so many products


def full_average_precision(
    queries: Embeddings, gallery: Embeddings, judged: Judged, *, own: Int64[np.ndarray, " q"] | None
) -> Float64[np.ndarray, " q"]:
    """Measure average precision over the whole gallery, by the step estimator, in blocks.

    Scores are computed in float64 and compared as float32, and those that are the same by row. Where they are equal, the
    value is the expectation over all orders of them.

    Args:
        queries: Embeddings [q].
        gallery: Embeddings [n].
        judged: What is right for each query.
        own: Each query's own gallery row [q], which is left out, where both are one set; else None.

    Returns:
        Float64 [q]; 0 where nothing is relevant.

    Raises:
        SpaceMismatch: Queries and gallery are of two spaces.

    Examples:
        >>> from embridge import Space
        >>> from embridge.evaluation import LabelRelevance
        >>> rows = Embeddings.of(np.array([[1, 0], [1, 0.1], [0, 1]], np.float32), Space("toy", "1", 2))
        >>> labels = dict(zip(rows.ids, "aab"))
        >>> judged = LabelRelevance(labels, labels).judge(rows.ids, rows.ids)
        >>> full_average_precision(rows, rows, judged, own=None).tolist()
        [1.0, 1.0, 1.0]
    """
    require_same(gallery.space, queries.space, what="the queries")
    work = _Whole(queries.vectors, judged, own, gallery.space.metric, len(gallery))
    step = _STEPS_AT_ONCE * work.step
    parts = [slice(start, min(start + step, len(queries))) for start in range(0, len(queries), step)]
    return np.concatenate([np.empty(0), *through(searchable(gallery), work, parts)])


@dataclass(frozen=True, slots=True)
class _Whole:
    """Ranks all ``rows`` of a gallery for some queries; products are of the same shapes wherever the gallery lies."""

    queries: np.ndarray
    judged: Judged
    own: np.ndarray | None
    metric: Metric
    rows: int

    @property
    def step(self) -> int:
        """Queries of one product."""
        return max(1, _BLOCK_VALUES // self.rows)

    def through(self, portions: Portions, item: slice) -> np.ndarray:
        """The average precision of some queries."""
        values = np.empty(item.stop - item.start)
        scores = self._scores(portions, item)
        for start in range(item.start, item.stop, self.step):
            stop = min(start + self.step, item.stop)
            part = slice(start - item.start, stop - item.start)
            values[part] = self._values(scores[part], start)
        return values

    def _scores(self, portions: Portions, item: slice) -> np.ndarray:
        lefts = {
            start: _prepared(self.queries[start : min(start + self.step, item.stop)], self.metric)
            for start in range(item.start, item.stop, self.step)
        }
        scores = np.empty((item.stop - item.start, self.rows))
        for first, vectors in portions():
            for block in blocks(len(vectors)):
                right = _prepared(vectors[block], self.metric)
                place = slice(first + block.start, first + block.stop)
                lengths = np.einsum("nd,nd->n", right, right) if self.metric == "l2" else None
                for start, left in lefts.items():
                    products = left @ right.T
                    if lengths is not None:
                        products = 2 * products - lengths
                    scores[start - item.start : start - item.start + len(left), place] = products
        return scores

    def _values(self, scores: np.ndarray, start: int) -> np.ndarray:
        part = slice(start, start + len(scores))
        if self.own is not None:
            asks = np.flatnonzero(self.own[part] >= 0)
            scores[asks, self.own[part][asks]] = -np.inf  # last, and not relevant
        rows = _ranked(scores.astype(np.float32))
        gains, relevant = self.judged.gains(rows, first=start), self.judged.relevant[part]
        values = average_precision(
            gains, self.rows, relevant=relevant, denominator="relevant", estimator="step", empty="zero"
        )
        for i in np.flatnonzero(relevant):
            keys = tie_keys(scores[i, rows[i]], self.metric)
            ties = _ties(keys, gains[i] > 0)
            if ties is not None:
                values[i] = expected_average_precision(ties, self.rows, relevant[i : i + 1])[0]
        return values


def _ties(keys: np.ndarray, right: np.ndarray) -> Ties | None:
    """A whole ranking's runs of equal scores; None where none of them has both right and wrong items."""
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    size, relevant = np.diff(np.append(first, len(keys))), np.add.reduceat(right, first, dtype=np.int64)
    if not ((relevant > 0) & (relevant < size)).any():
        return None
    before = np.arange(len(keys)) - np.repeat(first, size)
    sizes, shares = np.repeat(size, size)[None], np.repeat(relevant / size, size)[None]
    return Ties(np.zeros(1, np.int64), before[None], sizes, np.repeat(relevant, size)[None], shares, shares)


def _ranked(scores: np.ndarray) -> np.ndarray:
    """The rows of each line, highest score first, then by row.

    Whole numbers that hold score and row are sorted, which takes a seventh of the time of a stable sort of the scores.
    """
    bits = (0 - scores).view(np.int32)  # 0 - x, since -x has two zeros
    keys = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int64) << 32 | np.arange(scores.shape[1])
    keys.sort(axis=1)
    return keys & 0xFFFFFFFF


def _prepared(vectors: np.ndarray, metric: Metric) -> np.ndarray:
    wide = vectors.astype(np.float64)
    if metric != "cosine":
        return wide
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
