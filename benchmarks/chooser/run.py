"""The default choice: which map does it take, and how much better would the best have been on judged queries?

Every set is a pair of models with judged queries, which no fit and no choice has seen: text search (Cranfield, Vaswani),
intents (Banking77), photos and captions (Flickr8k, both directions), names and images (LVIS), photos by photos, and
CIFAR-100 by class. The pairs are drawn anew for each seed. Nine tenths of them fit the candidates, and the last tenth is what
the chooser goes by. Each candidate is judged as it was fitted there, so that all have seen the same; ``choose`` is the upgrade
that the chooser returns, fitted on all pairs of the draw.

Beside the agreement of each candidate stands its own-vector reciprocal rank: the rank at which a held-out item finds its own
old vector. It was the chooser's score before.

Candidates that the chooser leaves out after a trial are fitted here all the same, for the first draw at least (``dear``), unless
they were far behind (``hopeless``).
A draw that is finished is kept under ``EMBRIDGE_CACHE``, and a run of the same commit skips it. ``--only`` measures some data
sets and writes no result: a run without it does, of what is kept and of what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.chooser.sets import SETS, Draw, JudgedSet, judged_sets
from benchmarks.record import commit, read_config, write_result
from embridge import Upgrade
from embridge.adapters.base import normalized
from embridge.atomic_write import atomic_file
from embridge.errors import InvalidInput
from embridge.evaluation import Report, bootstrap_mean
from embridge.methods import Pairs, make
from embridge.methods._candidates import Candidates
from embridge.methods.choose import CANDIDATES, Choice, Choose, choose
from embridge.progress import silent

Row = dict[str, Any]
_QUERIES, _POOL, _OFFSETS = 1_000, 5_000, 3  # of own-vector reciprocal ranks


@contextmanager
def watched() -> Iterator[dict[tuple[str, int], Upgrade]]:
    """What a chooser fits meanwhile, by name and number of pairs; nothing else about it changes."""
    fits: dict[tuple[str, int], Upgrade] = {}
    own = Candidates.fit_one

    def fit_one(self: Candidates, name: str, pairs: Pairs, progress: Any = silent) -> Upgrade:
        fits[name, len(pairs)] = own(self, name, pairs, progress)
        return fits[name, len(pairs)]

    Candidates.fit_one = fit_one
    try:
        yield fits
    finally:
        Candidates.fit_one = own


def fitted(
    choice: Choice, fits: Mapping[tuple[str, int], Upgrade], train: Pairs, config: Mapping[str, Any], seed: int
) -> dict[str, Upgrade]:
    """Every candidate as fitted on these pairs, and those that the chooser left out where they may still be the best."""
    upgrades = {}
    for candidate in choice.candidates:
        name = candidate.method
        if candidate.score is not None:
            upgrades[name] = fits[name, len(train)]
            continue
        trial = re.search(r"left out: ([\d.]+) behind", candidate.why)
        if trial and (float(trial[1]) > config["hopeless"] or (name in config["dear"] and seed > 0)):
            continue
        try:
            upgrades[name] = make(name).fit(train, seed=seed)
        except InvalidInput as refusal:
            print(f"  without {name}: {refusal}", file=sys.stderr)
    return upgrades


def reciprocal_rank(upgrade: Upgrade, train: Pairs, held_out: Pairs, *, cross_modal: bool, seed: int) -> float:
    """The mean of one over the rank of each held-out item's own old vector; across modalities half of queries that are moved."""
    (new, old), (_, known) = held_out.unit_rows(slice(_QUERIES)), train.unit_rows(slice(_POOL))
    pool = np.concatenate([old, known])
    offsets = np.random.default_rng(seed).standard_normal((_OFFSETS, new.shape[1])).astype(np.float32)
    moved = [normalized(new + offset) for offset in normalized(offsets)] if cross_modal else []

    def mean_of(queries: np.ndarray) -> float:
        scores = normalized(upgrade.bridge.apply(upgrade.head.apply(queries))) @ pool.T
        own = scores[np.arange(len(new)), np.arange(len(new))]
        return float((1 / (scores >= own[:, None]).sum(axis=1)).mean())

    plain = mean_of(new)
    return (plain + float(np.mean([mean_of(queries) for queries in moved]))) / 2 if moved else plain


