"""Where figures come from: library versions, the machine, and a fingerprint of the data."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from embridge.evaluation.sides import Side

__all__ = ["environment", "fingerprint", "processor"]

_LIBRARIES = ("embridge", "numpy", "torch", "transformers", "sentence-transformers", "faiss-cpu", "lancedb")


def environment() -> dict[str, Any]:
    """Python, the versions of the libraries that are installed, the processor, and how many there are."""
    return {
        "python": platform.python_version(),
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
        "cpu": processor(),
        "cores": os.cpu_count(),
    }


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.exists() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def fingerprint(side: Side) -> str:
    """Sixteen hexadecimal digits of the ids and vectors of queries and gallery: other data, other digits."""
    digest = hashlib.blake2b(digest_size=8)
    for rows in (side.queries, side.gallery):
        digest.update(f"{len(rows)} {[len(name) for name in rows.ids]}".encode())
        digest.update("".join(rows.ids).encode("utf-8", "surrogatepass"))
        for part in rows.chunks(65_536):
            digest.update(part.vectors.tobytes())
    return digest.hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
