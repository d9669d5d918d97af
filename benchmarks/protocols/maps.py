"""Fit every map of a list on the same pairs and judge it: what the benchmarks of maps between frozen encoders share."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.protocols.cells import report_rows
from benchmarks.record import read_config
from embridge import Upgrade
from embridge.errors import InvalidInput
from embridge.evaluation import LabelRelevance, Relevance, Report, Scope, Side, evaluate
from embridge.methods import METHODS, Pairs, make

__all__ = ["fitted", "map_rows", "read_maps"]

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


def map_rows(
    pairs: Pairs,
    sides: tuple[Side, Side],
    truth: Relevance | LabelRelevance,
    methods: Sequence[Mapping[str, Any]],
    *,
    scope: Scope,
    setting: Mapping[str, Any] | None = None,
    controls: Callable[..., Report] | None = None,
) -> list[dict[str, Any]]:
    """One row a method, cell, direction and metric.

    Cells that depend on no method come once, and so do the midpoint and the cascade: those of the first method.
    ``controls`` adds more of these: called with ``report`` and ``upgrade``, it returns the report with its cells.
    """
    rows = []
    for number, (method, upgrade, seconds) in enumerate(fitted(methods, pairs, seed=scope.seed)):
        report = evaluate(*sides, upgrade, truth, scope=scope if number == 0 else replace(scope, cells=()))
        if controls is not None and number == 0:
            report = controls(report=report, upgrade=upgrade)
        found = report_rows(report, method, seed=scope.seed, seconds=seconds, controls=number == 0)
        rows += [row | {"setting": row["setting"] | dict(setting or {})} for row in found]
    return rows
