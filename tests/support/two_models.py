"""One small world as two models see it, and the upgrade between them: for tests of query and of what chooses for it."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from embridge.adapters import Identity, Provenance, Upgrade
from embridge.adapters.linear import Linear
from embridge.embeddings import Embeddings
from embridge.evaluation import LabelRelevance
from embridge.space import Space

OLD = Space("old", "1", 12)
NEW = Space("new", "1", 16)


@dataclass(frozen=True, eq=False)
class World:
    old_queries: Embeddings
    old_items: Embeddings
    queries: Embeddings
    items: Embeddings
    upgrade: Upgrade
    relevance: LabelRelevance

    @property
    def bridged(self):
        return self.upgrade.to_index_space(self.queries)

    def encode(self, ids):
        """The new model."""
        row_of = {name: row for row, name in enumerate(self.items.ids)}
        return self.items.take([row_of[name] for name in ids])


@cache
def make_world(items=240, queries=40, *, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(12, 16))

    def drawn(n, prefix):
        labels = generator.integers(12, size=n)
        seen = centres[labels] + 0.4 * generator.normal(size=(n, 16))
        blurred = seen @ np.eye(16, 12) + 0.6 * generator.normal(size=(n, 12))
        names = [f"{prefix}{i}" for i in range(n)]
        new, old = (
            Embeddings.of(x.astype(np.float32), space, names) for x, space in ((1.7 * seen, NEW), (blurred, OLD))
        )
        return new, old, dict(zip(names, map(str, labels), strict=True))

    new_items, old_items, item_labels = drawn(items, "i")
    new_queries, old_queries, query_labels = drawn(queries, "q")
    weight = np.linalg.lstsq(new_items.vectors, old_items.vectors, rcond=None)[0].astype(np.float32)
    upgrade = Upgrade(Identity(NEW, NEW), Linear(NEW, OLD, weight), Provenance("least squares"))
    return World(old_queries, old_items, new_queries, new_items, upgrade, LabelRelevance(query_labels, item_labels))
