"""Bridge, then re-embed what it found: the new model ranks the bridge's best items itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import final

import numpy as np

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, WrongDirection
from embridge.nearest import Hits, Ranking, rerank
from embridge.query.arrays import Search, hits_of, require_k
from embridge.query.vector_cache import VectorCache
from embridge.shapes import Float32
from embridge.space import Metric, require_same

__all__ = ["Cascade", "Encode", "Price", "rank_again"]

Encode = Callable[[Sequence[str]], Embeddings]
"""Item ids → the new model's vectors of those items, by the same ids in the same order."""

_TIMED = 10_000  # last queries whose times are kept


def rank_again(
    queries: Float32[np.ndarray, "q d"], candidates: Float32[np.ndarray, "q m d"], k: int, *, metric: Metric
) -> Ranking:
    """Rank each query's own candidates by the new model's scores; equal ones keep the order they came in.

    Args:
        queries: Float32 [q, d].
        candidates: The new model's vectors of what the bridge found for each query, best first.
        k: How many to keep.
        metric: How the new space is compared.

    Returns:
        Places in the query's candidates and scores [q, min(k, m)], best first.

    Examples:
        >>> items = np.array([[[0, 1], [1, 0], [1, 1]]], np.float32)
        >>> rank_again(np.array([[1, 0]], np.float32), items, 2, metric="cosine").rows.tolist()
        [[1, 2]]
    """
    count, width, dim = candidates.shape
    places = np.arange(count * width).reshape(count, width)
    best = rerank(queries, candidates.reshape(-1, dim), places, k, metric=metric)
    return Ranking(best.rows - places[:, :1], best.scores)


@dataclass(frozen=True, slots=True)
class Price:
    """What a cascade has cost so far.

    Attributes:
        queries: How many were asked.
        items_per_query: How many items were ranked again for each.
        reembedded_per_query: How many of them the new model encoded.
        cache_hit_rate: The share of them that the cache held.
        added_p50_milliseconds: The median of a query's time beyond the bridge and its search.
        added_p95_milliseconds: Its 95th percentile.

    Examples:
        >>> Price(10, 200.0, 20.0, 0.9, 12.5, 40.0).to_dict()["cache_hit_rate"]
        0.9
    """

    queries: int
    items_per_query: float
    reembedded_per_query: float
    cache_hit_rate: float
    added_p50_milliseconds: float
    added_p95_milliseconds: float

    def to_dict(self) -> dict[str, float]:
        """The fields, for JSON."""
        return asdict(self)


@final
class Cascade:
    """Bridge → the best ``items`` of the old index → the new model's vectors of these → ranked by its scores.

    Where the items are the whole gallery, the ranking is that of a finished backfill. Equal scores keep the bridge's order.

    Args:
        upgrade: A backward upgrade.
        search: Of the untouched old index: ``store.search``, or `embridge.query.over`.
        encode: Looks items up by id and encodes them with the new model.
        items: How many of the bridge's hits are ranked again.
        cache: Keeps what was encoded; None encodes every time.

    Raises:
        WrongDirection: The upgrade is a forward one.
        SpaceMismatch: The cache is of another space.
        InvalidInput: ``items`` is below 1.

    Examples:
        >>> from embridge import Space, search
        >>> from embridge.adapters import Identity, Prefix, Provenance
        >>> from embridge.query import over
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> items = Embeddings.of(np.array([[1, 0, 0], [1, 0, 2], [0, 1, 0]], np.float32), new, ["a", "b", "c"])
        >>> index = items.with_vectors(items.vectors[:, :2].copy(), old)
        >>> upgrade = Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix"))
        >>> row_of = {name: row for row, name in enumerate(items.ids)}
        >>> cascade = Cascade(upgrade, over(index), lambda ids: items.take([row_of[i] for i in ids]), items=2)
        >>> cascade.search(Embeddings.of(np.array([[1, 0, 2]], np.float32), new, ["q"]), 2).ids
        (('b', 'a'),)
        >>> cascade.price().reembedded_per_query
        2.0
    """

    def __init__(
        self, upgrade: Upgrade, search: Search, encode: Encode, *, items: int = 200, cache: VectorCache | None = None
    ) -> None:
        if upgrade.direction != "backward":
            raise WrongDirection(
                "a cascade searches the untouched old index and needs a backward upgrade, not a forward"
            )
        if items < 1:
            raise InvalidInput(f"a cascade ranks at least 1 item again, came items={items}")
        if cache is not None:
            require_same(upgrade.new_space, cache.space, what=f"the cache {cache.path}")
        self.upgrade, self.items = upgrade, items
        self._search, self._encode, self._cache = search, encode, cache
        self._queries = self._wanted = self._encoded = 0
        self._milliseconds: deque[float] = deque(maxlen=_TIMED)

    def search(self, queries: Embeddings, k: int) -> Hits:
        """Find the k best of each query among the bridge's best ``items`` (or k, where that is more), by the new model's scores.

        Args:
            queries: The new model's queries [q].
            k: How many hits a query gets at most.

        Returns:
            Ids and scores, best first.

        Raises:
            InvalidInput: ``encode`` gives other items than those asked for, or k is below 1.
            SpaceMismatch: The queries, or what ``encode`` gives, are of another space.
        """
        require_k(k)
        candidates = self._search(self.upgrade.to_index_space(queries), max(self.items, k)).ids
        asking = self.upgrade.head(queries)
        ranked = [self._ranked(asking.take([row]), names, k) for row, names in enumerate(candidates)]
        return hits_of([names for names, _ in ranked], [scores for _, scores in ranked])

    def price(self) -> Price:
        """Sum up what all searches so far have cost.

        Raises:
            InvalidInput: There was no search yet.
        """
        if not self._queries:
            raise InvalidInput("no query has been asked of this cascade; it has no price yet")
        half, most = np.percentile(self._milliseconds, (50, 95)).tolist()
        return Price(
            queries=self._queries,
            items_per_query=self._wanted / self._queries,
            reembedded_per_query=self._encoded / self._queries,
            cache_hit_rate=1 - self._encoded / self._wanted if self._wanted else 0.0,
            added_p50_milliseconds=half,
            added_p95_milliseconds=most,
        )

    def _ranked(self, query: Embeddings, names: tuple[str, ...], k: int) -> tuple[tuple[str, ...], np.ndarray]:
        began = perf_counter()
        ids: tuple[str, ...] = ()
        scores = np.empty(0, np.float32)
        if names:
            rows = self.upgrade.head(self._vectors(names))
            best = rank_again(query.vectors, rows.vectors[None], k, metric=rows.space.metric)
            ids, scores = tuple(names[place] for place in best.rows[0]), best.scores[0]
        self._queries += 1
        self._wanted += len(names)
        self._milliseconds.append(1_000 * (perf_counter() - began))
        return ids, scores

    def _vectors(self, names: tuple[str, ...]) -> Embeddings:
        """The new model's vectors of those items: the cached ones, and the rest encoded."""
        vectors = self._cache.get(names) if self._cache is not None else {}
        missing = tuple(name for name in names if name not in vectors)
        if missing:
            encoded = self._encode(missing)
            require_same(self.upgrade.new_space, encoded.space, what="the re-embedded items")
            if encoded.ids != missing:
                raise InvalidInput(f"encode was asked for {len(missing)} items and gave others, or in another order")
            self._encoded += len(missing)
            if self._cache is not None:
                self._cache.put(encoded)
            vectors |= dict(zip(encoded.ids, encoded.vectors, strict=True))
        return Embeddings(names, np.stack([vectors[name] for name in names]), self.upgrade.new_space)
