"""Fit every map of a list on the same pairs and judge it: what the benchmarks of maps between frozen encoders share."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.protocols.cells import report_rows
from benchmarks.record import read_config
from embridge import Upgrade
from embridge.errors import InvalidInput
from embridge.evaluation import MORE_CELLS, LabelRelevance, Relevance, Report, Scope, Side, evaluate
from embridge.methods import METHODS, Pairs, make

__all__ = ["Judged", "fitted", "map_rows", "read_maps", "rows_of_shares"]

_MAPS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())


def read_maps(name: str) -> dict[str, Any]:
    """A benchmark's settings with the methods of ``maps.toml`` before its own; those that this version lacks are left out."""
    config = read_config(name)
    listed = [*_MAPS["methods"], *config.get("methods", [])]
    for method in listed:
        if method["make"] not in METHODS:
            print(f"skipped: {method['name']}, for this version has no method {method['make']}", file=sys.stderr)
    return config | {"methods": [method for method in listed if method["make"] in METHODS]}


def fitted(
    methods: Sequence[Mapping[str, Any]], pairs: Pairs, *, seed: int
) -> Iterator[tuple[Mapping[str, Any], Upgrade, float]]:
    """Every method with its upgrade and the seconds that took; one that cannot use such pairs is named and left out."""
    for method in methods:
        began = perf_counter()
        try:
            upgrade = make(method["make"], method.get("settings")).fit(pairs, seed=seed)
        except InvalidInput as refusal:
            print(f"skipped: {method['name']}: {refusal}", file=sys.stderr)
            continue
        yield method, upgrade, perf_counter() - began


@dataclass(frozen=True)
class Judged:
    """What maps are judged by: queries and gallery as the old and the new model see them, what is right, and the scope."""

    sides: tuple[Side, Side]
    relevance: Relevance | LabelRelevance
    scope: Scope


def map_rows(
    pairs: Pairs,
    judged: Judged,
    methods: Sequence[Mapping[str, Any]],
    *,
    setting: Mapping[str, Any] | None = None,
    controls: Callable[..., Report] | None = None,
) -> list[dict[str, Any]]:
    """One row a method, cell, direction and metric.

    Cells that depend on no method come once, and so do the midpoint and the cascade: those of the first method.
    ``controls`` adds more of these: called with ``report`` and ``upgrade``, it returns the report with its cells.
    """
    rows, scope = [], judged.scope
    for number, (method, upgrade, seconds) in enumerate(fitted(methods, pairs, seed=scope.seed)):
        own = scope if number == 0 else replace(scope, cells=())
        report = evaluate(*judged.sides, upgrade, judged.relevance, scope=own)
        if controls is not None and number == 0:
            report = controls(report=report, upgrade=upgrade)
        added = report_rows(report, method, seed=scope.seed, seconds=seconds, controls=number == 0)
        rows += [row | {"setting": row["setting"] | dict(setting or {})} for row in added]
    return rows


def rows_of_shares(
    sides: tuple[Side, Side],
    relevance: Relevance | LabelRelevance,
    config: Mapping[str, Any],
    *,
    setting: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Every map fitted on a random share of the gallery (``fitted_share``), which is drawn anew for each seed."""
    rows: list[dict[str, Any]] = []
    old, new = (side.gallery for side in sides)
    for seed in range(config["seeds"]):
        order = np.random.default_rng(seed).permutation(len(old))
        drawn = np.sort(order[: round(config["fitted_share"] * len(old))])
        scope = Scope(metrics=config["metrics"], directions=[""], cells=tuple(MORE_CELLS), seed=seed)
        pairs, judged = Pairs(new.take(drawn), old.take(drawn)), Judged(sides, relevance, scope)
        rows += map_rows(pairs, judged, config["methods"], setting=setting)
    return rows
