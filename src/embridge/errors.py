"""Every error the library raises on purpose.

```
EmbridgeError                 exit code 1
├── InvalidInput              data that cannot be used: NaN, wrong shape or dtype, duplicate ids, empty, unreadable
├── SettingsError             a settings file or an argument that does not say what it must       exit code 2
│   └── MissingSetting        data of which a setting has to say more (also an InvalidInput)      exit code 2
├── GateRefused               a measured quality gate was not met                                 exit code 3
├── SpaceMismatch             vectors of two spaces were about to meet                            exit code 4
│   └── WrongDirection        an upgrade was used the other way round                             exit code 4
├── ArtefactError             a saved upgrade or report that is truncated, altered or foreign
├── ServiceError              a model behind HTTP that refuses, stays silent, or answers with something else
├── StoreError                a vector store that cannot be opened, read or written
├── WorkerError               workers that end more often than may be, or that nobody gives
└── MissingExtra              an optional dependency is not installed (also an ImportError)
```

A message says what was expected, what came, and what to do.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import ClassVar

__all__ = [
    "ArtefactError",
    "EmbridgeError",
    "GateRefused",
    "InvalidInput",
    "MissingExtra",
    "MissingSetting",
    "ServiceError",
    "SettingsError",
    "SpaceMismatch",
    "StoreError",
    "WorkerError",
    "WrongDirection",
    "require",
]


class EmbridgeError(Exception):
    """Base of all errors of this library; ``exit_code`` is what the command line ends with."""

    exit_code: ClassVar[int] = 1


class InvalidInput(EmbridgeError, ValueError):
    """Data that cannot be used."""


class SettingsError(EmbridgeError, ValueError):
    """A settings file or an argument that does not say what it must."""

    exit_code = 2


class MissingSetting(SettingsError, InvalidInput):
    """Data of which a setting has to say more: in which columns things stand, of which model vectors are."""


class GateRefused(EmbridgeError):
    """A measured quality gate was not met."""

    exit_code = 3


class SpaceMismatch(EmbridgeError, ValueError):
    """Vectors of two spaces were about to meet without an adapter."""

    exit_code = 4


class WrongDirection(SpaceMismatch):
    """An upgrade was used the other way round."""


class ArtefactError(EmbridgeError, ValueError):
    """A saved artefact is truncated, altered, or not one of ours."""


class ServiceError(EmbridgeError):
    """A model behind HTTP refuses, stays silent, or answers with something else than vectors."""


class StoreError(EmbridgeError):
    """A vector store cannot be opened, read or written."""


class WorkerError(EmbridgeError):
    """Workers that do shards of work end more often than may be, or there is no place for them."""


class MissingExtra(EmbridgeError, ImportError):
    """An optional dependency is not installed."""


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Args:
        module: The module's full name.
        extra: The extra of this package that installs it.

    Returns:
        The module.

    Raises:
        MissingExtra: The module, or one it needs, is not installed.

    Examples:
        >>> require("nothing_of_this_name", extra="demo")
        Traceback (most recent call last):
        embridge.errors.MissingExtra: nothing_of_this_name is needed here ... install it with: pip install 'embridge[demo]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{module} is needed here and {error.name} is not installed; install it with: pip install 'embridge[{extra}]'"
        ) from error
