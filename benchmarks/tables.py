"""Write the tables of README and docs from ``results/*.json``; ``--check`` only says whether they are up to date.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``, in the README or on any page under ``docs``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.rendering import training as training_tables

ROOT = Path(__file__).resolve().parents[1]
MARK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
DIRECTIONS = {"t2i": "text to image", "i2t": "image to text"}
# two-sided 95 % quantile of Student's t, by degrees of freedom, for a mean over so many seeds or splits
STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}

Rows = list[dict[str, Any]]


def result(name: str) -> Rows:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())["rows"]


def retrieval(name: str, metrics: tuple[str, ...], keep: Callable[[dict[str, Any]], bool] = lambda _: True) -> str:
    """One line a method: mean over seeds ± half its 95 % interval (of that one run's queries where there is one seed)."""
    rows = [r for r in result(name) if r["metric"] in metrics and keep(r)]
    directions = list(dict.fromkeys(r["direction"] for r in rows))
    head = [f"{DIRECTIONS[d]} R@{m.rpartition('_')[2]}" for d in directions for m in metrics]
    lines = [["", *head], ["---", *("---:" for _ in head)]]
    for method in order(r["method"] for r in rows):
        own = [r for r in rows if r["method"] == method]
        cells = [
            summary([r for r in own if (r["direction"], r["metric"]) == (d, m)]) for d in directions for m in metrics
        ]
        lines.append([LABELS.get(method, f"`{method}`, old index"), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def gap_closed(name: str, keep: Callable[[dict[str, Any]], bool] = lambda _: True) -> str:
    """One line a method: Recall@10 each way, and the share of the gap to a full backfill that is closed, over seeds."""
    rows = [r for r in result(name) if r["metric"] == "recall_at_10" and keep(r)]
    ends = {(r["direction"], r["seed"], r["cell"]): r["value"] for r in rows if r["cell"] in ("old/old", "new/new")}
    head = ["", *(f"{DIRECTIONS[d]} {what}" for d in DIRECTIONS for what in ("R@10", "gap closed"))]
    lines = [head, ["---", *("---:" for _ in head[1:])]]
    shown = [r for r in rows if r["cell"] in ("old/old", "naive", "new/old", "fused/old", "new/new")]
    for method in order(r["method"] for r in shown):
        cells = []
        for direction in DIRECTIONS:
            own = [r for r in shown if (r["method"], r["direction"]) == (method, direction)]
            shares = []
            for r in own if method not in ("old", "naive", "independent") else []:
                old, new = (ends[direction, r["seed"], cell] for cell in ("old/old", "new/new"))
                shares.append(r | {"value": (r["value"] - old) / (new - old)})
            cells += [summary(own) if own else "", summary(shares) if shares else ""]
        lines.append([LABELS.get(method, f"`{method}`, old index"), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def captions_curve() -> str:
    """The share of the gap to a full backfill that is closed at Recall@10, by captions; mean over seeds ± half its interval."""
    rows = [r for r in result("flickr8k_ablations") if r["metric"] == "recall_at_10"]
    ends = {(r["direction"], r["seed"], r["cell"]): r["value"] for r in rows if r["cell"] in ("old/old", "new/new")}
    curve = [r for r in rows if r["cell"] == "new/old" and r["setting"].get("captions") == "other"]
    counts = sorted({r["setting"]["count"] for r in curve})
    lines = [["", *(f"{DIRECTIONS[d]}, {n:,}" for d in DIRECTIONS for n in counts)]]
    lines.append(["---", *("---:" for _ in lines[0][1:])])
    for method in unique(r["method"] for r in curve):
        cells = []
        for direction in DIRECTIONS:
            for count in counts:
                shares = []
                for r in curve:
                    if (r["method"], r["direction"], r["setting"]["count"]) == (method, direction, count):
                        old, new = (ends[direction, r["seed"], cell] for cell in ("old/old", "new/new"))
                        shares.append(r | {"value": (r["value"] - old) / (new - old)})
                cells.append(summary(shares))
        lines.append([f"`{method}`", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def one_caption() -> str:
    """One line a query, one column a gallery: how often one caption is found, the others of its photo being left out."""
    rows = result("flickr8k_ceiling")
    galleries = unique(r["setting"]["gallery"] for r in rows)
    lines = [["", *(f"{gallery} captions" for gallery in galleries)], ["---", *("---:" for _ in galleries)]]
    for query in unique(r["method"] for r in rows):
        own = [[r for r in rows if (r["method"], r["setting"]["gallery"]) == (query, g)] for g in galleries]
        lines.append([query, *(summary(found) if found else "" for found in own)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def names_curve() -> str:
    """Recall by how many names the map is fitted on; after the old model, mean over splits ± half its interval."""
    rows = result("clip_lvis_names")
    models = unique(r["setting"]["new"] for r in rows)
    counts = sorted({r["setting"]["names"] for r in rows})
    lines = [["", *(f"{m}, R@{k.rpartition('_')[2]}" for m in models for k in K)]]
    lines.append(["---", *("---:" for _ in lines[0][1:])])
    shown = [("old/old", counts[:1], LABELS["old"])]
    shown += [
        ("new/old", [n], f"{n:,} names{' (with those that are asked)' if n == counts[-1] else ''}") for n in counts
    ]
    for cell, (count, *_), label in shown:
        own = [r for r in rows if (r["cell"], r["setting"]["names"]) == (cell, count)]
        cells = [summary([r for r in own if (r["setting"]["new"], r["metric"]) == (m, k)]) for m in models for k in K]
        lines.append([label, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def kept_by_lora() -> str:
    """Recall at 10 of the new model alone and of what the bridge writes, before and after the second stage."""
    rows = [r for r in result("glyphs_pairs") if r["metric"] == "recall_at_10"]
    columns = [(cell, direction) for cell in ("added", "self") for direction in DIRECTIONS]
    said = {"added": "bridged rows", "self": "new model alone"}
    lines = [["", *(f"{said[cell]}, {DIRECTIONS[d]}" for cell, d in columns)]]
    lines.append(["---", *("---:" for _ in columns)])
    for method in unique(r["method"] for r in rows if r["cell"] == "added"):
        own = [r for r in rows if r["method"] == method]
        cells = [summary([r for r in own if (r["cell"], r["direction"]) == column]) for column in columns]
        lines.append([f"`{method}`", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


LABELS = {
    "old": "old model, old index (status quo)",
    "naive": "new model on the old index, no bridge",
    "midpoint": "midpoint of the bridged and the old query, old index (both encoders)",
    "slerp": "SLERP of the two queries, its weight chosen on other queries (both encoders)",
    "nlerp": "NLERP of the two queries, its weight chosen on other queries (both encoders)",
    "adaptive-nlerp": "NLERP with a weight for each query, chosen on other queries (both encoders)",
    "cascade": "the bridge's best 100, re-encoded for each query",
    "ceiling": "about the most that a map into the old index can reach",
    "independent": "new model, everything re-encoded",
}


def order(methods: Iterable[str]) -> list[str]:
    """Status quo first, full backfill last."""
    found = list(dict.fromkeys(methods))
    fused = ("midpoint", "slerp", "nlerp", "adaptive-nlerp")
    rank = {"old": -2, "naive": -1, "cascade": 2, "independent": 3, "ceiling": 4} | dict.fromkeys(fused, 1)
    return sorted(found, key=lambda m: rank.get(m, 0))


def summary(rows: Rows) -> str:
    if len(rows) == 1:
        return f"{rows[0]['value']:.3f} ± {(rows[0]['high'] - rows[0]['low']) / 2:.3f}"
    values = [r["value"] for r in rows]
    return f"{mean(values):.3f} ± {STUDENT[len(values) - 1] * stdev(values) / len(values) ** 0.5:.3f}"


RATIOS = {
    "speed_over_numpy": "speed, ratio to numpy's",
    "speed_over_faiss_flat": "speed, ratio to faiss-flat's",
    "peak_extra_bytes": "memory beyond the arrays, MB",
}
TASKS = {
    "single-map": "map one query, {dim} → {dim}",
    "bulk-map": "map {rows:,} vectors from disk to disk, {dim} → {dim}",
    "top-k": "top {k} of {gallery:,} × {dim}, {queries:,} queries",
}


def speed() -> str:
    lines = ["| task | measured | value | lowest … highest |", "| --- | --- | ---: | ---: |"]
    for row in result("speed"):
        if row["metric"] not in RATIOS:
            continue
        task = TASKS[row["setting"]["task"]].format(**row["setting"])
        unit = 1e6 if row["metric"].endswith("bytes") else 1
        value, low, high = (f"{row[part] / unit:.3g}" for part in ("value", "low", "high"))
        lines.append(f"| {task} | {row['method']}: {RATIOS[row['metric']]} | {value} | {low} … {high} |")
    return "\n".join(lines)


def fit_speed() -> str:
    lines = ["| hidden width | captions/s | whole fit, seconds |", "| ---: | ---: | ---: |"]
    rows = result("fit_speed")
    whole = {r["setting"]["hidden_width"]: r["value"] for r in rows if r["metric"] == "seconds"}
    for row in rows:
        if row["method"] == "xbt-stage1, some steps":
            width = row["setting"]["hidden_width"]
            seconds = f"{whole[width]:.0f}" if width in whole else ""
            lines.append(f"| {width:,} | {row['value']:,.0f} | {seconds} |")
    return "\n".join(lines)


def mixed_speed() -> str:
    """One line a merge and state of the backfill: seconds over those of two plain searches."""
    lines = ["| rows | merge | seconds over two plain searches |", "| --- | --- | ---: |"]
    for row in result("mixed_speed"):
        if row["metric"] == "seconds_over_two_searches":
            of = row["setting"]
            rows = f"{of['gallery']:,}, {of['backfilled']:.0%} re-encoded, old rows {'kept' if of['kept'] else 'moved'}"
            value = f"{row['value']:.2f} ({row['low']:.2f} … {row['high']:.2f})"
            lines.append(f"| {rows} | {row['method'].removeprefix('mixed ')} | {value} |")
    return "\n".join(lines)


def full_size() -> str:
    head = ["direction", "search", "seconds", "speed, ratio to faiss-flat's", "R@1", "R@5", "R@10", "peak memory, MB"]
    lines = [head, ["---", "---", *("---:" for _ in head[2:])]]
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in result("full_size"):
        found.setdefault((row["direction"], row["method"]), {})[row["metric"]] = row
    for (direction, method), own in found.items():
        ratio = own.get("speed_over_faiss_flat")
        speed = f"{ratio['value']:.2f} ({ratio['low']:.2f} … {ratio['high']:.2f})" if ratio else "1"
        recalls = [f"{own[k]['value']:.4f}" for k in K]
        memory = f"{own['peak_bytes']['value'] / 1e6:,.0f}"
        lines.append([DIRECTIONS[direction], method, f"{own['seconds']['value']:.1f}", speed, *recalls, memory])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


Column = tuple[str, str, dict[str, str]]


def maps(name: str, columns: tuple[Column, ...]) -> str:
    """One line a method, one column a (heading, metric, setting): mean over seeds ± half an interval over queries.

    Only the pairs to fit on differ between seeds there, so that the queries are what a figure depends on. After it stands
    whether the queries show it to be better than the status quo.
    """
    rows = result(name)
    lines = [["", *(heading for heading, *_ in columns)], ["---", *("---:" for _ in columns)]]
    for method in order(r["method"] for r in rows):
        cells = []
        for _, metric, setting in columns:
            own = [r for r in rows if (r["method"], r["metric"]) == (method, metric)]
            cells.append(judged([r for r in own if setting.items() <= r["setting"].items()]))
        lines.append([LABELS.get(method, f"`{method}`, old index"), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def judged(rows: Rows) -> str:
    if not rows:
        return ""
    half = mean((r["high"] - r["low"]) / 2 for r in rows)
    answers = [r["compatible"] for r in rows if "compatible" in r]
    said = ", ".join(a if answers.count(a) == len(answers) else f"{a} {answers.count(a)}×" for a in unique(answers))
    return f"{mean(r['value'] for r in rows):.3f} ± {half:.3f}{f' ({said})' if said else ''}"


def unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def backfill_orders(name: str, metric: str) -> str:
    """One line a method, one column an order: the area under its curve, and whether that is above a random order's."""
    rows = [r for r in result(name) if r["metric"] == f"backfill_auc:{metric}"]
    named = unique(r["setting"]["order"] for r in rows)
    lines = [["", *named], ["---", *("---:" for _ in named)]]
    for method in order(r["method"] for r in rows):
        own = [
            r | ({"compatible": r["better_than_random"]} if "better_than_random" in r else {})
            for r in rows
            if r["method"] == method
        ]
        lines.append([f"`{method}`", *(judged([r for r in own if r["setting"]["order"] == o]) for o in named)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def pairs_curve(direction: str) -> str:
    """The share of the full backfill's Recall@10 that is kept, by number of pairs; mean over seeds ± half its interval."""
    rows = [r for r in result("pairs_curve") if r["direction"] == direction]
    full = {r["seed"]: r["value"] for r in rows if r["cell"] == "new/new"}
    counts = sorted({r["setting"]["pairs"] for r in rows})
    lines = [["", *(f"{count:,}" for count in counts)], ["---", *("---:" for _ in counts)]]
    for method in order(r["method"] for r in rows if r["cell"] in ("old/old", "new/old", "naive")):
        cells = []
        for count in counts:
            own = [r for r in rows if r["method"] == method and r["setting"]["pairs"] in (count, counts[0])]
            of_count = [r for r in own if r["setting"]["pairs"] == count] or own  # status quo and naive need no pairs
            cells.append(summary([r | {"value": r["value"] / full[r["seed"]]} for r in of_count]))
        lines.append([LABELS.get(method, f"`{method}`, old index"), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def map_speed() -> str:
    head = ["task", "map", "takes", "plain way", "takes", "speed, ratio to the plain way"]
    lines = [head, ["---", "---", "---:", "---", "---:", "---:"]]
    rows = result("map_speed")
    units = {"seconds": 1e6, "fit_seconds": 1}
    for ratio in (r for r in rows if r["metric"].startswith("speed_over_")):
        same = [r for r in rows if r["setting"] == ratio["setting"] and r["metric"] in units]
        (mine,) = (r for r in same if r["method"] == ratio["method"])
        plain = same[-1]
        scale = units[mine["metric"]]
        times = [f"{r['value'] * scale:.3g} {'s' if scale == 1 else 'µs'}" for r in (mine, plain)]
        speed = f"{ratio['value']:.2f} ({ratio['low']:.2f} … {ratio['high']:.2f})"
        task = "one query" if ratio["setting"]["task"] == "single-map" else f"fit: {ratio['setting']['task']}"
        lines.append([task, mine["method"], times[0], plain["method"], times[1], speed])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def training_short() -> str:
    """Of the methods that have three seeds, by what a user looks at first."""
    methods = ("independent", "bct", "bct, defaults", "bt2", "oca", "ndpp", "odpp")
    return training_tables.quality("cifar100_training", summary, methods=methods, metrics=("cmc_at_1", "map"))


UPGRADES = (
    ("mobilenet-v1-0.25", "mobilenet-v2-1.0"),
    ("mobilenet-v1-0.5", "mobilenet-v2-1.0"),
    ("mobilenet-v1-0.75", "mobilenet-v2-1.0"),
    ("mobilenet-v1-0.25", "mobilenet-v1-0.75"),
)
SHARE, NDCG = "recall_share_at_100", "ndcg_at_10"
DEFAULTS = ("old", "independent", "naive", "procrustes", "xbt-stage1")
K = ("recall_at_1", "recall_at_5", "recall_at_10")
TABLES: dict[str, Callable[[], str]] = {
    "glyphs": lambda: retrieval("glyphs", K[::2], lambda r: r["method"] in DEFAULTS),
    "glyphs-all": lambda: retrieval("glyphs", K),
    "flickr8k": lambda: retrieval("flickr8k", K[2:], lambda r: r["method"] in DEFAULTS),
    "flickr8k-t2i": lambda: retrieval("flickr8k", K, lambda r: r["direction"] == "t2i"),
    "flickr8k-i2t": lambda: retrieval("flickr8k", K, lambda r: r["direction"] == "i2t"),
    "flickr8k-pairs": lambda: gap_closed("flickr8k_pairs", lambda r: not r["method"].startswith("direct ")),
    "flickr8k-direct": lambda: retrieval(
        "flickr8k_pairs", K[2:], lambda r: r["method"].startswith("direct ") and r["direction"] == "i2t"
    ),
    "flickr8k-seen": lambda: gap_closed("flickr8k_seen"),
    "flickr8k-ceiling": one_caption,
    "flickr8k-unseen": lambda: gap_closed("flickr8k_unseen"),
    "flickr8k-ablations": lambda: gap_closed("flickr8k_ablations", lambda r: r["setting"].get("captions") != "other"),
    "flickr8k-captions": captions_curve,
    "flickr8k-chain": lambda: gap_closed("flickr8k_chain"),
    "glyphs-pairs": lambda: gap_closed("glyphs_pairs"),
    "glyphs-kept": kept_by_lora,
    "clip-lvis-b16": lambda: retrieval("clip_lvis", K, lambda r: r["setting"]["new"] == "eva-clip-b16"),
    "clip-lvis-l14": lambda: retrieval("clip_lvis", K, lambda r: r["setting"]["new"] == "eva-clip-l14-336"),
    "clip-lvis-names": names_curve,
    "text-ir": lambda: maps(
        "text_ir",
        tuple(
            (f"{data.title()} {label}", metric, {"data": data})
            for data in ("cranfield", "vaswani")
            for label, metric in (("nDCG@10", NDCG), ("R@100", SHARE))
        ),
    ),
    "banking77": lambda: maps("banking77", (("1-NN accuracy", "cmc_at_1", {}),)),
    "cifar100": lambda: maps("cifar100_backfill", (("R@1", "cmc_at_1", {}), ("mAP@100", "map_at_100", {}))),
    "cifar100-orders": lambda: backfill_orders("cifar100_backfill", "cmc_at_1"),
    "photos": lambda: maps(
        "photos",
        tuple(
            (f"{old.removeprefix('mobilenet-')} → {new.removeprefix('mobilenet-')}", NDCG, {"old": old, "new": new})
            for old, new in UPGRADES
        ),
    ),
    "pairs-curve-t2i": lambda: pairs_curve("t2i"),
    "pairs-curve-i2t": lambda: pairs_curve("i2t"),
    "cifar100-training": lambda: training_tables.quality("cifar100_training", summary),
    "cifar100-training-cost": lambda: training_tables.cost("cifar100_training"),
    "training-short": training_short,
    "training-choice": training_tables.choice,
    "training-overhead": training_tables.overhead,
    "cifar100-growing": lambda: training_tables.quality("cifar100_growing", summary),
    "cifar100-growing-cost": lambda: training_tables.cost("cifar100_growing"),
    "cifar100-steps": lambda: training_tables.steps("cifar100_steps", summary),
    "cifar100-steps-pairs": lambda: training_tables.pairs("cifar100_steps"),
    "cifar100-steps-strangers": lambda: training_tables.strangers("cifar100_steps", summary),
    "fashion-training": lambda: training_tables.quality("fashion_training", summary),
    "fashion-training-cost": lambda: training_tables.cost("fashion_training"),
    "head-only": lambda: training_tables.quality("head_only", summary),
    "head-only-cost": lambda: training_tables.cost("head_only"),
    "speed": speed,
    "map-speed": map_speed,
    "mixed-speed": mixed_speed,
    "full_size": full_size,
    "fit-speed": fit_speed,
}


def pages() -> list[Path]:
    """Where tables may stand."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for path in pages():
        text = path.read_text()
        current = MARK.sub(lambda m: f"{m[1]}{TABLES[m[2]]()}\n{m[3]}", text)
        if current != text:
            stale.append(path.relative_to(ROOT).as_posix())
            if not check:
                path.write_text(current)
    if check and stale:
        sys.exit(f"not up to date with benchmarks/results: {', '.join(stale)}; run make tables")


if __name__ == "__main__":
    main()
