"""Provenance: where an upgrade and its figures come from, with the versions of libraries and the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from embridge.errors import InvalidInput

__all__ = ["Provenance", "environment", "library_versions", "processor"]

_MADE_WITH = ("embridge", "numpy", "torch")
_LIBRARIES = ("embridge", "numpy", "torch", "transformers", "sentence-transformers", "faiss-cpu", "lancedb")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an upgrade comes from: enough to make it again and to explain it.

    Attributes:
        method: The method's name.
        settings: Its settings, as plain JSON.
        seed: What its random draws began with.
        data: A fingerprint of what it was fitted on.
        versions: Python and the libraries it was made with.
        figures: What was measured while fitting, as plain JSON.
        encoders: The ``old`` and the ``new`` encoder as `embridge.encoders.load` takes them, where they are known.

    Raises:
        InvalidInput: A field is of another type, as in a file that was edited.

    Examples:
        >>> Provenance("procrustes", settings={"center": False}).seed
        0
    """

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    data: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    encoders: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        texts = {"method": self.method, "data": self.data}
        named = {
            "settings": self.settings,
            "versions": self.versions,
            "figures": self.figures,
            "encoders": self.encoders,
        }
        wrong = [name for name, value in texts.items() if not isinstance(value, str)]
        wrong += [name for name, value in named.items() if not isinstance(value, Mapping)]
        if isinstance(self.encoders, Mapping) and not all(isinstance(name, str) for name in self.encoders.values()):
            wrong.append("encoders")
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            wrong.append("seed")
        if wrong:
            raise InvalidInput(f"a provenance has texts, a seed and named values; its {wrong[0]} is none of these")


def library_versions() -> dict[str, str]:
    """What a provenance says of the software it was made with.

    Returns:
        Python's version, and those of the libraries that vectors depend on, by name.

    Examples:
        >>> sorted(library_versions())[:3]
        ['embridge', 'numpy', 'python']
    """
    found = {"python": platform.python_version()}
    return found | {name: number for name in _MADE_WITH if (number := _version(name))}


def environment() -> dict[str, Any]:
    """Software and machine, for figures that are to be compared.

    Returns:
        Python, the versions of the libraries that are installed, the processor, and how many there are.

    Examples:
        >>> list(environment())
        ['python', 'libraries', 'cpu', 'cores']
    """
    return {
        "python": platform.python_version(),
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
        "cpu": processor(),
        "cores": os.cpu_count(),
    }


def processor() -> str:
    """The processor's name, as far as the system tells it.

    Returns:
        The name; that of the architecture where there is no other.

    Examples:
        >>> bool(processor())
        True
    """
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.exists() else []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
