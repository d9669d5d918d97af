"""What the dashboard shows: where the rollout stands, read at most every few seconds however many look."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

from embridge.adapters.upgrade import fingerprint
from embridge.errors import ArtefactError, EmbridgeError
from embridge.evaluation.report import Report
from embridge.evaluation.summarise import summarise
from embridge.evaluation.summary import Summary
from embridge.jobs.rollout import OpenRollout, Pace, RolloutStatus, status_of
from embridge.jobs.rollout.gating import named_report
from embridge.rollout.gates import RolloutGate, check_rollout_gates
from embridge.rollout.journal import current_state
from embridge.rollout.lease import current_holder
from embridge.rollout.shadow_figures import shadow_figures
from embridge.serve.opened import Opened
from embridge.settings.rollout import RolloutSettings, load_rollout_settings
from embridge.stores import Store

__all__ = ["Look", "Looks", "Required", "opened_rollout", "rollout_settings"]

_T = TypeVar("_T")
_FRESH_SECONDS, _GATES_SECONDS = 0.8, 30.0  # another worker's move shows within a second
_PATIENCE = 9  # times as long as reading took: looking costs a tenth of the time at most


@dataclass(frozen=True, slots=True)
class Required:
    """What the rollout's settings require, by the figures of a moment.

    Attributes:
        named: Whether there are such settings.
        gates: How each gate fares.
        summary: Of the report that the settings name.
        problem: Why either could not be had.
    """

    named: bool = False
    gates: tuple[RolloutGate, ...] = ()
    summary: Summary | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """Where the rollout stands.

    Attributes:
        status: The status; None where no store is served.
        rows_per_second: How fast rows get their new vector; 0 where nothing moves.
        holder: Which controller runs it; empty where none does.
        required: What the settings require.
    """

    status: RolloutStatus | None
    rows_per_second: float = 0.0
    holder: str = ""
    required: Required = Required()

    @property
    def seconds_left(self) -> float | None:
        """Until every row has a new vector; None where nothing moves."""
        if self.status is None or not self.rows_per_second:
            return None
        return max(0, self.status.rows - self.status.encoded) / self.rows_per_second


@dataclass(slots=True, eq=False)
class _Kept(Generic[_T]):
    """A value that is read again when it is too old; one thread reads, and the others go by what was read before."""

    read: Callable[[], _T]
    seconds: float
    _lock: Lock = field(default_factory=Lock, init=False)
    _value: _T | None = field(default=None, init=False)
    _until: float = field(default=0.0, init=False)

    def __call__(self) -> _T:
        value = self._value
        if not self._lock.acquire(blocking=value is None):
            assert value is not None
            return value
        try:
            if self._value is None or time.monotonic() >= self._until:
                began = time.monotonic()
                self._value = self.read()
                ended = time.monotonic()
                self._until = ended + max(self.seconds, _PATIENCE * (ended - began))
            return self._value
        finally:
            self._lock.release()

    def forget(self) -> None:
        self._until = 0.0


class Looks:
    """Looks at the rollout of what is served, shared by all who look.

    Args:
        opened: What is served.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened, self._pace = opened, Pace()
        self._looks = _Kept(self._read, _FRESH_SECONDS)
        self._required = _Kept(self._read_required, _GATES_SECONDS)
        self._stamp: tuple[Path, int] | None = None
        self._report: tuple[Report | None, Summary | None] = (None, None)

    def now(self) -> Look:
        """Where the rollout stands, a few seconds old at most; raises `StoreError` where the store does not answer."""
        return self._looks()

    def forget(self) -> None:
        """Look anew the next time: the rollout moved."""
        self._looks.forget()
        self._required.forget()

    def _read(self) -> Look:
        galleries = self._opened.galleries
        if galleries is None:
            return Look(None)
        required = self._required()

        def look(store: Store) -> Look:
            status = status_of(opened_rollout(self._opened, store))
            return Look(status, self._pace.rows_per_second(status), current_holder(store.documents), required)

        return galleries.with_store(look)

    def _read_required(self) -> Required:
        """Gates and report; what is wrong with them ends no look."""
        galleries = self._opened.galleries
        if galleries is None or self._opened.settings.rollout is None:
            return Required()
        try:
            settings = rollout_settings(self._opened)
            rollout = galleries.with_store(lambda store: opened_rollout(self._opened, store, settings))
            report, summary = self._reported(rollout)
            shadows = galleries.with_store(lambda store: shadow_figures(store.documents, upgrade_id=rollout.upgrade_id))
            return Required(True, check_rollout_gates(rollout.settings.gates, shadows, report), summary)
        except EmbridgeError as error:
            return Required(True, problem=str(error))

    def _reported(self, rollout: OpenRollout) -> tuple[Report | None, Summary | None]:
        """The report of the settings, read again where its file changed."""
        path = rollout.settings.report
        stamp = None if path is None or not path.exists() else (path, path.stat().st_mtime_ns)
        if stamp is None or stamp != self._stamp:
            report = named_report(rollout)
            self._report = (report, None if report is None else summarise(report))
            self._stamp = stamp
        return self._report


def opened_rollout(opened: Opened, store: Store, settings: RolloutSettings | None = None) -> OpenRollout:
    """The rollout of a store that is served: from where to where it leads, and its settings where they are given."""
    upgrade, state = opened.upgrade, current_state(store.documents)
    served: dict[str, Any] = {"store": opened.settings.store or "memory:", "upgrade": opened.settings.upgrade}
    old, new = (upgrade.old_space, upgrade.head.target) if state is None else (state.old, state.new)
    upgrade_id = _fingerprint(opened) if state is None else state.upgrade_id
    path = opened.settings.rollout or Path("the store")
    return OpenRollout(path, settings or RolloutSettings(**served), store, upgrade, upgrade_id, old, new)


def rollout_settings(opened: Opened) -> RolloutSettings | None:
    """The rollout's settings as they are now, where the server's name them; raises `SettingsError` for a broken file."""
    return None if opened.settings.rollout is None else load_rollout_settings(opened.settings.rollout)


def _fingerprint(opened: Opened) -> str:
    try:
        return fingerprint(opened.settings.upgrade)
    except (ArtefactError, OSError):  # it was moved since it was loaded
        return ""
