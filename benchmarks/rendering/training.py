"""The tables of the benchmarks on compatible training, made from ``results/NAME`` and ``NAME/settings.toml``."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from embridge.evaluation import p_1, p_comp, p_up, update_gain

__all__ = ["choice", "cost", "overhead", "pairs", "quality", "runs", "steps", "strangers"]

FOLDER = Path(__file__).parents[1]
LABELS = {"old": "old model", "naive": "independent, compared with no bridge", "independent": "independent"}
SUMMED = ("average compatibility", "average accuracy")
LAST = {"last version": "new/new", "last on first": "new/old"}

Rows = list[dict[str, Any]]
Summary = Callable[[Rows], str]


def runs(name: str, folder: Path = FOLDER) -> dict[str, Rows]:
    """The rows of all seeds by method, in the order of the settings; methods without a run are left out."""
    listed = tomllib.loads((folder / name / "settings.toml").read_text())["methods"]
    found: dict[str, Rows] = {}
    for method in listed:
        for path in sorted((folder / "results" / name).glob(f"{method['name']}-[0-9].json")):
            found.setdefault(method["name"], []).extend(json.loads(path.read_text())["rows"])
    if not found:
        raise SystemExit(f"no results in {folder / 'results' / name}: make results/{name}")
    return found


def quality(
    name: str, summary: Summary, folder: Path = FOLDER, *, methods: Sequence[str] = (), metrics: Sequence[str] = ()
) -> str:
    """One line a method: searches among its own vectors, and of its queries among the old ones, with the answer to whether
    the queries show these to be better than the old model's. Of some methods and metrics only, where these are named."""
    found = {method: rows for method, rows in runs(name, folder).items() if not methods or method in methods}
    metrics = metrics or _metrics(found)
    head = [f"{side} {_label(metric)}" for side in ("self", "cross") for metric in metrics]
    lines = [["", *head], ["---", *("---:" for _ in head)]]
    plain = found.get("independent", [])
    shown = [("old", plain, ("old/old", "")), ("naive", plain, ("", "naive"))] if plain else []
    for method, rows in found.items():
        shown.append((method, rows, ("new/new", "" if method == "independent" else "new/old")))
    for method, rows, cells in shown:
        said = [_answered(_of(rows, cell, metric), summary) for cell in cells for metric in metrics]
        lines.append([LABELS.get(method, f"`{method}`"), *said])
    return _table(lines)


def cost(name: str, folder: Path = FOLDER) -> str:
    """One line a method: what compatibility brings and what it costs, against the independent model of the same seed."""
    found = runs(name, folder)
    first, last = (_metrics(found)[place] for place in (0, -1))
    paragons = {metric: _by_seed(found.get("independent", []), "new/new", metric) for metric in (first, last)}
    times = _times(folder) if name == "cifar100_training" else {}
    head = [f"update gain {_label(first)}", f"update gain {_label(last)}", "P_up", "P_comp", "P_1", "negative flips"]
    head += ["parameters", *(["time over independent's"] if times else [])]
    lines = [["", *head], ["---", *("---:" for _ in head)]]
    for method, rows in found.items():
        parts = {metric: _parts(rows, metric, paragons[metric]) for metric in (first, last)}
        gains = [[update_gain(*p[1:]) for p in parts[metric]] for metric in (first, last)]
        ups = [p_up([own], [best]) for own, _, _, best in parts[last]]
        comps = [p_comp([crossed], [old], [best]) for _, crossed, old, best in parts[last]]
        both = [p_1(*([figure] for figure in p)) for p in parts[last]]
        flips = [r["value"] for r in rows if r["metric"].startswith("negative_flip_rate")]
        count = next(r["value"] for r in rows if r["metric"] == "parameters" and r["method"] == method)
        plain = method == "independent"  # it is not compared with the old rows, and is the measure of the others
        cells = ["" if plain else _mean(values) for values in (*gains, ups, comps, both, flips)]
        lines.append(
            [
                LABELS.get(method, f"`{method}`"),
                *cells,
                f"{count:,}",
                *([times.get(method.partition(",")[0], "1" if plain else "")] if times else []),
            ]
        )
    return _table(lines)


