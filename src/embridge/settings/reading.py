"""Reading a YAML settings file: every key is known, every path made absolute, every error one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from embridge.encoders import PROVIDERS
from embridge.encoders._local import is_path
from embridge.errors import SettingsError
from embridge.settings._yaml_file import read_yaml
from embridge.stores import absolute_url

__all__ = ["Strict", "checked_settings", "read_settings", "require_files"]

_NO_TEXT = frozenset({"string_type", "path_type"})
_Read = TypeVar("_Read", bound=BaseModel)


class Strict(BaseModel):
    """A section of a settings file: it has the keys that it says and no others.

    Attributes:
        renamed: Keys of earlier versions, and what they are called now.

    Examples:
        >>> class Point(Strict):
        ...     x: int
        >>> Point(x=1).x
        1
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    renamed: ClassVar[dict[str, str]] = {}  # a key of an earlier version, and what it is called now

    @model_validator(mode="before")
    @classmethod
    def _no_booleans_for_numbers(cls, values: Any) -> Any:
        """YAML reads yes, no, on and off as booleans, and a boolean would pass for 1 or 0."""
        for key in cls.model_fields.keys() & values.keys() if isinstance(values, dict) else ():
            value, types = values[key], set(_types(cls.model_fields[key].annotation))
            parts = value if isinstance(value, list | tuple) else [value]
            boolean = next((part for part in parts if isinstance(part, bool)), None)
            if boolean is not None and types & {int, float} and not types & {bool, Any}:
                raise ValueError(
                    f"{key}: YAML reads the boolean {str(boolean).lower()} there; put it in quotes if it is text"
                )
        return values


def read_settings(path: Path | str, kind: type[_Read]) -> _Read:
    """Read a YAML file as settings of one kind, with every path made absolute.

    Args:
        path: The file. Paths in it count from its folder.
        kind: The class of the settings.

    Returns:
        The settings, checked.

    Raises:
        SettingsError: The file is missing or no YAML, or a key is unknown, renamed, missing or wrong; the message names all.

    Examples:
        >>> from embridge.settings import Settings
        >>> _ = Path("settings.yaml").write_text("old: http:a@https://a.example/v1\\nnew: http:b@https://b.example/v1\\n")
        >>> read_settings("settings.yaml", Settings).fit.method
        'choose'
    """
    path = Path(path)
    read = read_yaml(path)
    if not isinstance(read, dict):
        keys = ", ".join(list(kind.model_fields)[:3])
        raise SettingsError(f"{path}: expected keys such as {keys}; came {_kind(read)}")
    return checked_settings(read, kind, folder=path.resolve().parent, where=str(path))


def checked_settings(values: dict[str, Any], kind: type[_Read], *, folder: Path, where: str) -> _Read:
    """Settings of one kind from keys and values, with every path made absolute.

    Args:
        values: What a file would hold.
        kind: The class of the settings.
        folder: What relative paths count from.
        where: What messages begin with.

    Returns:
        The settings, checked.

    Raises:
        SettingsError: A key is unknown, renamed, missing or wrong; the message names all.

    Examples:
        >>> from embridge.settings import FitSettings
        >>> checked_settings({"captions": "a.txt"}, FitSettings, folder=Path("/home/me"), where="here").captions
        PosixPath('/home/me/a.txt')
    """
    try:
        made: _Read = _resolve(kind.model_validate(values), folder)
    except ValidationError as error:
        raise SettingsError(f"{where}: {'; '.join(_line(one, kind) for one in error.errors())}") from error
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise SettingsError(f"{where}: {error}") from error
    return made


def _types(annotation: Any) -> Iterator[Any]:
    """All types in an annotation, such as those of a union."""
    yield annotation
    for part in get_args(annotation):
        yield from _types(part)


