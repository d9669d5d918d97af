"""Telling what a file or folder is that holds no vectors: an upgrade, a report, a model, a cache, settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embridge.adapters.upgrade import MANIFEST, Upgrade
from embridge.errors import InvalidInput
from embridge.evaluation.report import OLD, UPGRADED
from embridge.evaluation.report_files import load_summary
from embridge.evaluation.summary import Summary
from embridge.jobs._describe_models import describe_lora, describe_model
from embridge.jobs._describe_settings import describe_settings
from embridge.jobs.description import Description
from embridge.vector_files import SUFFIXES

__all__ = ["describe"]

_REPORT = "report.json"
_SHARDS, _SHARD_ROWS = "shards.json", "vectors.f16"
_CHECKPOINT = "last.ckpt"
_LISTED = 12
_ELSEWHERE = {
    "fit.captions, evaluate.judged and other keys of a settings file": (".csv", ".tsv", ".jsonl", ".txt", ".json"),
    "a program that runs ONNX": (".onnx",),
    "a browser": (".html",),
}


def describe(path: Path | str) -> Description | None:
    """Tell what a file or folder is.

    Args:
        path: The file or folder.

    Returns:
        What it is, or none if it is a file of vectors or a store.

    Raises:
        ArtefactError: It is an upgrade, a report or a model that is truncated, altered or of another version.
        SettingsError: It is a settings file with mistakes.
        InvalidInput: It is nothing that embridge writes or reads.

    Examples:
        >>> from embridge import Space
        >>> from embridge.adapters import Identity, Prefix, Provenance
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> folder = Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix")).save("upgrade")
        >>> describe(folder).facts["dims"]
        '3 → 2'
    """
    path = Path(path)
    return _of_folder(path) if path.is_dir() else _of_file(path)


def _of_folder(path: Path) -> Description | None:
    if _is_store(path):
        return None
    for name, describe_kind in _FOLDERS.items():
        if (path / name).exists():
            return describe_kind(path)
    parts = sorted(child for child in path.iterdir() if not child.name.endswith(".tmp"))
    inside = {child.name: kind for child in parts if (kind := _kind_inside(child))}
    if not inside:
        names = ", ".join(child.name for child in parts[:_LISTED]) or "nothing"
        raise InvalidInput(
            f"{path} is no folder of embridge: expected a store, {MANIFEST} of an upgrade, a report, a model or captions "
            f"encoded once; it holds {names}"
        )
    if set(inside) == {_REPORT}:
        return _describe_report(path / _REPORT)
    listed = dict(list(inside.items())[:_LISTED])
    more = {} if len(inside) <= _LISTED else {"further entries": len(inside) - _LISTED}
    steps = [f"embridge inspect {path / name}" for name in list(listed)[:1]]
    return Description(str(path), "folder", {"holds": [f"{n}: {k}" for n, k in listed.items()]} | more, tuple(steps))


def _kind_inside(path: Path) -> str:
    """What an entry of a folder is, without opening it; empty if that cannot be told."""
    if path.is_dir():
        kinds = {MANIFEST: "an upgrade", _SHARDS: "captions encoded once", _CHECKPOINT: "checkpoints of a training"}
        kinds |= {_REPORT: "a report", "config.json": "a model"}
        own = [kind for name, kind in kinds.items() if (path / name).exists()]
        return own[0] if own else "a store" if _is_store(path) else ""
    if path.suffix in SUFFIXES and not _belongs_to_report(path):
        return "vectors"
    return "a report" if _is_report(path) else ""


def _of_file(path: Path) -> Description | None:
    if path.name == MANIFEST:
        return _describe_upgrade(path.parent)
    if path.suffix in (".yaml", ".yml"):
        return describe_settings(path)
    if _is_report(path):
        return _describe_report(path)
    if path.name.endswith(".npy.json") and path.with_suffix("").exists():
        raise InvalidInput(f"{path} holds the ids and the space of {path.with_suffix('').name}; inspect that file")
    if path.suffix in SUFFIXES:
        report = _belongs_to_report(path)
        return None if report is None else _describe_report(report)
    takers = [taker for taker, suffixes in _ELSEWHERE.items() if path.suffix in suffixes]
    raise InvalidInput(
        f"{path} is no file of vectors ({', '.join(SUFFIXES)}), report or settings file (.yaml)"
        + (f"; it is for {takers[0]}" if takers else "")
    )


def _is_store(path: Path) -> bool:
    """Whether a folder holds tables of LanceDB."""
    return any(path.glob("*.lance"))


def _is_report(path: Path) -> bool:
    return path.suffix == ".json" and str(_json(path).get("schema", "")).startswith("embridge.report/")


def _belongs_to_report(path: Path) -> Path | None:
    """The report whose values of every query a Parquet file holds."""
    report = path.with_suffix(".json")
    values = _json(report).get("values") if path.suffix == ".parquet" and report.is_file() else None
    return report if isinstance(values, Mapping) and values.get("file") == path.name else None


def _json(path: Path) -> dict[str, Any]:
    """What a file holds, or nothing if it is no JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _describe_upgrade(folder: Path) -> Description:
    upgrade = Upgrade.load(folder)
    provenance = upgrade.provenance
    maps = {"head": upgrade.head.kind, "bridge": upgrade.bridge.kind}
    facts = {
        "direction": f"{upgrade.direction}: " + _DIRECTIONS[upgrade.direction],
        "from": str(upgrade.bridge.source),
        "to": str(upgrade.bridge.target),
        "dims": f"{upgrade.bridge.source.dim} → {upgrade.bridge.target.dim}",
        "method": provenance.method,
        "maps": maps | ({"uncertainty": True} if upgrade.uncertainty is not None else {}),
        "LoRA": "none" if upgrade.lora is None else str(upgrade.lora),
        "encoders": dict(provenance.encoders),
        "fitted on": provenance.data or "not said",
        "made with": {name: provenance.versions[name] for name in ("embridge",) if name in provenance.versions},
        "figures": {n: v for n, v in provenance.figures.items() if isinstance(v, (str, bool, int, float))},
        "written": _written(folder / MANIFEST),
    }
    if (folder / _REPORT).is_file():
        summary = load_summary(folder / _REPORT)
        facts |= {"verdict": summary.outcome, "headline": _headline(summary)}
    if upgrade.direction == "backward":
        steps = [f"embridge search STORE QUERY --upgrade {folder}", f"embridge export {folder} --onnx FILE"]
    else:
        steps = ["map the stored gallery with upgrade.bridge, in Python"]
    measured = [] if "verdict" in facts else ["embridge evaluate SETTINGS, with `upgrade` set to this folder"]
    return Description(str(folder), "upgrade", facts, (*measured, *steps))