def steps(name: str, summary: Summary, folder: Path = FOLDER) -> str:
    """One line a method: what sums up its matrix of tests, and the last version on its own rows and on the first one's."""
    found = runs(name, folder)
    first, last = (_metrics(found)[place] for place in (0, -1))
    summed = [(f"{w} {_label(metric)}", f"{w.replace(' ', '_')}:{metric}") for w in SUMMED for metric in (first, last)]
    tests = [(words, cell, metric) for words, cell in LAST.items() for metric in (first, last)]
    head = [*(words for words, _ in summed), *(f"{words} {_label(metric)}" for words, _, metric in tests), "dimensions"]
    lines = [["", *head], ["---", *("---:" for _ in head)]]
    for method, rows in found.items():
        said = [_mean([r["value"] for r in rows if r["metric"] == metric]) for _, metric in summed]
        versions = max(r["setting"].get("queries", 0) for r in rows)
        for _, cell, metric in tests:
            gallery = versions if cell == "new/new" else 1
            setting = {"queries": versions, "gallery": gallery}
            said.append(_answered([r for r in _of(rows, cell, metric) if r["setting"] == setting], summary))
        dims = [r["value"] for r in rows if r["metric"] == "dim" and r["setting"] == {"queries": versions}]
        lines.append([LABELS.get(method, f"`{method}`"), *said, f"{dims[0]}"])
    return _table(lines)


def pairs(name: str, folder: Path = FOLDER) -> str:
    """One line a method: each version's queries on each older version's vectors, over that version's own, by the first metric."""
    found = {method: rows for method, rows in runs(name, folder).items() if method != "independent"}
    first = _metrics(found)[0]
    rows_of = {method: [r for r in rows if "classes" not in r["setting"]] for method, rows in found.items()}
    cells = list(dict.fromkeys(_pair(r) for r in _of(next(iter(rows_of.values())), "new/old", first)))
    lines = [["", *(f"{t} on {s}" for t, s in cells)], ["---", *("---:" for _ in cells)]]
    for method, rows in rows_of.items():
        own = {s: [r["value"] for r in _of(rows, "new/new", first) if _pair(r) == (s, s)] for _, s in cells}
        said = [LABELS.get(method, f"`{method}`")]
        for t, s in cells:
            crossed = [r for r in _of(rows, "new/old", first) if _pair(r) == (t, s)]
            said.append(f"{mean(r['value'] for r in crossed):.3f} / {mean(own[s]):.3f} ({_answers(crossed)})")
        lines.append(said)
    return _table(lines)


