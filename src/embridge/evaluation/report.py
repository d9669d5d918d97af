"""Report: what was measured, query by query, and what follows from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embridge.errors import ArtefactError, InvalidInput
from embridge.evaluation.compatibility import Comparison, compatible, flip_rates
from embridge.evaluation.metrics import recall_at_k
from embridge.evaluation.statistics import Interval, bootstrap_mean
from embridge.files import atomic_file
from embridge.shapes import Float64, Int64

__all__ = ["DIRECTIONS", "SCHEMA", "Cell", "Report"]

SCHEMA = "embridge.report/1"
DIRECTIONS = {"t2i": "text to image", "i2t": "image to text", "": "search"}


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """One (query model, gallery model) pair in one direction: where each query found its first right item.

    name: ``old/old``, ``new/old``, ``new/new``, ``naive`` or a control's; first_hits: rank from 1, 0 for not found
    within the depth searched.
    """

    direction: str
    name: str
    first_hits: Int64[np.ndarray, " q"]

    def values(self, k: int) -> Float64[np.ndarray, " q"]:
        """Recall@k of every query."""
        return recall_at_k(self.first_hits, k)


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Per-query values of every cell; all figures are computed from them, so any of them can be computed again."""

    cells: tuple[Cell, ...]
    query_ids: Mapping[str, tuple[str, ...]]
    ks: tuple[int, ...] = (1, 5, 10)
    seed: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for cell in self.cells:
            if len(cell.first_hits) != len(self.query_ids.get(cell.direction, ())):
                raise InvalidInput(f"cell {cell.direction} {cell.name}: one value a query of that direction is needed")

    @property
    def directions(self) -> tuple[str, ...]:
        """In the order of the cells."""
        return tuple(dict.fromkeys(cell.direction for cell in self.cells))

    def names(self, direction: str) -> tuple[str, ...]:
        """The cells of a direction, in order."""
        return tuple(cell.name for cell in self.cells if cell.direction == direction)

    def cell(self, direction: str, name: str) -> Cell:
        """The named cell; raises `InvalidInput` where there is none."""
        for cell in self.cells:
            if (cell.direction, cell.name) == (direction, name):
                return cell
        raise InvalidInput(f"no cell {name!r} in direction {direction!r}; there are {[*self.names(direction)]}")

    def recall(self, direction: str, name: str, k: int) -> Interval:
        """Recall@k of a cell, with its 95 % bootstrap interval."""
        return bootstrap_mean(self.cell(direction, name).values(k), seed=self.seed)

    def compatible(self, direction: str, k: int, name: str = "new/old") -> Comparison:
        """The cell against ``old/old`` at Recall@k."""
        new_old, old_old = (self.cell(direction, n).values(k) for n in (name, "old/old"))
        return compatible(new_old, old_old, seed=self.seed)

    def flips(self, direction: str, k: int, name: str = "new/old") -> tuple[float, float]:
        """(negative, positive) flip rates of the cell against ``old/old`` at Recall@k."""
        return flip_rates(self.cell(direction, name).values(k), self.cell(direction, "old/old").values(k))

    def figures(self) -> dict[str, dict[str, dict[str, float]]]:
        """``figures()[direction][cell]["recall_at_10"]``, rounded to six places."""
        return {
            d: {
                n: {f"recall_at_{k}": round(float(self.cell(d, n).values(k).mean()), 6) for k in self.ks}
                for n in self.names(d)
            }
            for d in self.directions
        }

    def compatibility(self) -> dict[str, dict[str, str]]:
        """``compatibility()[direction]["recall_at_10"]``: yes, no or undecided."""
        return {d: {f"recall_at_{k}": self.compatible(d, k).answer for k in self.ks} for d in self.directions}

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON: the per-query values, and for readers the figures that follow from them."""
        summary = [_summary(self, d, n, k) for d in self.directions for n in self.names(d) for k in self.ks]
        return {
            "schema": SCHEMA,
            "about": dict(self.about),
            "seed": self.seed,
            "ks": list(self.ks),
            "query_ids": {d: list(ids) for d, ids in self.query_ids.items()},
            "cells": [
                {"direction": c.direction, "name": c.name, "first_hits": c.first_hits.tolist()} for c in self.cells
            ],
            "summary": summary,
        }

    def save(self, path: Path | str) -> Path:
        """Write the JSON, whole or not at all."""
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict()))
        return Path(path)

    @classmethod
    def load(cls, path: Path | str) -> Report:
        """Read what `save` wrote; raises `ArtefactError` for anything else."""
        try:
            read = json.loads(Path(path).read_text())
            if read["schema"] != SCHEMA:
                raise ArtefactError(f"{path}: expected schema {SCHEMA}, came {read['schema']!r}")
            cells = tuple(Cell(c["direction"], c["name"], np.asarray(c["first_hits"], np.int64)) for c in read["cells"])
            ids: dict[str, Sequence[str]] = read["query_ids"]
            return cls(cells, {d: tuple(i) for d, i in ids.items()}, tuple(read["ks"]), read["seed"], read["about"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ArtefactError):
                raise
            raise ArtefactError(f"{path} is not a whole report ({error!r}); evaluate again") from error


def _summary(report: Report, direction: str, name: str, k: int) -> dict[str, Any]:
    row: dict[str, Any] = {"direction": direction, "cell": name, "metric": f"recall_at_{k}"}
    row |= asdict(report.recall(direction, name, k))
    if name != "old/old":
        comparison, (negative, positive) = report.compatible(direction, k, name), report.flips(direction, k, name)
        row |= {"compatible": comparison.answer, "difference": asdict(comparison.difference)}
        row |= {"negative_flip_rate": negative, "positive_flip_rate": positive}
    return row
