"""Search of a partly backfilled gallery: one search a space, merged."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, WrongDirection
from embridge.nearest import Hits
from embridge.query.arrays import Over, Search, hits_of, require_k
from embridge.query.merging import Merge, Part, best_of_both, comparable, require_merge

__all__ = ["MixedSearch"]

_GROWTH = 4
_COPIED = 1 << 28  # bytes of old rows that may be set apart for some queries
_LOOKED_AT, _COVERED = 32, 0.95  # queries whose lists tell how deep to begin, and how many of them that is enough for

_Found = tuple[tuple[str, ...], np.ndarray]
_NOTHING: _Found = ((), np.empty(0))


@dataclass(frozen=True, slots=True, eq=False)
class MixedSearch:
    """New queries over rows that lie in the old space, in the new one, or in both; an id in both counts by its new row.

    No merge reorders the rows of one space, so with nothing or all backfilled the ranking is that of a single search. Equal
    values go by rank in their own lists, then the new one comes first. The scores of the hits are the merged values.

    An array that is searched without its renewed rows has none to skip. So more may be found there than by a list that ends
    too early.

    Attributes:
        old_search: Takes bridged queries: ``store.search``, or `embridge.query.over`.
        new_search: Takes the queries of the upgrade's head.
        upgrade: A backward upgrade.
        merge: A `Calibration` (``calibrated``, ``distance-rank``, ``standard``), ``rrf`` or ``raw``; see `comparable`.
        backfilled: Of some ids, those that have a new row; it is called with all ids of an array of old rows where that
            saves work. None says that no old row is kept once its new one is written; then both rows of an id are noticed
            only where both are found.
        most_fetched: How deep a list is read, at most, to find k rows without a new one.
        depths: How deep the lists of the last queries had to be read, where the next begin. Pass one deque to several searches
            of the same rows for all of them to learn.

    Raises:
        WrongDirection: The upgrade is a forward one.
        SpaceMismatch: The calibration is of other spaces.
        InvalidInput: There is no such merge, or ``most_fetched`` is below 1.

    Examples:
        >>> from embridge import Space
        >>> from embridge.adapters import Identity, Prefix, Provenance
        >>> from embridge.query import over
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> items = Embeddings.of(np.array([[1, 0, 0], [1, 0, 2], [0, 1, 0]], np.float32), new, ["a", "b", "c"])
        >>> index = items.with_vectors(items.vectors[:, :2].copy(), old)
        >>> done = items.take([1])
        >>> upgrade = Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix"))
        >>> mixed = MixedSearch(over(index), over(done), upgrade, "raw", backfilled=set(done.ids).intersection)
        >>> mixed.search(Embeddings.of(np.array([[1, 0, 0]], np.float32), new, ["q"]), 3).ids
        (('a', 'b', 'c'),)
    """

    old_search: Search
    new_search: Search
    upgrade: Upgrade
    merge: Merge
    backfilled: Callable[[Sequence[str]], Collection[str]] | None = None
    most_fetched: int = 10_000
    depths: deque[int] = field(default_factory=deque, repr=False)

    def __post_init__(self) -> None:
        if self.upgrade.direction != "backward":
            raise WrongDirection("old rows are searched as they are, which needs a backward upgrade, not a forward one")
        require_merge(self.merge, self.upgrade.old_space, self.upgrade.head.target)
        if self.most_fetched < 1:
            raise InvalidInput(f"most_fetched is at least 1, came {self.most_fetched}")

    def search(self, queries: Embeddings, k: int) -> Hits:
        """Find the k best items of every query, each id once.

        Args:
            queries: The new model's queries [q].
            k: How many hits a query gets at most.

        Returns:
            Ids and merged values, best first.

        Raises:
            SpaceMismatch: The queries are of another space.
            InvalidInput: k is below 1.
        """
        require_k(k)
        both = self._both(self.upgrade.to_index_space(queries), self.upgrade.head(queries), k)
        merged = [_merged(new, old, k) for new, old in both]
        return hits_of([names for names, _ in merged], [values for _, values in merged])

    def _both(self, bridged: Embeddings, asking: Embeddings, k: int) -> list[tuple[_Found, _Found]]:
        """Of every query, the best new rows, and the best old ones that have no new row, as many as can be among the k best.

        How deep the old lists have to be read shows with some queries, and the next begin there. Where that comes to
        more rows than an array has, the array is searched without those that have a new one. Neither changes the outcome,
        unless ``most_fetched`` cuts the lists short.
        """
        if self.backfilled is None:
            return self._read(self.old_search, bridged, asking, k, k)
        first = 0 if self.depths else min(_LOOKED_AT, len(bridged))
        read: list[tuple[_Found, _Found]] = []
        for part in (range(first), range(first, len(bridged))):
            depth = int(np.quantile(tuple(self.depths), _COVERED, method="higher")) if self.depths else 2 * k
            left = self._left(min(depth, self.most_fetched) * len(part))
            search, depth = (left, k) if left else (self.old_search, depth)
            read += self._read(search, bridged.take(part), asking.take(part), k, depth)
        return read

    def _left(self, reads: int) -> Search | None:
        """Search of the old rows without a new one alone, where that is less work than ``reads`` rows of lists."""
        if self.backfilled is None or not isinstance(self.old_search, Over):
            return None
        gallery = self.old_search.gallery
        if reads < len(gallery):
            return None
        done = set(self.backfilled(list(gallery.ids)))
        copied = (len(gallery) - len(done)) * gallery.space.dim * gallery.vectors.itemsize
        return self.old_search.without(done) if copied <= _COPIED else None

    def _read(
        self, search: Search, bridged: Embeddings, asking: Embeddings, k: int, depth: int
    ) -> list[tuple[_Found, _Found]]:
        """New rows, and old rows without a new one, of lists read deeper until no row below can be among the k best.

        New rows are searched last, and again with every deeper list. So a row that is written meanwhile is in one of the two.
        """
        read: list[tuple[_Found, _Found]] = [(_NOTHING, _NOTHING)] * len(bridged)
        pending, fetched, new = list(range(len(bridged))), max(k, min(depth, self.most_fetched)), list[_Found]()
        while pending:
            lists = _lists(search(bridged.take(pending), fetched))
            done = self._with_new(lists)
            if new and isinstance(self.new_search, Over):  # nobody writes to it
                new = [read[i][0] for i in pending]
            else:
                new = self._values("new", _lists(self.new_search(asking.take(pending), k)))
            places = [_places(whole, done, set(names)) for whole, (names, _) in zip(lists, new, strict=True)]
            kept = self._values("old", [_at(whole, rows) for whole, rows in zip(lists, places, strict=True)])
            later = []
            for i, whole, rows, one, part in zip(pending, lists, places, new, kept, strict=True):
                read[i] = one, part
                if len(whole[0]) >= fetched and not self._settles(len(whole[0]), whole, rows, (one[1], part[1]), k):
                    later.append(i)
                elif i < _LOOKED_AT and search is self.old_search:
                    settles = partial(self._settles, whole=whole, rows=rows, values=(one[1], part[1]), k=k)
                    self._learn(1 + bisect_left(range(1, len(whole[0]) + 1), True, key=settles))
            if fetched >= self.most_fetched:
                break
            pending, fetched = later, min(fetched * _GROWTH, self.most_fetched)
        return read

    def _learn(self, depth: int) -> None:
        self.depths.append(depth)
        while len(self.depths) > _LOOKED_AT:
            self.depths.popleft()

    def _settles(
        self, depth: int, whole: _Found, rows: np.ndarray, values: tuple[np.ndarray, np.ndarray], k: int
    ) -> bool:
        """Whether, of an old list, the first ``depth`` rows are enough: k rows come before any below."""
        new, old = values
        old = old[: int(np.searchsorted(rows, depth))]
        last = whole[1][depth - 1 : depth].astype(np.float64)
        bound = float(comparable(self.merge, "old", last, np.array([len(old)]))[0])  # for what comes next
        return len(old) >= k or int((new > bound).sum() + (old > bound).sum()) >= k

    def _with_new(self, lists: list[_Found]) -> set[str]:
        """Of the ids in the lists, those that have a new row."""
        asked = dict.fromkeys(name for names, _ in lists for name in names)
        return set(self.backfilled(list(asked))) if self.backfilled is not None else set()

    def _values(self, part: Part, lists: list[_Found]) -> list[_Found]:
        """The same lists with comparable values, never rising."""
        lengths = [len(names) for names, _ in lists]
        scores = np.concatenate([scores for _, scores in lists]).astype(np.float64)
        values = comparable(self.merge, part, scores, np.concatenate([np.arange(length) for length in lengths]))
        of_list = np.split(values, np.cumsum(lengths)[:-1])
        return [(names, np.minimum.accumulate(own)) for (names, _), own in zip(lists, of_list, strict=True)]


def _lists(hits: Hits) -> list[_Found]:
    """Each query's ids and scores, without the filling."""
    return [(names, scores[: len(names)]) for names, scores in zip(hits.ids, hits.scores, strict=True)]


def _places(found: _Found, done: set[str], seen: set[str]) -> np.ndarray:
    """Where in a list the rows are whose id has no new row, and is not among those seen."""
    return np.array([place for place, name in enumerate(found[0]) if name not in done and name not in seen], np.int64)


def _at(found: _Found, places: np.ndarray) -> _Found:
    names, scores = found
    return tuple(names[place] for place in places), scores[places]


def _merged(new: _Found, old: _Found, k: int) -> _Found:
    """The k best of two lists."""
    names, values = new[0] + old[0], np.concatenate([new[1], old[1]])
    places = best_of_both(new[1], old[1], k)
    return tuple(names[place] for place in places), values[places].astype(np.float32)
