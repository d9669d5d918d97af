"""What each stage of a rollout answers a query with. Vectors of two spaces never meet: each is searched by its own queries."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.nearest import Hits
from embridge.query.arrays import Search, hits_of
from embridge.query.merging import Merge
from embridge.query.mixed import MixedSearch
from embridge.rollout.state import RolloutState, Serving

__all__ = ["Answering"]

Encode = Callable[[list[str]], None]
_Best = tuple[tuple[str, ...], np.ndarray]

_RRF_K = 60
_DEEPER, _DEEPEST = 2, 20  # times k, of the old rows that are looked at
_HALF = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Answering:
    """Searches of one store by an upgrade.

    Attributes:
        search: Of the store, with the filter.
        upgrade: The upgrade.
        merge: How hits of old and of new rows are merged.
        renewed: Of some ids, their new rows.
        depths: How deep mixed searches had to read old rows, where that is kept from one to the next.
    """

    search: Search
    upgrade: Upgrade
    merge: Merge
    renewed: Callable[[Sequence[str]], Embeddings]
    depths: deque[int] = field(default_factory=deque)

    def hits(self, served: Serving, state: RolloutState, asked: Embeddings, k: int, encode: Encode) -> Hits:
        """What is served in a state; ``encode`` gives rows a new vector."""
        if served == "old":
            return self.search(asked, k)
        if served == "bridge":
            return self.bridged(asked, k)
        if served == "new":
            return self.new(asked, k)
        if served == "cascade":
            return self.cascade(asked, k, state.on_read, encode)
        return self.remainder(asked, k) if state.phase == "complete" else self.mixed(asked, k)

    def bridged(self, asked: Embeddings, k: int) -> Hits:
        """Old rows, through the bridge."""
        return self.search(self.upgrade.to_index_space(asked), k)

    def new(self, asked: Embeddings, k: int) -> Hits:
        """New rows."""
        return self.search(self.upgrade.head(asked), k)

    def mixed(self, asked: Embeddings, k: int) -> Hits:
        """Old rows without a new one, and new rows.

        By rank, each takes the place that it would have if all rows were new. So the few new rows of a backfill that has just
        begun crowd out no better old ones, and nothing is read deep. By value, the first old rows alone are looked at, for
        the same reasons.
        """
        if self.merge != "rrf":
            renewed, deepest = (lambda names: self.renewed(names).ids), _DEEPEST * k
            parts = self.search, self.search, self.upgrade, self.merge
            return MixedSearch(*parts, renewed, most_fetched=deepest, depths=self.depths).search(asked, k)
        old = self.bridged(asked, _DEEPER * k)
        left, new = set(self._lacking(old)), self.new(asked, k)
        merged = [_by_place(a, b, left.difference(a), k) for a, b in zip(new.ids, old.ids, strict=True)]
        return hits_of([names for names, _ in merged], [values for _, values in merged])

    def remainder(self, asked: Embeddings, k: int) -> Hits:
        """New rows, and the few old ones that have none.

        By rank, an old row takes the place that it has among all old rows, which are still there: so a few of them do not
        crowd out the new ones. By value, as in `mixed`.
        """
        if self.merge != "rrf":
            return self.mixed(asked, k)
        old = self.bridged(asked, k)
        return self._with(self._lacking(old), old, asked, k)

    def cascade(self, asked: Embeddings, k: int, items: int, encode: Encode) -> Hits:
        """The bridge's best items, of which those without a new row get one first; then new rows, and what is left of these."""
        candidates = self.bridged(asked, max(k, items))
        if lacking := self._lacking(candidates):
            encode(lacking)
            lacking = self._lacking(candidates)
        return self._with(lacking, candidates, asked, k)

    def _lacking(self, hits: Hits) -> list[str]:
        names = list(dict.fromkeys(name for found in hits.ids for name in found))
        renewed = set(self.renewed(names).ids) if names else set()
        return [name for name in names if name not in renewed]

    def _with(self, lacking: Sequence[str], old: Hits, asked: Embeddings, k: int) -> Hits:
        """New hits, and those old ones, each by its rank in its own list; an id that is in both is new by now."""
        new, left = self.new(asked, k), set(lacking)
        if not left:
            return new
        merged = [_by_rank(a, b, left.difference(a), k) for a, b in zip(new.ids, old.ids, strict=True)]
        return hits_of([names for names, _ in merged], [values for _, values in merged])


def _by_place(new: tuple[str, ...], old: tuple[str, ...], left: set[str], k: int) -> _Best:
    """The k best by the places that they would have among all rows, if all were new.

    Before a new row come those that are before it among the new ones. How many others would, its place among the old rows
    says, and the share of the rows that are new: the lower of both counts.
    """
    place_of = {name: place for place, name in enumerate(old)}
    ranks, share = np.arange(len(new)), max(sum(name not in left for name in old), _HALF) / max(len(old), 1)
    known = np.array([place_of.get(name, np.inf) for name in new], np.float64)
    return _best(new, np.minimum((ranks + _HALF) / share - _HALF, np.maximum(ranks, known)), old, left, k)


def _by_rank(new: tuple[str, ...], old: tuple[str, ...], left: set[str], k: int) -> _Best:
    """The k best, each by its rank in its own list."""
    return _best(new, np.arange(len(new), dtype=np.float64), old, left, k)


def _best(new: tuple[str, ...], ranks: np.ndarray, old: tuple[str, ...], left: set[str], k: int) -> _Best:
    """The k best of new rows, by these ranks, and of old ones by theirs; of one rank, the new one comes first."""
    places = [place for place, name in enumerate(old) if name in left]
    names = [*new, *(old[place] for place in places)]
    values = 1 / (_RRF_K + 1 + np.concatenate([ranks, np.array(places, np.float64)]))
    best = np.argsort(-values, kind="stable")[:k]
    return tuple(names[place] for place in best.tolist()), values[best]
