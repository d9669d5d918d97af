"""Text queries on old images, where the new model has no vectors of the images: no ``new/new``, and one direction."""

from __future__ import annotations

from collections.abc import Mapping

from embridge import Embeddings, Upgrade
from embridge.evaluation import Cell, Relevance, Report, Task
from embridge.evaluation.retrieve import hits_and_ties
from embridge.evaluation.ties import Searched
from embridge.query import Fusion, slerp

__all__ = ["text_report"]

DEPTH = 10
_NO_FUSIONS: Mapping[str, Fusion] = {}


def text_report(
    upgrade: Upgrade,
    queries: tuple[Embeddings, Embeddings],
    gallery: Embeddings,
    *,
    seed: int,
    fusions: Mapping[str, Fusion] = _NO_FUSIONS,
) -> Report:
    """The queries as the old and as the new text tower see them, each on the image of its own id."""
    old, new = queries
    judged = Relevance.from_pairs((i, i) for i in old.ids).judge(old.ids, gallery.ids)
    task = Task("t2i", old.ids, gallery.ids, len(gallery), judged.relevant, judged.ideal(DEPTH))
    bridged = upgrade.to_index_space(new)
    vectors = {"old/old": old.vectors, "new/old": bridged.vectors, "naive": new.vectors}
    vectors |= {"fused/old": slerp(old, bridged, 0.5).vectors}
    vectors |= {name: fusion.apply(old, bridged).vectors for name, fusion in fusions.items()}
    cells = []
    for name, rows in vectors.items():
        shared = min(rows.shape[1], gallery.space.dim)
        sides = rows[:, :shared], gallery.vectors[:, :shared]
        found = hits_and_ties(*sides, DEPTH + 1, Searched(judged), metric="cosine").cut(DEPTH)
        hits = found.ranking
        cells.append(Cell("t2i", name, hits.rows, hits.scores, judged.gains(hits.rows), None, found.ties))
    return Report((task,), tuple(cells), seed=seed)
