"""Neighbour agreement: whether mapped vectors find what the new model finds, without a judgement by anyone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embridge.adapters.base import normalized
from embridge.errors import InvalidInput
from embridge.shapes import Float32, Float64, Int64

__all__ = ["NeighbourAgreement", "neighbour_agreement_at_k"]

_SCORES = 1 << 21  # held at once: 8 MB of float32
_EQUAL = 1e-6  # cosines no further apart are one: about what float32 rounds off


@dataclass(frozen=True, slots=True, eq=False)
class NeighbourAgreement:
    """The k nearest items of each query by the new model, to which any other way of finding items is compared.

    It needs queries that both models encoded, and no judgement: held-out items ask for the other items. A bridge whose
    agreement is higher finds more of what is right where the new model is the better one. That the new model is better, no
    such figure can tell.

    Where items score the same at the last place, each is counted by the chance that it is among the k.

    Attributes:
        rows: Item numbers of each query's nearest by the new model, and of what ties with the last of them; -1 fills up [q, w].
        chances: How likely each of them is among the k [q, w]; 0 where filled up.
        own: The number of each query's own item, which is left out [q]; -1 where it has none.
        k: How many count.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
        >>> agreement = NeighbourAgreement.of(rows[:5], rows, own=np.arange(5), k=3)
        >>> agreement.values(rows[:5], rows).tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0]
    """

    rows: Int64[np.ndarray, "q w"]
    chances: Float64[np.ndarray, "q w"]
    own: Int64[np.ndarray, " q"]
    k: int

    @staticmethod
    def of(
        queries: Float32[np.ndarray, "q d"],
        items: Float32[np.ndarray, "n d"],
        *,
        own: Int64[np.ndarray, " q"] | None = None,
        k: int = 10,
    ) -> NeighbourAgreement:
        """Find what the new model finds.

        Args:
            queries: New vectors of what is asked [q, d].
            items: New vectors of what is found [n, d].
            own: The number of the item that each query is, to be left out [q]; -1 for none, and none at all where None.
            k: How many neighbours count; no more than there are others.

        Returns:
            The neighbours.

        Raises:
            InvalidInput: There are fewer than two items, or k is not above zero.
        """
        if len(items) < 2 or k < 1:
            raise InvalidInput(
                f"neighbour agreement: expected two items or more and k above 0, came {len(items)} and {k}"
            )
        own = np.full(len(queries), -1) if own is None else own
        k = min(k, len(items) - 1)
        queries, items = normalized(queries), normalized(items)
        listed = []
        for part in _parts(len(queries), len(items)):
            scores, last = _scored(queries[part], items, own[part], k)
            above = scores > last + _EQUAL
            equal = np.abs(scores - last) <= _EQUAL
            left = k - above.sum(axis=1)
            chances = above + equal * (left / np.maximum(equal.sum(axis=1), 1))[:, None]
            listed += [(np.flatnonzero(row), row[row > 0]) for row in chances]
        width = max((len(rows) for rows, _ in listed), default=0)
        rows, chances = np.full((len(queries), width), -1), np.zeros((len(queries), width))
        for i, (found, chance) in enumerate(listed):
            rows[i, : len(found)], chances[i, : len(found)] = found, chance
        return NeighbourAgreement(rows, chances, own, k)

    def values(
        self, queries: Float32[np.ndarray, "q d_old"], items: Float32[np.ndarray, "n d_old"]
    ) -> Float64[np.ndarray, " q"]:
        """Share of the k nearest that are those of the new model, by cosine.

        Args:
            queries: The same queries some other way: new vectors behind a bridge, or the old model's own, which gives the
                status quo [q, d_old].
            items: The same items as they are stored [n, d_old], or behind a forward bridge.

        Returns:
            One value a query [q] in [0, 1]; 0 for one whose vector is not finite.
        """
        finite = np.isfinite(queries).all(axis=1)
        queries, items = normalized(queries), normalized(items)
        values = np.zeros(len(queries))
        for part in _parts(len(queries), len(items)):
            scores, last = _scored(queries[part], items, self.own[part], self.k)
            above = (scores > last + _EQUAL).sum(axis=1)
            equal = (np.abs(scores - last) <= _EQUAL).sum(axis=1)
            tied = ((self.k - above) / np.maximum(equal, 1))[:, None]
            at = np.take_along_axis(scores, np.maximum(self.rows[part], 0), axis=1)
            chances = np.where(at > last + _EQUAL, 1.0, np.where(np.abs(at - last) <= _EQUAL, tied, 0.0))
            values[part] = (chances * self.chances[part]).sum(axis=1) / self.k
        return np.where(finite, values, 0.0)


def neighbour_agreement_at_k(
    mapped: tuple[Float32[np.ndarray, "q d_old"], Float32[np.ndarray, "n d_old"]],
    new: tuple[Float32[np.ndarray, "q d_new"], Float32[np.ndarray, "n d_new"]],
    *,
    own: Int64[np.ndarray, " q"] | None = None,
    k: int = 10,
) -> Float64[np.ndarray, " q"]:
    """Share of the k nearest old items of each mapped query that are also its k nearest by the new model.

    Args:
        mapped: Queries behind the bridge, and the items by the old model.
        new: The same queries and items by the new model.
        own: The number of the item that each query is, to be left out [q]; -1 for none, and none at all where None.
        k: How many neighbours count; no more than there are others.

    Returns:
        One value a query [q] in [0, 1]. About k / n is chance.

    Raises:
        InvalidInput: There are fewer than two items, or k is not above zero.

    Examples:
        >>> rows = np.eye(3, dtype=np.float32)
        >>> neighbour_agreement_at_k((rows[:1], rows), (rows[:1], rows), k=1).tolist()
        [1.0]
    """
    return NeighbourAgreement.of(*new, own=own, k=k).values(*mapped)


def _parts(queries: int, items: int) -> list[slice]:
    step = max(1, _SCORES // items)
    return [slice(start, start + step) for start in range(0, queries, step)]


def _scored(queries: np.ndarray, items: np.ndarray, own: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines [q, n] of which the own one counts for nothing, and the k-th highest of each query [q, 1]."""
    scores = queries @ items.T
    asked = np.flatnonzero(own >= 0)
    scores[asked, own[asked]] = -np.inf
    place = scores.shape[1] - k
    return scores, np.partition(scores, place, axis=1)[:, place, None]
