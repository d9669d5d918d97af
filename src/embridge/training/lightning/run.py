"""Run: where a training leaves its checkpoints, and who hears of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embridge.errors import SettingsError
from embridge.progress import Progress, silent

__all__ = ["UNRECORDED", "Run"]

_NAME_LETTERS = 16


@dataclass(frozen=True, slots=True)
class Run:
    """Where one training leaves its checkpoints, and who hears of its steps; none of it changes what is learnt.

    Attributes:
        folder: For the checkpoints of this training alone. A training that was killed goes on from there; a finished one is
            read again. None keeps no checkpoint.
        cache: A folder for many trainings, in the place of ``folder``: each has one of its own below it, named after all that
            decides its outcome.
        loggers: Loggers of Lightning.
        progress: Called after each step.

    Raises:
        SettingsError: Both ``folder`` and ``cache`` are given.

    Examples:
        >>> Run(folder="runs/first").folder
        'runs/first'
    """

    folder: Path | str | None = None
    cache: Path | str | None = None
    loggers: Sequence[Any] = ()
    progress: Progress = silent

    def __post_init__(self) -> None:
        if self.folder is not None and self.cache is not None:
            raise SettingsError(
                f"run: folder ({self.folder}) and cache ({self.cache}) are two ways to say one; give one"
            )

    def placed(self, kind: str, name: str) -> Run:
        """Settle which folder the checkpoints lie in, and make it.

        Args:
            kind: Of the training; its folder in a cache begins with it.
            name: A hash of all that decides the outcome.

        Returns:
            The same with a ``folder`` that is there, or with none.

        Raises:
            SettingsError: A file is in the way.
        """
        folder = self.folder if self.cache is None else Path(self.cache) / f"{kind}-{name[:_NAME_LETTERS]}"
        if folder is None:
            return self
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise SettingsError(f"{folder} cannot be a folder: a file is in the way; choose another name") from error
        return replace(self, folder=Path(folder), cache=None)


UNRECORDED = Run()
"""No checkpoints, no loggers, and nobody is told."""
