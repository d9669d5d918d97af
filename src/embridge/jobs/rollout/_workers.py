"""Workers of a backfill: each opens what the settings name, loads the new model once, and fills batches."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from embridge.errors import SettingsError
from embridge.jobs._shared_store import require_shared
from embridge.jobs.rollout.opened import OpenRollout, open_rollout
from embridge.progress import Progress
from embridge.rollout._batch import Batch, Filled, Filling
from embridge.rollout.backfill import Backfill
from embridge.scale import Engine, SerialEngine

__all__ = ["BackfillWorker", "backfill_of"]


@dataclass(frozen=True, slots=True)
class BackfillWorker:
    """Prepares a worker, which finds the same settings, upgrade, model and store at the same places.

    Attributes:
        settings: The rollout's file.
        settings_hash: Of what it says.
        folder: Where relative names of models count from.

    Examples:
        >>> BackfillWorker(Path("rollout.yaml"), "", ".")()
        Traceback (most recent call last):
        embridge.errors.SettingsError: rollout.yaml ...
    """

    settings: Path
    settings_hash: str
    folder: str

    def __call__(self) -> Filling:
        """Open all that batches need."""
        if Path(self.folder).is_dir():
            os.chdir(self.folder)
        opened = open_rollout(self.settings)
        if opened.settings_hash != self.settings_hash:
            raise SettingsError(
                f"{self.settings} says something else where the worker runs, or was changed meanwhile; apply again"
            )
        return opened.filling(opened.encoder())


def backfill_of(opened: OpenRollout, progress: Progress) -> Backfill:
    """The backfill of a rollout, whose batches are done by the workers of its engine.

    Args:
        opened: The rollout.
        progress: Hears of a model that is loaded.

    Returns:
        The backfill.

    Raises:
        SettingsError: Workers are other processes, and only one may open the store.

    Examples:
        >>> backfill_of.__name__
        'backfill_of'
    """
    if isinstance(opened.engine, SerialEngine):
        return opened.backfill(opened.encoder(progress))
    require_shared(opened.settings.store, opened.engine)
    worker = BackfillWorker(opened.path.resolve(), opened.settings_hash, str(Path.cwd()))
    return opened.backfill(spread=partial(_spread, opened.engine, worker))


def _spread(
    engine: Engine, worker: BackfillWorker, batches: Iterable[Batch]
) -> Generator[tuple[Batch, Filled], None, None]:
    yield from engine.run(worker, batches)
