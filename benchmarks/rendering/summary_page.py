"""The five tables of ``docs/benchmarks.md``: what a bridge brings, which map, what adds to it, what training brings, prices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from benchmarks.rendering.markdown import Rows, named, result, summary, table
from benchmarks.rendering.training import answers, of_cell, runs

__all__ = ["GAINS", "TABLES", "Gain", "figures", "gap_closed"]


@dataclass(frozen=True)
class Gain:
    """One search that a bridge is measured on: where its rows are, and what a reader calls it."""

    label: str
    metric_label: str
    benchmark: str
    metric: str
    direction: str = ""
    setting: Mapping[str, str] = field(default_factory=dict)
    same_models: bool = False  # seeds draw the pairs to fit on, not the models: then ± is over queries

    def rows(self, method: str) -> Rows:
        """The rows of one method, one a seed."""
        return [
            r
            for r in result(self.benchmark)
            if (r["method"], r["metric"], r["direction"]) == (method, self.metric, self.direction)
            and self.setting.items() <= r["setting"].items()
        ]


_PHOTOS = {"old": "mobilenet-v1-0.25", "new": "mobilenet-v2-1.0"}
GAINS = (
    Gain("text finds photos (Flickr8k)", "R@10", "flickr8k", "recall_at_10", "t2i"),
    Gain("photos find text (Flickr8k)", "R@10", "flickr8k", "recall_at_10", "i2t"),
    Gain("names find drawings (glyphs)", "R@10", "glyphs", "recall_at_10", "t2i"),
    Gain("drawings find names (glyphs)", "R@10", "glyphs", "recall_at_10", "i2t"),
    Gain("EVA-CLIP B/16 on CLIP B/32", "R@10", "clip_lvis", "recall_at_10", "t2i", {"new": "eva-clip-b16"}),
    Gain("EVA-CLIP L/14 on CLIP B/32", "R@10", "clip_lvis", "recall_at_10", "t2i", {"new": "eva-clip-l14-336"}),
    Gain("text search (Cranfield)", "nDCG@10", "text_ir", "ndcg_at_10", "", {"data": "cranfield"}, same_models=True),
    Gain("text search (Vaswani)", "nDCG@10", "text_ir", "ndcg_at_10", "", {"data": "vaswani"}, same_models=True),
    Gain("intents (Banking77)", "1-NN", "banking77", "cmc_at_1", same_models=True),
    Gain("photos find photos (Flickr8k)", "nDCG@10", "photos", "ndcg_at_10", "", _PHOTOS, same_models=True),
)
_MAPS = ("procrustes", "whitened-procrustes", "xbt-stage1", "lambda-orthogonal", "mlp", "ridge", "low-rank")
_WAYS = (
    ("old model today", "old", "nothing changes"),
    ("bridge", "xbt-stage1", "new encoder and a small map for each query"),
    ("bridge, finetuned on 6,000 pairs", "finetuned", "also pairs, a training, and a LoRA in the new model"),
    ("fusion of both queries", "midpoint", "both encoders for each query"),
    ("cascade over the best 100", "cascade", "100 items re-encoded for each query; a cache saves most"),
    ("full backfill", "independent", "every item re-encoded"),
)
_FINETUNED = {
    "flickr8k": ("flickr8k_pairs", "xbt-stage2, 6,000 photos, with captions"),
    "glyphs": ("glyphs_pairs", "stage 2, 6,000 pairs"),
}
_OBJECTIVES = ("independent", "bct", "bt2", "oca", "ndpp", "odpp")


def figures(gain: Gain, method: str) -> list[float]:
    """The metric of each seed."""
    return [r["value"] for r in gain.rows(method)]


def gap_closed(gain: Gain, method: str) -> float | None:
    """The share of the way from the old index to a full backfill, mean over seeds; none where nothing was backfilled."""
    old, new, own = ({r["seed"]: r["value"] for r in gain.rows(m)} for m in ("old", "independent", method))
    shares = [(own[seed] - old[seed]) / (new[seed] - old[seed]) for seed in new]
    return mean(shares) if shares else None


def gains() -> str:
    """One line a search: today, through the bridge, after a backfill."""
    lines = []
    for gain in GAINS:
        bridge, new, share = gain.rows("xbt-stage1"), figures(gain, "independent"), gap_closed(gain, "xbt-stage1")
        lines.append(
            [
                gain.label,
                gain.metric_label,
                f"{mean(figures(gain, 'old')):.3f}",
                _over_queries(bridge) if gain.same_models else summary(bridge),
                answers(bridge),
                f"{mean(new):.3f}" if new else "not measured",
                "" if share is None else f"{share * 100:.0f} %",
            ]
        )
    head = ["what is searched", "measure", "old model today", "bridge", "better?", "full backfill", "gap closed"]
    return table(head, lines, words=(0, 1))


def _over_queries(rows: Rows) -> str:
    half = mean((r["high"] - r["low"]) / 2 for r in rows)
    return f"{mean(r['value'] for r in rows):.3f} ± {half:.3f}"


def maps() -> str:
    """One line a map, one column a search: what new queries find on the old index, over what the old model finds."""
    shown = [gain for gain in GAINS if "L/14" not in gain.label and "glyphs" not in gain.label]
    lines = []
    for method in _MAPS:
        found = [(figures(gain, method), figures(gain, "old")) for gain in shown]
        ratios = [f"{mean(own) / mean(old):.2f}" if own else "" for own, old in found]
        lines.append([f"`{named(method)}`", *ratios])
    return table(["map", *(gain.label for gain in shown)], lines)


def additions() -> str:
    """One line a way to search, one column a search, and what each way costs."""
    shown = [GAINS[i] for i in (0, 1, 2, 3, 6)]
    lines = [[label, *(_added(gain, method) for gain in shown), price] for label, method, price in _WAYS]
    return table(["way to search", *(g.label for g in shown), "price"], lines, words=(0, len(shown) + 1))


def _added(gain: Gain, method: str) -> str:
    if method != "finetuned":
        return f"{mean(figures(gain, method)):.3f}"
    if gain.benchmark not in _FINETUNED:
        return ""
    benchmark, name = _FINETUNED[gain.benchmark]
    rows = of_cell([r for r in result(benchmark) if r["method"] == name], "new/old", gain.metric)
    return f"{mean(r['value'] for r in rows if r['direction'] == gain.direction):.3f}"


def training() -> str:
    """One line an objective: own search, new queries on old vectors in two data sets, negative flips and time."""
    cifar, photos = runs("cifar100_training"), runs("fashion_training")
    overhead = {r["method"]: r["value"] for r in result("training_overhead") if r["metric"] == "ratio"}
    today = [_mean(of_cell(r["independent"], "old/old", m)) for r, m in ((cifar, "cmc_at_1"), (photos, "recall_at_1"))]
    lines = [["old model today", "", today[0], "", today[1], "", "", ""]]
    for objective in _OBJECTIVES:
        rows, plain = cifar[objective], objective == "independent"
        crossed = of_cell(rows, "naive" if plain else "new/old", "cmc_at_1")
        of_photos = of_cell(photos[objective], "naive" if plain else "new/old", "recall_at_1")
        lines.append(
            [
                f"`{objective}`",
                _mean(of_cell(rows, "new/new", "cmc_at_1")),
                *(_mean(crossed), answers(crossed)),
                *(_mean(of_photos), answers(of_photos)),
                _mean([r for r in rows if r["metric"].startswith("negative_flip_rate")]),
                f"{overhead.get(objective, 1.0):.2f} ×",
            ]
        )
    head = [
        "objective",
        "own search",
        "on old vectors",
        "better?",
        "photos, on old vectors",
        "better?",
        "negative flips",
    ]
    return table([*head, "time"], lines)


def _mean(rows: Rows) -> str:
    return f"{mean(r['value'] for r in rows):.3f}"


def prices() -> str:
    """One line a task: how long it takes on one thread, and how that compares with the plain way."""
    return table(
        ["task", "takes, one thread", "compared with"], [*_mapping(), *_fitting(), *_searching()], words=(0, 2)
    )


def _mapping() -> list[list[str]]:
    lines = []
    for label, method in (("matrix", "linear"), ("small network", "mlp 512")):
        seconds, ratio = (_value("map_speed", metric, method) for metric in ("seconds", "speed_over_numpy"))
        task = f"map one query of 768 dimensions: {label}"
        lines.append([task, f"{seconds * 1e6:.0f} µs", f"{ratio:.2f} × the speed of numpy's matrix product"])
    (stored,) = (r for r in result("speed") if (r["method"], r["metric"]) == ("embridge", "rows_per_second"))
    count, ratio = stored["setting"]["rows"], _value("speed", "speed_over_numpy", task="bulk-map")
    seconds = f"{count / stored['value']:.0f} s"
    speed = f"{ratio:.2f} × the speed of numpy over a memory map"
    return [*lines, [f"map {count:,} stored vectors, disk to disk", seconds, speed]]


def _fitting() -> list[list[str]]:
    fits = (("procrustes", "Procrustes", "scipy"), ("ridge, chosen", "ridge, with 20 settings tried", "scikit-learn"))
    lines = []
    for task, label, library in fits:
        seconds = _value("map_speed", "fit_seconds", task=task)
        ratio = _value("map_speed", f"speed_over_{library.replace('-', '_')}", task=task)
        lines.append([f"fit 20,000 pairs: {label}", f"{seconds:.1f} s", f"{ratio:.2f} × the speed of {library}"])
    longest = _value("fit_speed", "seconds", "xbt-stage1")
    overhead = [r["value"] for r in result("training_overhead") if r["metric"] == "ratio"]
    spread = f"{min(overhead):.2f} to {max(overhead):.2f} ×"
    lines.append(["fit 100,000 pairs: XBT, at the longest", f"{longest:.0f} s", ""])
    return [*lines, ["train an image model beside an old one", spread, "the time of training it alone"]]


def _searching() -> list[list[str]]:
    text_to_image = [r for r in result("full_size") if r["direction"] == "t2i"]
    seconds, ratio = (
        next(r["value"] for r in text_to_image if (r["method"], r["metric"]) == ("embridge", metric))
        for metric in ("seconds", "speed_over_faiss_flat")
    )
    mixed = _value("mixed_speed", "seconds_over_two_searches", "mixed calibrated", backfilled=0.5, kept=False)
    speed = f"{ratio:.2f} × the speed of faiss, flat index"
    return [
        ["155,070 captions search 31,014 images, exactly", f"{seconds:.0f} s", speed],
        ["search a half-backfilled gallery", f"{mixed:.2f} ×", "the time of two plain searches"],
    ]


def _value(name: str, metric: str, method: str = "embridge", **setting: Any) -> float:
    """The first figure of that kind, with that setting."""
    rows = [r for r in result(name) if setting.items() <= r["setting"].items()]
    return next(r["value"] for r in rows if (r["method"], r["metric"]) == (method, metric))


TABLES: dict[str, Callable[[], str]] = {
    "summary-gain": gains,
    "summary-maps": maps,
    "summary-additions": additions,
    "summary-training": training,
    "summary-prices": prices,
}
