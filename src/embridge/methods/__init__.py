"""Maps between frozen encoders, one paper a file; `make` finds them by name and imports only the one asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from embridge.errors import SettingsError, require
from embridge.methods.base import Method, Pairs

__all__ = ["METHODS", "Method", "Pairs", "make"]

METHODS: dict[str, tuple[str, str]] = {
    "procrustes": ("embridge.methods.procrustes", "Procrustes"),
    "xbt": ("embridge.methods.xbt", "XBT"),
}

_TRAINED = frozenset({"xbt"})


def make(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """A method by name with its settings; raises `SettingsError` for an unknown name or setting.

    >>> make("procrustes", {"center": False})
    Procrustes(center=False, validation_fraction=0.1)
    """
    if name not in METHODS:
        raise SettingsError(f"a method is one of {', '.join(METHODS)}; came {name!r}")
    if name in _TRAINED:
        require("torch", extra="train")
    module, attribute = METHODS[name]
    try:
        method: Method = getattr(import_module(module), attribute)(**(settings or {}))
    except TypeError as error:
        raise SettingsError(f"{name}: {error}") from error
    return method
