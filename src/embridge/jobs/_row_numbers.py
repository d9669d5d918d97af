"""Rows of files without ids are named by their numbers; judgements by other numbers are noticed."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path

from embridge.evaluation import Side
from embridge.evaluation.relevance import AnyRelevance, Relevance
from embridge.settings import Settings
from embridge.vector_files import has_ids

__all__ = ["numbered_files", "warn_of_other_numbers"]


def numbered_files(settings: Settings) -> dict[str, list[Path]]:
    """The files of queries and of the gallery that hold no ids."""
    sides = [side for side in (settings.old, settings.new) if side.encoder is None]
    named = {key: [getattr(side, key) for side in sides] for key in ("queries", "gallery")}
    return {key: [file for file in files if file is not None and not has_ids(file)] for key, files in named.items()}


def warn_of_other_numbers(settings: Settings, relevance: AnyRelevance, side: Side) -> None:
    """Warn where judged ids are not the row numbers, from 0, by which files without ids are asked."""
    if not isinstance(relevance, Relevance):
        return
    judged = {
        "queries": set(relevance.gains),
        "gallery": {name for items in relevance.gains.values() for name in items},
    }
    rows = {"queries": len(side.queries), "gallery": len(side.gallery)}
    for key, files in numbered_files(settings).items():
        outside = judged[key] - set(map(str, range(rows[key])))
        from_one = _counts_from_one(judged[key], rows[key])
        if files and (outside or from_one):
            what = "queries" if key == "queries" else "items"
            warnings.warn(
                f"{' and '.join(file.name for file in files)} hold no ids, so rows are asked for by row number, 0 to "
                f"{rows[key] - 1}; {len(outside)} of {len(judged[key])} judged {what} have no such row"
                + (", and the judgements seem to count from 1" if from_one else "")
                + ". Write the vectors with their ids (embridge.write_vectors)",
                stacklevel=3,
            )


def _counts_from_one(names: Collection[str], rows: int) -> bool:
    """No name is 0, and they are all numbers up to their count, or reach the number after the last row's."""
    numbers = {int(name) for name in names if name.isascii() and name.isdecimal()}
    if len(numbers) < max(2, len(names)) or min(numbers) != 1:
        return False
    return max(numbers) in (len(numbers), rows)