def _line(error: Any, kind: Any) -> str:
    """One error of pydantic as a person would say it; for a key that is not known, the one that is meant."""
    where = ".".join(map(str, error["loc"])) or "file"
    if error["type"] in _NO_TEXT and not isinstance(error["input"], dict | list | None):
        return f"{where}: expected text; YAML reads {_kind(error['input'])} there, put it in quotes"
    if error["type"] == "invalid_key":
        return f"expected keys that are text; YAML reads {_kind(error['input'])} as one, put it in quotes"
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg'].removeprefix('Value error, ')}"
    section = _section(kind, error["loc"][:-1])
    key, known = str(error["loc"][-1]), list(section.model_fields)
    if key in section.renamed:
        return f"{where}: this key is called {section.renamed[key]} now"
    near = difflib.get_close_matches(key, known, n=1)
    return f"{where}: there is no such key; " + (
        f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    )


def _kind(value: Any) -> str:
    """What YAML reads, in words."""
    if isinstance(value, bool | int | float | date):
        kinds: dict[type, str] = {bool: "the boolean", int: "the number", float: "the number"}
        return f"{kinds.get(type(value), 'the date')} {str(value)[:40].lower()}"
    return {dict: "keys", list: "a list", str: "a text", NoneType: "nothing"}.get(type(value), type(value).__name__)


def _section(kind: Any, path: tuple[str | int, ...]) -> Any:
    """The class of the settings under a path of keys."""
    for name in (part for part in path if isinstance(part, str)):
        annotation = kind.model_fields[name].annotation
        kind = next((a for a in (annotation, *get_args(annotation)) if hasattr(a, "model_fields")), None)
    return kind


def require_files(settings: BaseModel, *keys: str) -> None:
    """Require the files that settings name under some keys.

    Args:
        settings: What was read.
        *keys: Dotted keys; one that names nothing is passed over.

    Raises:
        SettingsError: A file does not exist.

    Examples:
        >>> from embridge.settings import FitSettings
        >>> require_files(FitSettings(captions="none.txt"), "captions")
        Traceback (most recent call last):
        embridge.errors.SettingsError: captions: none.txt does not exist
    """
    for key in keys:
        named: Any = settings
        for part in key.split("."):
            named = named[int(part)] if isinstance(named, tuple) else getattr(named, part, None)
        for path in named.values() if isinstance(named, dict) else [named]:
            try:
                missing = path is not None and not path.exists()
            except OSError as error:
                raise SettingsError(f"{key}: {error}") from error
            if missing:
                raise SettingsError(f"{key}: {path} does not exist")


def _with_folder(encoder: str, folder: Path) -> str:
    """The encoder's name with its folder made absolute; raises `SettingsError` for a folder that is not there."""
    name, _, model = encoder.partition(":")
    provider = PROVIDERS.get(name)
    if not model or provider is None or provider.over_http:
        return encoder
    if (folder / model).is_dir():
        return f"{name}:{folder / model}"
    architecture, colon, weights = model.partition(":")
    if (
        provider.takes_weight_files and colon
    ):  # a file of weights, else the tag of some: the encoder knows which there are
        return f"{name}:{architecture}:{folder / weights}" if (folder / weights).is_file() else encoder
    first, slash, _ = model.partition("/")
    if is_path(model) or provider.only_folders or (slash and (folder / first).is_dir()):
        raise SettingsError(f"{encoder}: there is no folder {folder / model}, and that is no id of the hub")
    return encoder


def _resolve(settings: Any, folder: Path) -> Any:
    """The same settings with every path made absolute, that of a model's folder too."""
    if isinstance(settings, BaseModel):
        changed = {name: _resolve(getattr(settings, name), folder) for name in type(settings).model_fields}
        if changed.get("encoder") is not None:
            changed["encoder"] = _with_folder(changed["encoder"], folder)
        if changed.get("store") is not None:
            changed["store"] = absolute_url(changed["store"], folder)
        return settings.model_copy(update=changed)
    if isinstance(settings, dict):
        return {key: _resolve(value, folder) for key, value in settings.items()}
    if isinstance(settings, tuple):
        return tuple(_resolve(value, folder) for value in settings)
    return folder / settings if isinstance(settings, Path) else settings