def figures(draw: Draw, upgrades: Mapping[str, Upgrade], metric: str, seed: int) -> dict[str, dict[str, float]]:
    """The mean over directions, with its interval, of every upgrade, of the old model and, if there is one, of the backfill."""
    judged = draw.judge(upgrades)
    if isinstance(judged, Report):
        cells = {name: (judged, f"{name}/old") for name in upgrades} | {"independent": (judged, "new/new")}
        cells["old"] = judged, "old/old"
    else:
        cells = {name: (report, "new/old") for name, report in judged.items()}
        cells["old"] = next(iter(judged.values())), "old/old"
    return {name: _figure(report, cell, metric, seed) for name, (report, cell) in cells.items()}


def _figure(report: Report, cell: str, metric: str, seed: int) -> dict[str, float]:
    values = [report.values(direction, cell, metric) for direction in report.directions]
    weights = np.concatenate([np.full(len(v), 1 / len(v)) for v in values])
    groups, first = [], 0
    for direction, own in zip(report.directions, values, strict=True):
        groups.append(first + _groups(report, direction, len(own)))
        first += len(own)
    drawn = bootstrap_mean(np.concatenate(values), weights=weights, groups=np.concatenate(groups), seed=seed)
    return {"value": drawn.value, "low": drawn.low, "high": drawn.high}


def _groups(report: Report, direction: str, count: int) -> np.ndarray:
    groups = report.task(direction).groups
    return np.arange(count) if groups is None else np.asarray(groups)


def measure(judged: JudgedSet, seed: int, config: Mapping[str, Any]) -> list[Row]:
    """One row a candidate, and those of the old model, of the backfill and of the upgrade that was chosen."""
    draw, settings = judged.draw(seed), Choose(searches=judged.searches)
    with watched() as fits:
        choice = choose(draw.pairs, settings, seed=seed)
    train, held_out = draw.pairs.hold_out(settings.validation_fraction, seed=seed)
    upgrades = fitted(choice, fits, train, config, seed)
    chosen = {} if choice.upgrade is None else {"choose": choice.upgrade}
    setting = {"data": judged.data, "old": judged.old, "new": judged.new, "pairs": len(draw.pairs)}
    rows, by_name = [], {candidate.method: candidate for candidate in choice.candidates}
    for name, figure in figures(draw, upgrades | chosen, judged.metric, seed).items():
        cell = {"old": "old/old", "independent": "new/new"}.get(name, "new/old")
        row = {"method": name, "seed": seed, "setting": setting, "cell": cell, "direction": "", "metric": judged.metric}
        row |= figure
        if name in upgrades:
            candidate, cross_modal = by_name[name], settings.cross_modal
            row["agreement"] = None if candidate.score is None else candidate.score.value
            row["reciprocal_rank"] = reciprocal_rank(
                upgrades[name], train, held_out, cross_modal=cross_modal, seed=seed
            )
            row |= {"chosen": name == choice.method, "why": candidate.why, "seconds": round(candidate.seconds, 2)}
        if name == "old":
            row["agreement"] = None if choice.status_quo is None else choice.status_quo.value
            row |= {"chosen": choice.method is None}
            row["not_fitted"] = {n: by_name[n].why for n in CANDIDATES if n not in upgrades}
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS))
    only = parser.parse_args().only
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*pairs fit a map into.*")  # 700 pairs are what there is
    config, kept = read_config(Path(__file__).parent.name), finished()
    draws = [
        (seed, judged, kept / f"{judged.data} {judged.old} {judged.new} {seed}.json")
        for judged in judged_sets(config, only)
        for seed in range(config["draws"][judged.data])
    ]
    for seed, judged, path in sorted(draws, key=lambda draw: draw[0]):  # so that what is stopped has some of every set
        if not path.exists():
            print(path.stem, file=sys.stderr)
            with atomic_file(path) as temporary:
                temporary.write_text(json.dumps(measure(judged, seed, config)))
    if only == list(SETS):
        config |= {"candidates": CANDIDATES}
        write_result("chooser", config, [row for *_, path in draws for row in json.loads(path.read_text())])


def finished() -> Path:
    """The folder of finished draws."""
    folder = (
        Path(os.environ.get("EMBRIDGE_CACHE") or Path.home() / ".cache" / "embridge-benchmarks") / f"chooser-{commit()}"
    )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
