"""The cells of a report: which queries search which gallery, and what they find."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.evaluation.judged import Judged
from embridge.evaluation.one_set import without_rows
from embridge.evaluation.sides import Side
from embridge.nearest import Ranking, rerank, top_k
from embridge.shapes import Int64
from embridge.space import Space, require_same

__all__ = ["MORE_CELLS", "Bench"]

MORE_CELLS = {
    "fused/old": "the mean of the old query and the bridged one: both encoders for each query",
    "cascade": "the bridge's best items, ranked again by the new model: so many items re-encoded for each query",
    "ceiling": "the mean of the right items' own stored vectors: about the most that a map into this gallery can do",
}
"""Cells on request, and what they are."""


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """Both sides of one direction and the upgrade between them.

    native: the new model as a backfill would write it; ``new`` unless the upgrade is of the model with a LoRA. own [q]: where
    queries and gallery are one set, each query's own gallery row, which it may not find; else None.
    """

    old: Side
    new: Side
    native: Side
    upgrade: Upgrade
    own: Int64[np.ndarray, " q"] | None = None

    def bridged(self, upgrade: Upgrade | None = None) -> tuple[Embeddings, Embeddings]:
        """The new queries and the old gallery with the bridge between them."""
        upgrade = upgrade or self.upgrade
        require_same(upgrade.old_space, self.old.gallery.space, what="the old gallery of this upgrade")
        side = self.native if upgrade.new_space == self.native.queries.space else self.new  # a control may have no LoRA
        if upgrade.direction == "forward":
            return upgrade.head(side.queries), upgrade.bridge(self.old.gallery)
        return upgrade.to_index_space(side.queries), self.old.gallery

    def backfilled(self) -> tuple[Embeddings, Embeddings]:
        """The native new queries and the re-encoded gallery, as the upgrade's head writes them where it is of them."""
        queries, gallery = self.native.queries, self.native.gallery
        if queries.space != self.upgrade.new_space:  # the upgrade is of the model with a LoRA
            return queries, gallery
        return self.upgrade.head(queries), self.upgrade.head(gallery)

    def search(self, queries: Embeddings, gallery: Embeddings, depth: int) -> Ranking:
        """The best gallery rows of every query, but not its own."""
        metric = gallery.space.metric
        if self.own is None:
            return top_k(queries.vectors, gallery.vectors, depth, metric=metric)
        return without_rows(top_k(queries.vectors, gallery.vectors, depth + 1, metric=metric), self.own)

    def cells(
        self, controls: Mapping[str, Upgrade], more: Sequence[str], judged: Judged
    ) -> dict[str, Callable[[], tuple[Embeddings, Embeddings]]]:
        """Name → queries and gallery, made when called; in the order of a table."""
        extra = {"fused/old": self._fused, "ceiling": lambda: self._ceiling(judged)}
        return (
            {"old/old": lambda: (self.old.queries, self.old.gallery), "new/old": self.bridged}
            | {f"{name}/old": partial(self.bridged, control) for name, control in controls.items()}
            | {name: extra[name] for name in more if name in extra}
            | {"new/new": self.backfilled, "naive": self._naive}
        )

    def cascade(self, items: int, depth: int) -> Ranking:
        """The bridge's best ``items`` (at least ``depth``), ranked again by the new model's own scores."""
        found = self.search(*self.bridged(), max(items, depth)).rows
        queries, gallery = self.backfilled()
        return rerank(queries.vectors, gallery.vectors, found, depth, metric=gallery.space.metric)

    def _naive(self) -> tuple[Embeddings, Embeddings]:
        queries, gallery = self.native.queries, self.old.gallery
        shared = min(queries.space.dim, gallery.space.dim)
        space = Space("no bridge", "", shared, gallery.space.metric)
        return queries.with_vectors(_cut(queries, shared), space), gallery.with_vectors(_cut(gallery, shared), space)

    def _fused(self) -> tuple[Embeddings, Embeddings]:
        bridged, gallery = self.bridged()
        if self.upgrade.direction == "forward" or gallery.space.metric != "cosine":
            raise InvalidInput(
                "fused/old is the mean of two unit vectors of the old space: it needs a backward upgrade and cosine"
            )
        mixed = _unit(self.old.queries.vectors) + _unit(bridged.vectors)
        return bridged.with_vectors(mixed.astype(np.float32), gallery.space), gallery

    def _ceiling(self, judged: Judged) -> tuple[Embeddings, Embeddings]:
        queries, gallery = self.bridged()
        rows = _unit(gallery.vectors) if gallery.space.metric == "cosine" else gallery.vectors
        means = judged.sums(rows.astype(np.float32)) / np.maximum(judged.relevant, 1)[:, None]
        return queries.with_vectors(means.astype(np.float32), gallery.space), gallery


def _cut(rows: Embeddings, dim: int) -> np.ndarray:
    return rows.vectors[:, :dim]


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.finfo(np.float64).tiny)
