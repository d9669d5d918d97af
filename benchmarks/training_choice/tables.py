"""Table of the settings that were tried for each objective."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.record import FOLDER
from benchmarks.rendering.markdown import Rows, table


def choice(folder: Path = FOLDER) -> str:
    """One line an objective: the settings with the highest score on validation, and what else was tried."""
    by_method: dict[str, Rows] = {}
    for row in json.loads((folder / "results" / "training_choice.json").read_text())["rows"]:
        if row["metric"] == "p_1":
            by_method.setdefault(row["method"], []).append(row)
    lines = []
    for method, rows in by_method.items():
        best, *others = sorted(rows, key=lambda r: -r["value"])
        besides = "; ".join(f"{_settings(r['setting'])} ({r['value']:.3f})" for r in others)
        lines.append([f"`{method}`", _settings(best["setting"]), f"{best['value']:.3f}", besides])
    return table(["", "chosen", "P_1", "tried besides"], lines, words=(0, 1, 3))


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_shown(value)}" for key, value in settings.items()) or "defaults"


def _shown(value: Any) -> str:
    return "/".join(map(_shown, value)) if isinstance(value, list) else f"{value:g}"


TABLES = {"training-choice": choice}
