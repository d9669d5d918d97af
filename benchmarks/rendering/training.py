"""Tables of compatible training, made from ``results/NAME/METHOD-SEED.json`` in the order of ``NAME/settings.toml``."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from benchmarks.record import FOLDER
from benchmarks.rendering.markdown import Row, Rows, summary, table, unique
from embridge.evaluation import p_1, p_comp, p_up, update_gain

__all__ = [
    "answers",
    "cost",
    "method_label",
    "metric_label",
    "metrics_of",
    "of_cell",
    "over_seeds",
    "quality",
    "runs",
    "with_answer",
]

_LABELS = {"old": "old model", "naive": "independent, compared with no bridge", "independent": "independent"}
_METRICS = {"cmc": "CMC", "recall": "R", "map": "mAP"}


def runs(name: str, folder: Path = FOLDER) -> dict[str, Rows]:
    """The rows of all seeds by method; methods without a run are left out."""
    methods = tomllib.loads((folder / name / "settings.toml").read_text())["methods"]
    rows: dict[str, Rows] = {}
    for method in methods:
        for path in sorted((folder / "results" / name).glob(f"{method['name']}-[0-9].json")):
            rows.setdefault(method["name"], []).extend(json.loads(path.read_text())["rows"])
    if not rows:
        raise SystemExit(f"no results in {folder / 'results' / name}: make results/{name}")
    return rows


def quality(name: str, folder: Path = FOLDER, *, methods: Sequence[str] = (), metrics: Sequence[str] = ()) -> str:
    """One line a method: searches among its own vectors, and of its queries among the old ones, with the answer to whether
    the queries show these to be better than the old model's. Of some methods and metrics only, where these are named."""
    by_method = {method: rows for method, rows in runs(name, folder).items() if not methods or method in methods}
    metrics = metrics or metrics_of(by_method)
    plain = by_method.get("independent", [])
    shown = [("old", plain, ("old/old", "")), ("naive", plain, ("", "naive"))] if plain else []
    for method, rows in by_method.items():
        shown.append((method, rows, ("new/new", "" if method == "independent" else "new/old")))
    lines = []
    for method, rows, cells in shown:
        figures = [with_answer(of_cell(rows, cell, metric)) for cell in cells for metric in metrics]
        lines.append([method_label(method), *figures])
    head = [f"{side} {metric_label(metric)}" for side in ("self", "cross") for metric in metrics]
    return table(["", *head], lines)


def cost(name: str, folder: Path = FOLDER, *, times: Mapping[str, str] | None = None) -> str:
    """One line a method: what compatibility brings and what it costs, against the independent model of the same seed.

    times: the time of each method over the independent training's, a last column where it is given.
    """
    by_method = runs(name, folder)
    first, last = (metrics_of(by_method)[place] for place in (0, -1))
    paragons = {metric: _by_seed(by_method.get("independent", []), "new/new", metric) for metric in (first, last)}
    lines = []
    for method, rows in by_method.items():
        plain = method == "independent"  # it is not compared with the old rows, and is the measure of the others
        figures = [""] * 6 if plain else [over_seeds(values) for values in _prices(rows, paragons)]
        count = next(r["value"] for r in rows if r["metric"] == "parameters" and r["method"] == method)
        time = [] if times is None else [times.get(method.partition(",")[0], "1" if plain else "")]
        lines.append([method_label(method), *figures, f"{count:,}", *time])
    head = [f"update gain {metric_label(first)}", f"update gain {metric_label(last)}"]
    head += ["P_up", "P_comp", "P_1", "negative flips", "parameters"]
    return table(["", *head, *([] if times is None else ["time over independent's"])], lines)


def _prices(rows: Rows, paragons: Mapping[str, Mapping[int, float]]) -> list[list[float]]:
    """The update gains by both metrics, then by the last one P_up, P_comp and P_1, and the negative flips; seed by seed."""
    parts = {metric: _parts(rows, metric, of_seed) for metric, of_seed in paragons.items()}
    *_, last = parts.values()
    ups = [p_up([own], [best]) for own, _, _, best in last]
    comps = [p_comp([crossed], [old], [best]) for _, crossed, old, best in last]
    both = [p_1(*([figure] for figure in part)) for part in last]
    flips = [r["value"] for r in rows if r["metric"].startswith("negative_flip_rate")]
    return [*([update_gain(*part[1:]) for part in each] for each in parts.values()), ups, comps, both, flips]


def _parts(rows: Rows, metric: str, paragons: Mapping[int, float]) -> list[tuple[float, float, float, float]]:
    """Self-test, cross-test, status quo and paragon of each seed that has one."""
    own, crossed, old = (_by_seed(rows, cell, metric) for cell in ("new/new", "new/old", "old/old"))
    return [(own[seed], crossed[seed], old[seed], paragons[seed]) for seed in own if seed in paragons]


def _by_seed(rows: Rows, cell: str, metric: str) -> dict[int, float]:
    return {r["seed"]: r["value"] for r in of_cell(rows, cell, metric)}


def metrics_of(by_method: Mapping[str, Rows]) -> list[str]:
    """What self-tests are judged by, in the order of the results."""
    return unique(r["metric"] for rows in by_method.values() for r in rows if r["cell"] == "new/new")


def metric_label(metric: str) -> str:
    """``CMC@1`` for ``cmc_at_1``."""
    kind, _, k = metric.partition("_at_")
    return f"{_METRICS[kind]}@{k}" if k else _METRICS[kind]


def method_label(method: str) -> str:
    """What the first column of a table calls a method."""
    return _LABELS.get(method, f"`{method}`")


def of_cell(rows: Rows, cell: str, metric: str) -> Rows:
    """The rows of one cell and metric."""
    return [r for r in rows if (r["cell"], r["metric"]) == (cell, metric)]


def with_answer(rows: Rows) -> str:
    """The figure over seeds, and of cross-tests the answers; where seeds differ, the answer of their mean comes first."""
    if not rows:
        return ""
    crossed = [r for r in rows if r["cell"] == "new/old"]
    each = answers(crossed)
    if len({r["compatible"] for r in crossed}) > 1:
        each = f"{_answer_of_mean(crossed)}; {each}"
    return f"{summary(rows)}{f' ({each})' if each else ''}"


def answers(rows: Rows) -> str:
    """What the seeds say to whether old rows are searched better, each answer once."""
    by_seed = [r["compatible"] for r in rows]
    each = unique(by_seed)
    return ", ".join(a if len(each) == 1 else f"{a} {by_seed.count(a)}×" for a in each)


def _answer_of_mean(rows: Sequence[Row]) -> str:
    """Whether the mean over seeds is above the old model's: by the mean of the seeds' intervals over queries, which is at
    least as wide as the interval of the mean."""
    low, high = (mean(r[f"difference_{end}"] for r in rows) for end in ("low", "high"))
    return "yes" if low > 0 else "no" if high < 0 else "undecided"


def over_seeds(values: Sequence[float]) -> str:
    """The mean, with the standard deviation where there are several seeds."""
    if not values:
        return ""
    return f"{mean(values):.3f}" if len(values) == 1 else f"{mean(values):.3f} (σ {stdev(values):.3f})"
