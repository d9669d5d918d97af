"""Rows that look like another model's: near each other, and to no other row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embridge.nearest import top_k

__all__ = ["Mixing", "RowSample", "by_chance", "suspected_mixing"]

SAMPLE_ROWS = 4_096
_FEWEST_ROWS = 100
_NEIGHBOURS = 12
_LARGE_GROUP, _MOST_GROUPS = 0.05, 4  # more are topics: two models of a few each
_SMALL_GROUP, _SMALLEST_GROUP_ROWS = 0.01, 5
_FEWEST_DIMS = 32  # in a few dimensions rows of two models come near each other by chance
_LEAST_BODY = 0.5  # of the sample: without a body of most rows, there is nothing that few rows are strangers to
_NULL_ROWS, _NULL_SHARE, _SLACK = 512, 0.99, 0.01


class RowSample:
    """As many rows as it holds, drawn evenly from all that are offered: those with the smallest draws."""

    def __init__(self, size: int = SAMPLE_ROWS, seed: int = 0) -> None:
        self.size, self._random = size, np.random.default_rng(seed)
        self.draws, self.ids, self.rows = np.empty(0), np.empty(0, object), np.empty((0, 0), np.float32)

    def offer(self, ids: np.ndarray, rows: np.ndarray) -> None:
        """Ids, which may be None, and rows."""
        draws = np.concatenate([self.draws, self._random.random(len(rows))])
        kept = np.sort(np.argsort(draws)[: self.size])
        self.rows = np.concatenate([self.rows, rows])[kept] if len(self.rows) else rows[kept]
        self.draws, self.ids = draws[kept], np.concatenate([self.ids, ids])[kept]


@dataclass(frozen=True, slots=True, eq=False)
class Mixing:
    """What looks mixed.

    Attributes:
        sentence: For people.
        strangers: Which rows of the sample are in no group but the largest, bool [n].
    """

    sentence: str
    strangers: np.ndarray


def suspected_mixing(sample: np.ndarray) -> Mixing | None:
    """Groups of rows that are never among each other's near neighbours look like vectors of two models in one column.

    Between two models' vectors there is no likeness, while each has its own within; so the graph that joins every row of a
    sample to its twelve nearest falls apart. A group counts from a twentieth of the rows on. A smaller one, from a hundredth
    and five rows on, counts where its rows are no nearer to the others than the same rows with their numbers shuffled, as a
    topic of the same model mostly is. Many groups are topics, and rows that are like nothing at all are noise.

    Args:
        sample: Finite rows that are not zeros, float32 [n, d].

    Returns:
        What looks mixed, or None.
    """
    if len(sample) < _FEWEST_ROWS:
        return None
    neighbours = top_k(sample, sample, min(_NEIGHBOURS + 1, len(sample))).rows
    labels = _groups(neighbours)
    names, sizes = np.unique(labels, return_counts=True)
    large = np.sort(sizes[sizes >= _LARGE_GROUP * len(sample)])[::-1]
    if len(large) < 2:
        return _few_strangers(sample, neighbours)
    if len(large) > _MOST_GROUPS:
        return None
    sizes_in_words = ", ".join(f"{size / len(sample):.0%}" for size in large)
    return Mixing(
        f"the rows fall into groups ({sizes_in_words}) that are never among each other's nearest: suspected mixing of two "
        "models, or of texts and images, in one space",
        labels != names[sizes.argmax()],
    )


def _few_strangers(sample: np.ndarray, neighbours: np.ndarray) -> Mixing | None:
    mutual = _groups(neighbours, mutual=True)
    names, sizes = np.unique(mutual, return_counts=True)
    body = mutual == names[sizes.argmax()]
    outside = np.flatnonzero(~body)
    if body.mean() < _LEAST_BODY or not len(outside) or sample.shape[1] < _FEWEST_DIMS:
        return None
    strange = np.zeros(len(sample), bool)
    nearest = top_k(sample[outside], sample[body], 1).scores[:, 0]
    if _is_noise(sample[body]):
        return None
    unrelated = nearest <= by_chance(sample[outside], sample[body]) + _SLACK
    strange[outside] = unrelated
    while not (kept := strange & strange[_next(neighbours)])[strange].all():  # a row alone is an odd row, not a model's
        strange = kept
    if not strange.any():
        return None
    own = top_k(sample[outside], sample[strange], min(2, int(strange.sum()))).scores
    near = np.where(strange[outside], own[:, -1], own[:, 0])  # a stranger is nearest to itself
    strange[outside[unrelated | (near > nearest)]] = True  # where there is such a group, they are of it
    count, share = int(strange.sum()), float(strange.mean())
    if count < _SMALLEST_GROUP_ROWS or share < _SMALL_GROUP:
        return None
    return Mixing(
        f"{count:,} of {len(sample):,} rows looked at ({share:.1%}) are near each other and no nearer to the others than chance: "
        "suspected mixing of a second model, or of items of another kind, in one space",
        strange,
    )


def _is_noise(body: np.ndarray) -> bool:
    """Whether rows are no nearer to each other than chance, so that nothing makes others strangers to them."""
    some = body[:_NULL_ROWS]
    nearest = top_k(some, body, 2).scores[:, 1]
    return bool(np.median(nearest) <= by_chance(some, body) + _SLACK)


def by_chance(rows: np.ndarray, body: np.ndarray) -> float:
    """How near rows of another model would come: the rows with their numbers shuffled."""
    generator = np.random.default_rng(0)
    shuffled = generator.permuted(np.resize(rows, (_NULL_ROWS, rows.shape[1])), axis=1)
    return float(np.quantile(top_k(shuffled, body, 1).scores[:, 0], _NULL_SHARE))


def _next(neighbours: np.ndarray) -> np.ndarray:
    """Each row's nearest other row."""
    first, second = neighbours[:, 0], neighbours[:, 1]
    return np.where(first == np.arange(len(neighbours)), second, first)


def _groups(neighbours: np.ndarray, *, mutual: bool = False) -> np.ndarray:
    """The connected components of a neighbour graph, as the lowest row number of each row's component.

    mutual: Whether two rows are joined only where each is among the other's nearest.
    """
    rows = np.repeat(np.arange(len(neighbours)), neighbours.shape[1])
    others = neighbours.ravel()
    if mutual:
        forth, back = rows * len(neighbours) + others, others * len(neighbours) + rows
        rows, others = rows[both := np.isin(forth, back)], others[both]
    label = np.arange(len(neighbours))
    while True:
        spread = label.copy()
        np.minimum.at(spread, rows, label[others])
        np.minimum.at(spread, others, label[rows])
        spread = spread[spread]
        if (spread == label).all():
            return label
        label = spread
