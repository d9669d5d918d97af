"""Settings of objectives: frozen dataclasses whose types say which values a setting may have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from embridge.errors import SettingsError

__all__ = ["BelowOne", "Count", "NotNegative", "Positive", "Rule", "Settings", "Share", "Whole", "check_settings"]

Rule = Literal[
    "above 0",
    "0 or more",
    "0 to 1",
    "above 0 and below 1",
    "at least 0 and below 1",
    "a whole number of at least 1",
    "a whole number of at least 2",
]
"""The range that a setting has to be in; none takes NaN or infinity."""

_RULES: dict[Rule, Callable[[float], bool]] = {
    "above 0": lambda value: 0 < value < float("inf"),
    "0 or more": lambda value: 0 <= value < float("inf"),
    "0 to 1": lambda value: 0 <= value <= 1,
    "above 0 and below 1": lambda value: 0 < value < 1,
    "at least 0 and below 1": lambda value: 0 <= value < 1,
    "a whole number of at least 1": lambda value: isinstance(value, int) and value >= 1,
    "a whole number of at least 2": lambda value: isinstance(value, int) and value >= 2,
}

Positive = Annotated[float, "above 0"]
"""A number above 0."""
NotNegative = Annotated[float, "0 or more"]
"""A number of 0 or more."""
Share = Annotated[float, "0 to 1"]
"""A number of 0 to 1, both allowed."""
BelowOne = Annotated[float, "at least 0 and below 1"]
"""A number of 0 to 1, 1 not allowed."""
Count = Annotated[int, "a whole number of at least 1"]
"""A whole number of 1 or more."""
Whole = Annotated[int, "0 or more"]
"""A whole number of 0 or more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one objective, checked against their types when they are made.

    A field of `Positive`, `NotNegative`, `Share`, `BelowOne`, `Count` or `Whole` is in that range; a ``Literal`` is one of its
    choices; a tuple has as many entries as its type. Errors name the class without its ``Settings``, or as
    ``objective`` says.

    Raises:
        SettingsError: A setting is out of its range or is no choice.

    Examples:
        >>> @dataclass(frozen=True, kw_only=True)
        ... class MineSettings(Settings):
        ...     weight: NotNegative = 1.0
        >>> MineSettings(weight=-1.0)
        Traceback (most recent call last):
        embridge.errors.SettingsError: mine: weight is 0 or more, came -1.0
    """

    objective: ClassVar[str] = ""

    def __post_init__(self) -> None:
        objective = self.objective or type(self).__name__.removesuffix("Settings").lower()
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            _check(objective, name, getattr(self, name), hint)


def check_settings(objective: str, rule: Rule, **settings: float) -> None:
    """Check that numbers keep to a rule.

    Args:
        objective: How the error calls the objective.
        rule: The range.
        settings: The numbers, by name.

    Raises:
        SettingsError: A number is out of the range.

    Examples:
        >>> check_settings("ract", "above 0", temperature=0.0)
        Traceback (most recent call last):
        embridge.errors.SettingsError: ract: temperature is above 0, came 0.0
    """
    for name, value in settings.items():
        if not _RULES[rule](value):
            raise SettingsError(f"{objective}: {name} is {rule}, came {value}")


def _check(objective: str, name: str, value: Any, hint: Any) -> None:
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Annotated:
        check_settings(objective, parts[1], **{name: value})
    elif kind is Literal:
        if value not in parts:
            raise SettingsError(f"{objective}: {name} is {', '.join(parts[:-1])} or {parts[-1]}, came {value!r}")
    elif kind is tuple:
        hints = parts[:1] * len(value) if parts[-1] is ... else parts
        if len(value) != len(hints):
            raise SettingsError(f"{objective}: {name} are {len(hints)} numbers, came {value}")
        for number, (part, entry) in enumerate(zip(hints, value, strict=True)):
            _check(objective, f"{name}[{number}]", entry, part)
    elif kind in (Union, UnionType) and value is not None:
        _check(objective, name, value, parts[0])
