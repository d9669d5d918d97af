"""Tables of regret: what the best candidate finds on judged queries, less what the chosen one finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from statistics import mean

from benchmarks.rendering.markdown import Row, result, table

_DATA = {
    "cranfield": "Cranfield, nDCG@10",
    "vaswani": "Vaswani, nDCG@10",
    "banking77": "Banking77, 1-NN",
    "flickr8k": "Flickr8k, R@10",
    "lvis": "LVIS, R@1",
    "photos": "photos, R@1",
    "cifar100": "CIFAR-100, 1-NN",
}
_ALWAYS = ("procrustes", "whitened-procrustes", "neighbour-map", "ridge")

Draw = dict[str, Row]  # by method
Policy = Callable[[Draw], Row]


def _sets() -> dict[tuple[str, str, str], list[Draw]]:
    """The draws of every set, in the order of the results."""
    by_seed: dict[tuple[str, str, str], dict[int, Draw]] = {}
    for row in result("chooser"):
        key = tuple(row["setting"][part] for part in ("data", "old", "new"))
        by_seed.setdefault(key, {}).setdefault(row["seed"], {})[row["method"]] = row
    return {key: list(draws.values()) for key, draws in by_seed.items()}


def _candidates(draw: Draw) -> list[Row]:
    return [row for row in draw.values() if "reciprocal_rank" in row]


def _best(draw: Draw) -> Row:
    return max(_candidates(draw), key=lambda row: row["value"])


def _chosen(draw: Draw) -> Row:
    return next(row for row in draw.values() if row.get("chosen"))


def _by_own_rank(draw: Draw) -> Row:
    return max(_candidates(draw), key=lambda row: row["reciprocal_rank"])


def _always(name: str) -> Policy:
    return lambda draw: draw[name]


_POLICIES: dict[str, Policy] = {"the chooser": _chosen, "own-vector rank": _by_own_rank}
_POLICIES |= {f"always `{name}`": _always(name) for name in _ALWAYS}


def _regrets(draws: Iterable[Draw], policy: Policy) -> list[float]:
    return [_best(draw)["value"] - policy(draw)["value"] for draw in draws]


def _below(draws: Iterable[Draw], policy: Policy) -> int:
    """In how many draws the policy is below the old model, and a candidate is above it."""
    return sum(policy(draw)["value"] < draw["old"]["value"] < _best(draw)["value"] for draw in draws)


def policies() -> str:
    """One line a way to choose: its regret over all sets."""
    lines = []
    for name, policy in _POLICIES.items():
        by_set = [_regrets(draws, policy) for draws in _sets().values()]
        means = [mean(regrets) for regrets in by_set]
        worst = max(max(regrets) for regrets in by_set)
        below, count = sum(_below(draws, policy) for draws in _sets().values()), sum(map(len, by_set))
        lines.append([name, *(f"{value:.3f}" for value in (mean(means), max(means), worst)), f"{below} of {count}"])
    head = ["way to choose", "mean regret", "worst set", "worst draw", "below the old model, and need not be"]
    return table(head, lines)


def choices() -> str:
    """One line a set: what was there, what was taken, and what the best would have been."""
    lines = []
    for (data, old, new), draws in _sets().items():
        backfill = [draw["independent"]["value"] for draw in draws if "independent" in draw]
        regrets = _regrets(draws, _chosen)
        figures = [mean(row(draw)["value"] for draw in draws) for row in (_always("old"), _chosen, _best)]
        lines.append(
            [
                _DATA[data],
                f"{_short(old)} → {_short(new)}",
                *(f"{value:.3f}" for value in figures),
                f"{mean(backfill):.3f}" if backfill else "not measured",
                _counted(_chosen(draw)["method"] for draw in draws),
                _counted(_best(draw)["method"] for draw in draws),
                f"{mean(regrets):.3f}",
                f"{max(regrets):.3f}",
                str(_below(draws, _chosen)),
            ]
        )
    head = ["data", "models", "old model", "chosen", "best", "full backfill", "taken", "would be best"]
    return table([*head, "regret", "worst draw", "below the old model"], lines, words=(0, 1, 6, 7))


def regrets() -> str:
    """One line a set: the mean regret of each way to choose."""
    lines = [
        [f"{_DATA[data]}: {_short(old)} → {_short(new)}"]
        + [f"{mean(_regrets(draws, policy)):.3f}" for policy in _POLICIES.values()]
        for (data, old, new), draws in _sets().items()
    ]
    return table(["data and models", *_POLICIES], lines)


def retention() -> str:
    """One line a set: what `embridge fit` takes keeps of the new model, and of the way from the old index to a backfill."""
    lines = []
    for (data, old, new), draws in _sets().items():
        today, chosen = (mean(row(draw)["value"] for draw in draws) for row in (_always("old"), _chosen))
        backfill = [draw["independent"]["value"] for draw in draws if "independent" in draw]
        kept = ["not measured", "", ""]
        if backfill:
            gained = (chosen - today) / (mean(backfill) - today)
            kept = [f"{mean(backfill):.3f}", f"{chosen / mean(backfill):.0%}".replace("%", " %")]
            kept.append(f"{gained:.0%}".replace("%", " %") if mean(backfill) > today else "nothing to gain")
        lines.append([_DATA[data], f"{_short(old)} → {_short(new)}", f"{today:.3f}", f"{chosen:.3f}", *kept])
    return table(
        ["data", "models", "old model today", "bridge", "full backfill", "kept", "gap closed"], lines, words=(0, 1)
    )


_SAME_DIM = ("paraphrase-minilm-l3", "minilm-l6")
_FIRST = {
    "old model, old index (status quo)": ("old", "old"),
    "new model on the old index, no bridge": ("identity", "naive"),
    "`procrustes`, old index": ("procrustes", "procrustes"),
    "the bridge that `embridge fit` takes": ("choose", "xbt-stage1"),
    "new model, everything re-encoded": ("independent", "independent"),
}


def first() -> str:
    """Two models of one dimension, beside a pair that sees images: the same lines for both."""
    sets = {key[0]: draws for key, draws in _sets().items() if key[1:] == _SAME_DIM}
    photos = [row for row in result("flickr8k") if row["metric"] == "recall_at_10"]
    lines = []
    for label, (text, photo) in _FIRST.items():
        cells = [f"{mean(draw[text]['value'] for draw in sets[data]):.3f}" for data in ("cranfield", "banking77")]
        for direction in ("t2i", "i2t"):
            rows = [row for row in photos if (row["method"], row["direction"]) == (photo, direction)]
            cells.append(f"{mean(row['value'] for row in rows):.3f}")
        lines.append([label, *cells])
    head = ["", "text search, nDCG@10", "intents, 1-NN", "text finds photos, R@10", "photos find text, R@10"]
    return table(head, lines)


def _short(model: str) -> str:
    return model.removeprefix("mobilenet-")


def _counted(methods: Iterable[str]) -> str:
    return ", ".join(f"`{method}` {count}×" for method, count in Counter(methods).most_common())


TABLES = {
    "chooser": policies,
    "chooser-choices": choices,
    "chooser-regrets": regrets,
    "summary-chosen": retention,
    "readme-first": first,
}
