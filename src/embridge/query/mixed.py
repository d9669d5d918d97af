"""Search of a partly backfilled gallery: one search a space, merged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, WrongDirection
from embridge.query.arrays import Search, hits_of, require_k
from embridge.query.calibration import Calibration, Curve
from embridge.search import Hits
from embridge.space import require_same

__all__ = ["Merge", "MixedSearch", "Plain"]

Plain = Literal["rrf", "raw"]
Merge = Calibration | Plain
_RRF_K = 60  # Cormack, Clarke and Büttcher 2009
_GROWTH = 4

Found = tuple[tuple[str, ...], np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class MixedSearch:
    """New queries over rows that lie in the old space, in the new one, or in both; an id in both counts by its new row.

    old_search takes bridged queries, new_search those of the upgrade's head: ``store.search``, or `embridge.query.over`.

    merge: a `Calibration` (``calibrated``, ``distance-rank``, ``standard``), ``rrf`` (1 / (60 + rank in its own list))
    or ``raw`` (scores as they are). None of them reorders the rows of one space, so with nothing or all backfilled the
    ranking is that of a single search. Equal values go by rank in their own lists, then the new one comes first. The
    scores of the hits are the merged values.

    backfilled: of some ids, those that have a new row. None says that no old row is kept once its new one is written;
    then both rows of an id are noticed only where both are found. most_fetched: how deep the old list is read, at
    most, to find k rows without a new one.

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

    def __post_init__(self) -> None:
        if self.upgrade.direction != "backward":
            raise WrongDirection("old rows are searched as they are, which needs a backward upgrade, not a forward one")
        old, new = self.upgrade.old_space, self.upgrade.head.target
        if isinstance(self.merge, Calibration):
            require_same(old, self.merge.old_space, what="the old side of the calibration")
            require_same(new, self.merge.new_space, what="the new side of the calibration")
        elif self.merge not in get_args(Plain):
            raise InvalidInput(f"merge is a Calibration or one of {', '.join(get_args(Plain))}, not {self.merge!r}")
        elif self.merge == "raw" and old.metric != new.metric:
            raise InvalidInput(f"raw scores by {old.metric} and by {new.metric} have nothing in common; calibrate them")
        if self.most_fetched < 1:
            raise InvalidInput(f"most_fetched is at least 1, came {self.most_fetched}")

    def search(self, queries: Embeddings, k: int) -> Hits:
        """The k best items of every query, each id once; raises `SpaceMismatch` for queries of another space."""
        require_k(k)
        bridged, asking = self.upgrade.to_index_space(queries), self.upgrade.head(queries)
        if not len(queries):
            return hits_of([], [])
        new = self._values("new", _lists(self.new_search(asking, k)))
        old = self._survivors(bridged, new, k)
        merged = [_merged(a, b, k) for a, b in zip(new, old, strict=True)]
        return hits_of([names for names, _ in merged], [values for _, values in merged])

    def _survivors(self, bridged: Embeddings, new: list[Found], k: int) -> list[Found]:
        """Of every query, the best old rows that have no new one, as many as can be among the k best."""
        found: list[Found] = [((), np.empty(0))] * len(bridged)
        pending = list(range(len(bridged)))
        fetched = min(k if self.backfilled is None else 2 * k, max(k, self.most_fetched))
        while pending:
            lists = _lists(self.old_search(bridged.take(pending), fetched))
            kept = self._values("old", self._without_new(lists, [new[i][0] for i in pending]))
            found_now = dict(zip(pending, kept, strict=True))
            for i, part in found_now.items():
                found[i] = part
            if fetched >= self.most_fetched:
                break
            bounds = [self._bound(whole, part) for whole, part in zip(lists, kept, strict=True)]
            pending = [
                i
                for i, whole, bound in zip(pending, lists, bounds, strict=True)
                if len(whole[0]) >= fetched and not _settled(new[i][1], found[i][1], bound, k)
            ]
            fetched = min(fetched * _GROWTH, self.most_fetched)
        return found

    def _without_new(self, lists: list[Found], new: list[tuple[str, ...]]) -> list[Found]:
        """The old rows whose id has no new row."""
        asked = dict.fromkeys(name for names, _ in lists for name in names) if self.backfilled is not None else {}
        done = set(self.backfilled(list(asked))) if self.backfilled is not None else set()
        kept = []
        for (names, scores), newer in zip(lists, new, strict=True):
            seen = set(newer)
            stays = [place for place, name in enumerate(names) if name not in done and name not in seen]
            kept.append((tuple(names[place] for place in stays), scores[stays]))
        return kept

    def _values(self, side: Literal["old", "new"], lists: list[Found]) -> list[Found]:
        """The same lists with comparable values, never rising."""
        lengths = [len(names) for names, _ in lists]
        scores = np.concatenate([scores for _, scores in lists]).astype(np.float64)
        if self.merge == "rrf":
            values = np.concatenate([1 / (_RRF_K + 1 + np.arange(length)) for length in lengths])
        else:
            values = self._curve(side)(scores) if isinstance(self.merge, Calibration) else scores
        parts = np.split(values, np.cumsum(lengths)[:-1])
        return [(names, np.minimum.accumulate(part)) for (names, _), part in zip(lists, parts, strict=True)]

    def _bound(self, whole: Found, kept: Found) -> float:
        """The most that an old row not yet fetched can be worth."""
        if self.merge == "rrf":
            return 1 / (_RRF_K + 1 + len(kept[0]))
        if not len(whole[1]):
            return -np.inf
        last = whole[1][-1:].astype(np.float64)
        return float((self._curve("old")(last) if isinstance(self.merge, Calibration) else last)[0])

    def _curve(self, side: Literal["old", "new"]) -> Curve:
        assert isinstance(self.merge, Calibration)
        return self.merge.old if side == "old" else self.merge.new


def _lists(hits: Hits) -> list[Found]:
    """Each query's ids and scores, without the filling."""
    return [(names, scores[: len(names)]) for names, scores in zip(hits.ids, hits.scores, strict=True)]


def _settled(new: np.ndarray, old: np.ndarray, bound: float, k: int) -> bool:
    """Whether k rows come before any worth ``bound`` and later in the old list."""
    return len(old) >= k or int((new > bound).sum() + (old > bound).sum()) >= k


def _merged(new: Found, old: Found, k: int) -> Found:
    """The k best of two lists."""
    names, values = new[0] + old[0], np.concatenate([new[1], old[1]])
    rank = np.concatenate([np.arange(len(new[0])), np.arange(len(old[0]))])
    order = np.lexsort((rank, -values))[:k]  # stable: of equal value and rank, the new one
    return tuple(names[place] for place in order), values[order].astype(np.float32)
