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
from embridge.query.merging import Merge, comparable
from embridge.query.mixed import MixedSearch
from embridge.rollout.state import RolloutState, Serving

__all__ = ["Answering"]

Encode = Callable[[list[str]], None]


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
        """Old rows without a new one, and new rows."""
        parts = self.search, self.search, self.upgrade, self.merge
        return MixedSearch(*parts, backfilled=lambda names: self.renewed(names).ids, depths=self.depths).search(
            asked, k
        )

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


def _by_rank(new: tuple[str, ...], old: tuple[str, ...], left: set[str], k: int) -> tuple[tuple[str, ...], np.ndarray]:
    """The k best by reciprocal rank; of one rank, the new one comes first."""
    places = [place for place, name in enumerate(old) if name in left]
    names = [*new, *(old[place] for place in places)]
    ranks = np.concatenate([np.arange(len(new)), np.array(places, np.int64)]).astype(np.int64)
    values = comparable("rrf", "old", np.zeros(len(names)), ranks)
    best = np.argsort(-values, kind="stable")[:k]
    return tuple(names[place] for place in best.tolist()), values[best]