_DIRECTIONS = {
    "backward": "new queries search the old index as it is",
    "forward": "stored old vectors are mapped into the new space",
}


def _describe_report(path: Path) -> Description:
    summary = load_summary(path)
    about = summary.about
    facts = {
        "old": about.get("old"),
        "new": about.get("new"),
        "upgrade": about.get("upgrade"),
        "searches": [f"{a.title}: {a.queries:,} queries, {a.gallery:,} items, by {a.source}" for a in summary.asked],
        "cells": ", ".join(dict.fromkeys(cell for a in summary.asked for cell in a.cells)),
        "metrics": ", ".join(summary.metrics),
        "verdict": summary.outcome,
        "headline": _headline(summary),
        "gates": [f"{'met' if gate.passed else 'not met'}: {gate.gate}" for gate in summary.gates],
        "cautions": list(summary.cautions),
        "written": _written(path),
    }
    steps = [f"embridge report {path}{option}" for option in ("", " --page PAGE.html", " --compare OTHER.json")]
    return Description(str(path), "report", facts, tuple(steps))


def _headline(summary: Summary) -> list[str]:
    """What the bridge finds beside what the old model does, one line a direction, by the metric of the verdict."""
    cells = summary.headline()["cells"]
    lines = []
    for direction, figures in cells.items():
        if OLD in figures and UPGRADED in figures:
            old, new = (figures[cell][summary.main] for cell in (OLD, UPGRADED))
            where = f"{direction}: " if direction else ""
            lines.append(f"{where}{summary.main} {new:.3f} through the upgrade, {old:.3f} by the old model")
    return lines


def _describe_captions(folder: Path) -> Description:
    """Captions encoded once, for one space and role."""
    journal, vectors = _json(folder / _SHARDS), folder / _SHARD_ROWS
    space, shards = journal.get("space"), journal.get("crc32")
    dim = space.get("dim") if isinstance(space, dict) and isinstance(shards, list) else None
    if not isinstance(dim, int) or dim < 1 or not vectors.is_file():
        raise InvalidInput(f"{folder} is a cache of captions that is truncated or altered; delete that folder")
    facts = {
        "model": f"{journal['space'].get('model')}@{journal['space'].get('revision')}, dim {dim}",
        "role": journal.get("role"),
        "shards that are whole": len(journal["crc32"]),
        "vectors": vectors.stat().st_size // (2 * dim),
        "written": _written(folder / _SHARDS),
    }
    steps = ("embridge fit reads it, if model and captions are the same", "delete the folder to encode again")
    return Description(str(folder), "caption cache", facts, steps)


def _describe_checkpoints(folder: Path) -> Description:
    facts = {"training": folder.name.rpartition("-")[0] or folder.name, "written": _written(folder / _CHECKPOINT)}
    steps = ("the same embridge train or fit goes on from it", "delete the folder to begin again")
    return Description(str(folder), "checkpoints", facts, steps)


def _written(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M UTC")


_FOLDERS: dict[str, Callable[[Path], Description]] = {
    MANIFEST: _describe_upgrade,
    _SHARDS: _describe_captions,
    _CHECKPOINT: _describe_checkpoints,
    "adapter_config.json": describe_lora,
    "modules.json": describe_model,
    "open_clip_config.json": describe_model,
    "config.json": describe_model,
}
"""By the file that a folder of each kind has, the most telling first."""
