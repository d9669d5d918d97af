"""How far the default is from the best map, and from what a map can reach that knows more than there is to know."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean

from benchmarks.rendering.markdown import DIRECTIONS, Rows, named, result, table, unique

__all__ = ["TABLES"]

_MAPS = (
    *("procrustes", "whitened-procrustes", "reweighted-procrustes", "ridge", "low-rank", "mlp", "lambda-orthogonal"),
    *("neighbour-map", "xbt-stage1"),
)
_TEXTS = {
    ("cranfield", "paraphrase-minilm-l3"): "Cranfield, nDCG@10, paraphrase-minilm-l3 → minilm-l6",
    ("vaswani", "model2vec"): "Vaswani, nDCG@10, model2vec → minilm-l6",
    ("banking77", "paraphrase-minilm-l3"): "Banking77, 1-NN, paraphrase-minilm-l3 → minilm-l6",
}
_FINETUNED = "xbt-stage2, 6,000 photos, with captions"


def _mean(rows: Iterable[dict[str, float]]) -> float:
    return mean(row["value"] for row in rows)


def _best(rows: Rows) -> str:
    """The map that finds most on average, named."""
    found = {name: _mean(r for r in rows if r["method"] == name) for name in unique(r["method"] for r in rows)}
    name = max(found, key=found.__getitem__)
    return f"{found[name]:.3f} (`{named(name)}`)"


def _photos() -> list[list[str]]:
    """Flickr8k both ways: the default is XBT in every draw of the chooser's benchmark."""
    lines = []
    for direction, label in DIRECTIONS.items():
        own, pairs = (
            [r for r in result(name) if (r["direction"], r["metric"]) == (direction, "recall_at_10")]
            for name in ("flickr8k", "flickr8k_pairs")
        )
        old, default, backfill = (
            _mean(r for r in own if r["method"] == m) for m in ("old", "xbt-stage1", "independent")
        )
        more = _mean(r for r in pairs if r["method"] == _FINETUNED)
        best = _best([r for r in own if r["method"] in _MAPS])
        known = f"{more:.3f}, finetuned on 6,000 photos with captions"
        lines.append([f"Flickr8k, R@10, {label}", f"{old:.3f}", f"{default:.3f}", best, known, f"{backfill:.3f}"])
    return lines


def _names() -> list[list[str]]:
    """LVIS: draws of the chooser's benchmark, and a map that learnt the names that are asked."""
    lines = []
    chooser = [r for r in result("chooser") if r["setting"]["data"] == "lvis"]
    for model in unique(r["setting"]["new"] for r in chooser):
        own = [r for r in chooser if r["setting"]["new"] == model]
        seeds = {r["seed"] for r in own}
        seen = [r for r in result("clip_lvis_names") if r["setting"] == {"new": model, "names": 1203}]
        seen = [r for r in seen if r["seed"] in seeds and (r["cell"], r["metric"]) == ("new/old", "recall_at_1")]
        old, default = (_mean(r for r in own if r["method"] == m) for m in ("old", "choose"))
        known = f"{_mean(seen):.3f}, Procrustes that learnt the asked names, too"
        best = _best([r for r in own if r["method"] in _MAPS or r["method"] == "xbt"])
        lines.append([f"LVIS, R@1, {model}", f"{old:.3f}", f"{default:.3f}", best, known, "not measured"])
    return lines


def _texts() -> list[list[str]]:
    """All documents are the pairs; the ceiling asks with the mean of the old vectors of what is right."""
    lines = []
    for (data, old), label in _TEXTS.items():
        metric = "cmc_at_1" if data == "banking77" else "ndcg_at_10"
        own = [r for r in result("all_documents") if r["metric"] == metric]
        own = [r for r in own if (r["setting"]["data"], r["setting"]["old"]) == (data, old)]
        today, default, ceiling, backfill = (
            _mean(r for r in own if r["method"] == m) for m in ("old", "choose", "ceiling", "independent")
        )
        known = f"{ceiling:.3f}, the mean of what is right as query"
        best = _best([r for r in own if r["method"] in _MAPS])
        lines.append([label, f"{today:.3f}", f"{default:.3f}", best, known, f"{backfill:.3f}"])
    return lines


def limits() -> str:
    """One line a search: the old model, the default, the best map, one that knows more, and a backfill."""
    head = ["search", "old model today", "default", "best map", "one that knows more", "full backfill"]
    return table(head, [*_photos(), *_names(), *_texts()], words=(0, 3, 4))


TABLES = {"limits": limits}
