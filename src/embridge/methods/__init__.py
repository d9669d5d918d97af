"""Maps between frozen encoders, one paper a file; `make` finds them by name and imports only the one asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from importlib import import_module
from typing import Any, get_type_hints

from embridge.errors import SettingsError, require
from embridge.methods.base import Method, Pairs
from embridge.methods.record import MethodRecord
from embridge.methods.training_settings import Training

__all__ = ["METHODS", "Method", "MethodRecord", "Pairs", "Training", "checked", "configured", "make", "record_of"]

METHODS: dict[str, MethodRecord] = {
    "choose": MethodRecord("embridge.methods.choose", "Choose", "trained", directions=("backward", "forward")),
    "procrustes": MethodRecord("embridge.methods.procrustes", "Procrustes", "closed form", linear=True),
    "whitened-procrustes": MethodRecord(
        "embridge.methods.whitened_procrustes", "WhitenedProcrustes", "closed form", linear=True
    ),
    "reweighted-procrustes": MethodRecord(
        "embridge.methods.reweighted_procrustes", "ReweightedProcrustes", "closed form", linear=True
    ),
    "ridge": MethodRecord("embridge.methods.ridge", "Ridge", "closed form", linear=True),
    "low-rank": MethodRecord("embridge.methods.low_rank", "LowRank", "closed form", linear=True, finetunable=False),
    "identity": MethodRecord(
        "embridge.methods.identity_map",
        "IdentityMap",
        "closed form",
        linear=True,
        finetunable=False,
        needs=frozenset({"pairs", "one dim"}),
    ),
    "mean-shift": MethodRecord(
        "embridge.methods.mean_shift", "MeanShift", "closed form", linear=True, needs=frozenset({"pairs", "one dim"})
    ),
    "mlp": MethodRecord("embridge.methods.residual_mlp", "ResidualMLP", "trained", extra="train"),
    "lambda-orthogonal": MethodRecord(
        "embridge.methods.lambda_orthogonal",
        "LambdaOrthogonal",
        "trained",
        extra="train",
        linear=True,
        directions=("backward", "forward"),
        uses=frozenset({"labels"}),
    ),
    "neighbour-map": MethodRecord(
        "embridge.methods.neighbour_map", "NeighbourMap", "trained", extra="train", linear=True
    ),
    "xbt": MethodRecord(
        "embridge.methods.xbt",
        "XBT",
        "trained",
        extra="train",
        uses=frozenset({"real pairs"}),
        fitted_on=frozenset({"text"}),
    ),
    "fct": MethodRecord(
        "embridge.methods.fct", "FCT", "trained", extra="train", directions=("forward",), finetunable=False
    ),
    "fastfill": MethodRecord(
        "embridge.methods.fastfill",
        "FastFill",
        "trained",
        extra="train",
        directions=("forward",),
        finetunable=False,
        uses=frozenset({"labels"}),
    ),
}


def record_of(name: str) -> MethodRecord:
    """Look up what the method of that name can do.

    Args:
        name: One of `METHODS`.

    Returns:
        Its record.

    Raises:
        SettingsError: There is no such method.

    Examples:
        >>> record_of("procrustes").linear
        True
    """
    if name not in METHODS:
        raise SettingsError(f"a method is one of {', '.join(METHODS)}; came {name!r}")
    return METHODS[name]


def make(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """Make a method by its name.

    Args:
        name: One of `METHODS`.
        settings: Its settings, as a YAML file has them; what is left out keeps its default.

    Returns:
        The method, a frozen dataclass of its settings.

    Raises:
        SettingsError: The name or a setting is unknown, or a setting is of another type.
        MissingExtra: The method needs an extra that is not installed.

    Examples:
        >>> make("procrustes", {"center": False})
        Procrustes(center=False, validation_fraction=0.1)
    """
    record = record_of(name)
    if record.extra is not None:
        require("torch", extra=record.extra)
    method: Method = configured(name, getattr(import_module(record.module), record.attribute), settings or {})
    return method


def configured(name: str, kind: type[Any], settings: Mapping[str, Any]) -> Any:
    """Make a frozen dataclass of settings from what a YAML file says.

    A setting that is a dataclass itself takes a mapping, and keeps its default for what that leaves out.

    Args:
        name: What messages call it.
        kind: The dataclass.
        settings: Values by name.

    Returns:
        The dataclass, with its defaults for what is left out.

    Raises:
        SettingsError: A setting is unknown, in the wrong place, or of another type.

    Examples:
        >>> configured("ridge", type(make("ridge")), {"penalty": 0.1}).penalty
        0.1
    """
    return kind(**_values(name, kind, settings))


def _values(name: str, kind: type[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {field.name: field.default for field in fields(kind)}
    _require_known(name, defaults, settings)
    nested = {k: defaults[k] for k, v in settings.items() if is_dataclass(defaults[k]) and isinstance(v, Mapping)}
    flat = {key: value for key, value in settings.items() if key not in nested}
    values: dict[str, Any] = checked(name, get_type_hints(kind), flat)
    for key, default in nested.items():
        values[key] = replace(default, **_values(f"{name}.{key}", type(default), settings[key]))
    return values


def _require_known(name: str, defaults: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    unknown = sorted(settings.keys() - defaults.keys())
    for group, default in defaults.items():
        inner = {field.name for field in fields(default)} if is_dataclass(default) else set()
        for key in inner & set(unknown):
            raise SettingsError(f"{name}: {key} is a setting of {group}: write {group}: {{{key}: {settings[key]!r}}}")
    if unknown:
        raise SettingsError(f"{name} has no setting {', '.join(unknown)}; it has {[*defaults]}")


def checked(name: str, hints: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check that settings are of the types that are hinted.

    Args:
        name: What messages call the thing that is set.
        hints: The type of every setting.
        settings: Values as a YAML file has them; a list stands for a tuple.

    Returns:
        The values, of those types.

    Raises:
        SettingsError: A value is of another type.

    Examples:
        >>> checked("ridge", {"penalties": tuple[float, ...]}, {"penalties": [0.1, 1.0]})
        {'penalties': (0.1, 1.0)}
    """
    from pydantic import TypeAdapter, ValidationError  # importing the package stays light

    values = {}
    for key, value in settings.items():
        value = tuple(value) if isinstance(value, list) else value  # YAML and JSON have no tuples
        try:
            values[key] = TypeAdapter(hints[key]).validate_python(value, strict=True)
        except ValidationError as error:
            raise SettingsError(f"{name}: {key}: {error.errors()[0]['msg']}, came {value!r}") from error
    return values