def _pair(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["setting"]["queries"], row["setting"]["gallery"]


def strangers(name: str, summary: Summary, folder: Path = FOLDER) -> str:
    """One line a method: the second version's queries on the first one's vectors, by who was trained on the query's class."""
    found: dict[str, Rows] = {"the first version itself": []}
    second_on_first = {"queries": 2, "gallery": 1}.items()
    for method, rows in runs(name, folder).items():
        told = [r for r in rows if "classes" in r["setting"] and second_on_first <= r["setting"].items()]
        if told:
            found["the first version itself"] = [r for r in told if r["cell"] == "old/old"]
            found[LABELS.get(method, f"`{method}`")] = [r for r in told if r["cell"] == "new/old"]
    groups = list(dict.fromkeys(r["setting"]["classes"] for rows in found.values() for r in rows))
    lines = [["", *groups], ["---", *("---:" for _ in groups)]]
    for label, rows in found.items():
        lines.append([label, *(summary([r for r in rows if r["setting"]["classes"] == group]) for group in groups)])
    return _table(lines)


def choice(folder: Path = FOLDER) -> str:
    """One line an objective: the settings with the highest score on validation, and what else was tried."""
    found: dict[str, Rows] = {}
    for row in json.loads((folder / "results" / "training_choice.json").read_text())["rows"]:
        if row["metric"] == "p_1":
            found.setdefault(row["method"], []).append(row)
    lines = [["", "chosen", "P_1", "tried besides"], ["---", "---", "---:", "---"]]
    for method, rows in found.items():
        best, *others = sorted(rows, key=lambda r: -r["value"])
        tried = "; ".join(f"{_settings(r['setting'])} ({r['value']:.3f})" for r in others)
        lines.append([f"`{method}`", _settings(best["setting"]), f"{best['value']:.3f}", tried])
    return _table(lines)


def overhead(folder: Path = FOLDER) -> str:
    """One line an objective: its time over that of the independent training."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in json.loads((folder / "results" / "training_overhead.json").read_text())["rows"]:
        found.setdefault(row["method"], {})[row["metric"]] = row
    lines = [["", "a step", "with what is refreshed"], ["---", "---:", "---:"]]
    lines += [[f"`{method}`", *(_spread(own[m]) for m in ("step_ratio", "ratio"))] for method, own in found.items()]
    return _table(lines)


def _times(folder: Path) -> dict[str, str]:
    path = folder / "results" / "training_overhead.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    return {row["method"]: f"{row['value']:.2f}" for row in rows if row["metric"] == "ratio"}


def _metrics(found: Mapping[str, Rows]) -> list[str]:
    return list(dict.fromkeys(r["metric"] for rows in found.values() for r in rows if r["cell"] == "new/new"))


def _label(metric: str) -> str:
    kind, _, k = metric.partition("_at_")
    label = {"cmc": "CMC", "recall": "R", "map": "mAP"}[kind]
    return f"{label}@{k}" if k else label


def _of(rows: Rows, cell: str, metric: str) -> Rows:
    return [r for r in rows if (r["cell"], r["metric"]) == (cell, metric)]


def _by_seed(rows: Rows, cell: str, metric: str) -> dict[int, float]:
    return {r["seed"]: r["value"] for r in _of(rows, cell, metric)}


def _parts(rows: Rows, metric: str, paragons: Mapping[int, float]) -> list[tuple[float, float, float, float]]:
    """Self-test, cross-test, status quo and paragon of each seed that has one."""
    own, crossed, old = (_by_seed(rows, cell, metric) for cell in ("new/new", "new/old", "old/old"))
    return [(own[seed], crossed[seed], old[seed], paragons[seed]) for seed in own if seed in paragons]


def _answered(rows: Rows, summary: Summary) -> str:
    if not rows:
        return ""
    crossed = [r for r in rows if r["cell"] == "new/old"]
    said = _answers(crossed)
    if len({r["compatible"] for r in crossed}) > 1:
        said = f"{_of_means(crossed)}; {said}"
    return f"{summary(rows)}{f' ({said})' if said else ''}"


def _answers(rows: Rows) -> str:
    """What the seeds say to whether old rows are searched better, each answer once."""
    answers = [r["compatible"] for r in rows]
    each = list(dict.fromkeys(answers))
    return ", ".join(a if len(each) == 1 else f"{a} {answers.count(a)}×" for a in each)


def _of_means(rows: Rows) -> str:
    """Whether the mean over seeds is above the old model's: by the mean of the seeds' intervals over queries, which is at
    least as wide as the interval of the mean."""
    low, high = (mean(r[f"difference_{end}"] for r in rows) for end in ("low", "high"))
    return "yes" if low > 0 else "no" if high < 0 else "undecided"


def _mean(values: Sequence[float]) -> str:
    """Over seeds, with the standard deviation where there are several."""
    if not values:
        return ""
    return f"{mean(values):.3f}" if len(values) == 1 else f"{mean(values):.3f} (σ {stdev(values):.3f})"


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_shown(value)}" for key, value in settings.items()) or "defaults"


def _shown(value: Any) -> str:
    return "/".join(map(_shown, value)) if isinstance(value, list) else f"{value:g}"


def _spread(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.2f} ({row['low']:.2f} … {row['high']:.2f})"


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
