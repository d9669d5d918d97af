"""Maps between frozen encoders, one paper a file; `make` finds them by name and imports only the one asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any, get_type_hints

from embridge.errors import SettingsError, require
from embridge.methods.base import Method, Pairs

__all__ = ["METHODS", "Method", "Pairs", "checked", "configured", "make"]

METHODS: dict[str, tuple[str, str]] = {
    "choose": ("embridge.methods.choose", "Choose"),
    "procrustes": ("embridge.methods.procrustes", "Procrustes"),
    "whitened-procrustes": ("embridge.methods.whitened_procrustes", "WhitenedProcrustes"),
    "ridge": ("embridge.methods.ridge", "Ridge"),
    "low-rank": ("embridge.methods.low_rank", "LowRank"),
    "mean-shift": ("embridge.methods.mean_shift", "MeanShift"),
    "mlp": ("embridge.methods.residual_mlp", "ResidualMLP"),
    "lambda-orthogonal": ("embridge.methods.lambda_orthogonal", "LambdaOrthogonal"),
    "xbt": ("embridge.methods.xbt", "XBT"),
    "fct": ("embridge.methods.fct", "FCT"),
    "fastfill": ("embridge.methods.fastfill", "FastFill"),
}

_TRAINED = frozenset({"mlp", "lambda-orthogonal", "xbt", "fct", "fastfill"})


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
    method: Method = configured(name, getattr(import_module(module), attribute), settings or {})
    return method


def configured(name: str, kind: type[Any], settings: Mapping[str, Any]) -> Any:
    """A frozen dataclass of hyper-parameters with those settings, as a YAML file has them.

    ``name`` is what messages call it. Raises `SettingsError` for an unknown setting, and for one of another type.
    """
    unknown = sorted(settings.keys() - {field.name for field in fields(kind)})
    if unknown:
        raise SettingsError(f"{name} has no setting {', '.join(unknown)}; it has {[f.name for f in fields(kind)]}")
    return kind(**checked(name, get_type_hints(kind), settings))


def checked(name: str, hints: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as a YAML file has them, each of the type that its hint says; raises `SettingsError` for another."""
    from pydantic import TypeAdapter, ValidationError  # importing the package stays light

    made = {}
    for key, value in given.items():
        value = tuple(value) if isinstance(value, list) else value  # YAML and JSON have no tuples
        try:
            made[key] = TypeAdapter(hints[key]).validate_python(value, strict=True)
        except ValidationError as error:
            raise SettingsError(f"{name}: {key}: {error.errors()[0]['msg']}, came {value!r}") from error
    return made
