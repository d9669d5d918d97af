"""The revisited Oxford and Paris protocol (Radenović et al. 2018): landmarks easy, medium and hard to find.

Every gallery image of a query's landmark was labelled easy, hard (small, occluded, another side) or junk (no person could
tell). A setting says which of them are to be found and which are junk, and so removed from the ranking before anything
is counted:

========  ==========  ============
setting   positives   junk
========  ==========  ============
easy      easy        junk, hard
medium    easy, hard  junk
hard      hard        junk, easy
========  ==========  ============

The query image itself is not in the gallery. Rankings are whole: what is left out of one cannot be counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from embridge.errors import InvalidInput
from embridge.evaluation.metrics import Empty, average_precision, first_hits, recall_at_k
from embridge.shapes import Float32, Float64, Int64

__all__ = [
    "SETTINGS",
    "LandmarkRelevance",
    "Setting",
    "landmark_average_precision",
    "landmark_precision_at_k",
    "without_junk",
]

Setting = Literal["easy", "medium", "hard"]

SETTINGS: dict[Setting, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}
"""The lists of `LandmarkRelevance` that are positives, and those that are junk."""


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkRelevance:
    """The gallery rows labelled easy, hard and junk, a list a query.

    Attributes:
        easy: Rows that are easy to find, an array a query.
        hard: Rows that are hard to find.
        junk: Rows of which no person could tell.

    Raises:
        InvalidInput: The lists are of unequal length, or a query has a row twice.

    Examples:
        >>> LandmarkRelevance((np.array([2]),), (np.array([0]),), (np.array([1]),)).rows(0, ("easy", "hard")).tolist()
        [2, 0]
    """

    easy: tuple[Int64[np.ndarray, " _"], ...]
    hard: tuple[Int64[np.ndarray, " _"], ...]
    junk: tuple[Int64[np.ndarray, " _"], ...]

    def __post_init__(self) -> None:
        if not len(self.easy) == len(self.hard) == len(self.junk):
            came = f"{len(self.easy)}, {len(self.hard)} and {len(self.junk)}"
            raise InvalidInput(f"landmarks: expected easy, hard and junk rows of the same queries, came {came} lists")
        for query, lists in enumerate(zip(self.easy, self.hard, self.junk, strict=True)):
            rows, times = np.unique(np.concatenate(lists), return_counts=True)
            if (times > 1).any():
                raise InvalidInput(f"landmarks: query {query} has row {rows[times.argmax()]} more than once")

    def rows(self, query: int, lists: tuple[str, ...]) -> Int64[np.ndarray, " r"]:
        """The query's rows in the lists of those names."""
        return np.concatenate([getattr(self, name)[query] for name in lists])


def without_junk(
    rows: Int64[np.ndarray, "q n"], relevance: LandmarkRelevance, setting: Setting
) -> tuple[Float32[np.ndarray, "q n"], Int64[np.ndarray, " q"]]:
    """Remove junk from whole rankings.

    Args:
        rows: Gallery rows [q, n], best first, all of them.
        relevance: What is easy, hard and junk.
        setting: ``easy``, ``medium`` or ``hard``.

    Returns:
        Gains [q, n] of what is left, zeros after them, and how many positives each query has [q]: what the functions of
        `embridge.evaluation.metrics` take.

    Raises:
        InvalidInput: A ranking lacks or repeats a positive, so it is not the whole gallery.

    Examples:
        >>> relevance = LandmarkRelevance((np.array([2]),), (np.array([0]),), (np.array([1]),))
        >>> [array.tolist() for array in without_junk(np.array([[1, 2, 3, 0]]), relevance, "medium")]
        [[[1.0, 0.0, 1.0, 0.0]], [2]]
    """
    if len(rows) != len(relevance.easy):
        raise InvalidInput(f"landmarks: expected rankings of {len(relevance.easy)} queries, came {len(rows)}")
    gains, relevant = np.zeros(rows.shape, np.float32), np.zeros(len(rows), np.int64)
    for query, ranking in enumerate(rows):
        positives, junk = (relevance.rows(query, lists) for lists in SETTINGS[setting])
        kept = ranking[~np.isin(ranking, junk)]
        gains[query, : len(kept)] = np.isin(kept, positives)
        relevant[query] = len(positives)
    short = np.flatnonzero(gains.sum(axis=1) != relevant)
    if len(short):
        raise InvalidInput(
            f"landmarks: the ranking of query {short[0]} lacks or repeats a positive; rank the whole gallery, once"
        )
    return gains, relevant


def landmark_average_precision(
    rows: Int64[np.ndarray, "q n"], relevance: LandmarkRelevance, setting: Setting, *, empty: Empty
) -> Float64[np.ndarray, " q"]:
    """Measure average precision over whole rankings without junk, by trapezoids; its mean is the benchmark's mAP.

    Args:
        rows: Gallery rows [q, n], best first, all of them.
        relevance: What is easy, hard and junk.
        setting: ``easy``, ``medium`` or ``hard``.
        empty: What becomes of a query without a positive. The benchmark leaves it out: ``skip``, which gives it NaN.

    Returns:
        Float64 [q].

    Raises:
        InvalidInput: A ranking is not of the whole gallery.

    Examples:
        >>> relevance = LandmarkRelevance((np.array([2]),), (np.array([0]),), (np.array([1]),))
        >>> float(landmark_average_precision(np.array([[1, 2, 3, 0]]), relevance, "medium", empty="skip")[0].round(4))
        0.7917
    """
    gains, relevant = without_junk(rows, relevance, setting)
    depth = max(gains.shape[1], 1)
    return average_precision(
        gains, depth, relevant=relevant, denominator="relevant", estimator="trapezoid", empty=empty
    )


def landmark_precision_at_k(
    rows: Int64[np.ndarray, "q n"], relevance: LandmarkRelevance, setting: Setting, k: int, *, empty: Empty
) -> Float64[np.ndarray, " q"]:
    """Measure the share of positives in the top k without junk; its mean is mP@k, at k of 1, 5 and 10.

    Args:
        rows: Gallery rows [q, n], best first, all of them.
        relevance: What is easy, hard and junk.
        setting: ``easy``, ``medium`` or ``hard``.
        k: Limited to the rank of the query's last positive, so that a perfect ranking of fewer scores 1.
        empty: What becomes of a query without a positive.

    Returns:
        Float64 [q].

    Raises:
        InvalidInput: A ranking is not of the whole gallery, or k is below 1.

    Examples:
        >>> relevance = LandmarkRelevance((np.array([2]),), (np.array([0]),), (np.array([1]),))
        >>> rows = np.array([[1, 2, 3, 0]])
        >>> [float(landmark_precision_at_k(rows, relevance, s, 10, empty="skip")[0]) for s in ("easy", "hard")]
        [1.0, 0.5]
    """
    gains, relevant = without_junk(rows, relevance, setting)
    from_the_end = first_hits(np.ascontiguousarray(gains[:, ::-1]))
    last = np.where(relevant > 0, gains.shape[1] + 1 - from_the_end, 0)
    # found within the top k over its limit: recall, had the query so many positives
    return recall_at_k(gains, k, relevant=np.minimum(last, k), rule="share", empty=empty)
