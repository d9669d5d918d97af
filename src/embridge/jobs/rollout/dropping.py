"""The end of a rollout: the old vectors are deleted, which cannot be taken back."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from embridge.errors import InvalidInput, StoreError
from embridge.jobs.rollout.moving import moved
from embridge.jobs.rollout.opened import OpenRollout, open_rollout, require_spaces
from embridge.jobs.rollout.status import RolloutStatus, status_of
from embridge.progress import Progress, silent
from embridge.rollout import moves
from embridge.rollout._journal_checks import journal_fault
from embridge.rollout._open_writes import abandoned_rows
from embridge.rollout.failures import read_failures
from embridge.rollout.lease import Lease, this_process
from embridge.rollout.stale import stale_rows
from embridge.rollout.state import RolloutState
from embridge.stores import parse_url
from embridge.stores._names import NameTakeOver, TakesOverNames

__all__ = ["drop_old_rows", "rows_to_drop", "take_over_name"]

_PAGE_ROWS = 10_000


def rows_to_drop(settings: Path | str, *, drop_unreadable: bool = False) -> RolloutStatus:
    """Say which old vectors `drop_old_rows` would delete. Changes nothing.

    Args:
        settings: The rollout's settings file.
        drop_unreadable: As for `drop_old_rows`.

    Returns:
        Where the rollout stands; its ``rows`` would go, unless its state says that they are gone.

    Raises:
        InvalidInput: As for `drop_old_rows`.
        StoreError: As for `drop_old_rows`.

    Examples:
        >>> rows_to_drop("nowhere.yaml")
        Traceback (most recent call last):
        embridge.errors.SettingsError: nowhere.yaml ...
    """
    with closing(open_rollout(settings)) as opened:
        _require_droppable(opened, opened.state, drop_unreadable)
        return status_of(opened)


def take_over_name(
    settings: Path | str, *, drop_unreadable: bool = False, dry_run: bool = False, progress: Progress = silent
) -> tuple[RolloutState, str]:
    """Drop the old vectors, and give the new ones their name: who asks the database for them by name gets new ones.

    Called again after a kill, it goes on.

    Args:
        settings: The rollout's settings file.
        drop_unreadable: As for `drop_old_rows`; such a row has no vector then.
        dry_run: Whether nothing is changed.
        progress: Hears how many rows were copied.

    Returns:
        The state that it led to, or that it found, and what is taken over.

    Raises:
        InvalidInput: As for `drop_old_rows`; or the database cannot give the name to others, or not this one.
        StoreError: As for `drop_old_rows`.

    Examples:
        >>> take_over_name("nowhere.yaml")
        Traceback (most recent call last):
        embridge.errors.SettingsError: nowhere.yaml ...
    """
    with closing(open_rollout(settings)) as opened:
        state, taking = _taking_over(opened, drop_unreadable)
        if dry_run:
            return state, taking.place
        with Lease(opened.store.documents, this_process()):
            state, place = _require_droppable(opened, opened.state, drop_unreadable), taking.place
            taking.prepare(progress)
            if not state.old_dropped:
                _require_droppable(opened, opened.state, drop_unreadable)
                state = moved(opened, "drop the old rows", moves.drop_old, {"name": place})
            taking.begin()
            taking.swap()
            taking.clean()
            return state, place


def _taking_over(opened: OpenRollout, drop_unreadable: bool) -> tuple[RolloutState, NameTakeOver]:
    state, store = _require_droppable(opened, opened.state, drop_unreadable), opened.store
    if not isinstance(store, TakesOverNames):
        engine = parse_url(opened.settings.store).kind
        raise InvalidInput(
            f"{opened.path}: {engine} cannot give vectors another name in one step; lead applications to "
            f"{store.declaration(opened.new).place.table!r}, and say --drop-old when they are there"
        )
    taking = store.take_over(opened.old, opened.new)
    if fault := taking.fault:
        raise InvalidInput(f"{opened.path}: the name is not taken over: {fault}")
    return state, taking


def drop_old_rows(settings: Path | str, *, drop_unreadable: bool = False) -> RolloutState:
    """Drop the old vectors of a rollout that is complete. There is no way back.

    Args:
        settings: The rollout's settings file.
        drop_unreadable: Also where an item could not be read, so that its old vector is all there is of it.

    Returns:
        The state that it led to.

    Raises:
        InvalidInput: The rollout is not complete, or rows have no new vector and would be lost unless that is meant; or the
            settings are of another rollout.
        StoreError: No rollout has begun, another controller runs it, its journal was changed, or the store does not drop these
            rows.

    Examples:
        >>> drop_old_rows("nowhere.yaml")
        Traceback (most recent call last):
        embridge.errors.SettingsError: nowhere.yaml ...
    """
    with closing(open_rollout(settings)) as opened, Lease(opened.store.documents, this_process()):
        state = _require_droppable(opened, opened.state, drop_unreadable)
        if not state.old_dropped:
            state = moved(opened, "drop the old rows", moves.drop_old)
        try:
            if opened.old in opened.store.spaces():
                opened.store.drop_space(opened.old)
        except StoreError:
            if opened.old in opened.store.spaces():  # nothing was dropped, so the way back stays open
                moved(opened, "keep the old rows", moves.keep_old)
            raise
        return state


def _require_droppable(opened: OpenRollout, state: RolloutState | None, drop_unreadable: bool) -> RolloutState:
    """Refuse what `drop_old_rows` refuses; old rows that were dropped in name may be dropped in fact."""
    if state is None:
        raise StoreError(f"{opened.path}: no rollout has begun in this store; embridge plan and apply begin one")
    if fault := journal_fault(opened.store.documents):
        raise StoreError(f"the old rows are not dropped: {fault}")
    require_spaces(opened.path, state, opened.old, opened.new)
    if not state.old_dropped:
        moves.drop_old(state)
        _require_none_missing(opened, drop_unreadable)
    return state


def _require_none_missing(opened: OpenRollout, drop_unreadable: bool) -> None:
    """Refuse to drop rows that have no other vector: what came in since, and what cannot be read unless that is meant."""
    documents = opened.store.documents
    former = sorted(abandoned_rows(documents, opened.old, now=time.time()).union(stale_rows(documents)))
    missing = opened.missing()
    for start in range(0, len(former), _PAGE_ROWS):
        missing.update(opened.store.fetch(opened.old, former[start : start + _PAGE_ROWS]).ids)
    failures = read_failures(documents)
    unreadable = missing & failures.all_ids
    if late := missing - unreadable:
        raise InvalidInput(
            f"{opened.path}: row {min(late)!r} and perhaps others have no new vector of their newest content, and would be "
            "lost; call embridge apply again, which encodes them"
        )
    if unreadable and not drop_unreadable:
        name = min(unreadable)
        raise InvalidInput(
            f"{opened.path}: {len(unreadable):,} items could not be read, such as {name}: {failures.reasons.get(name, '')}. "
            "Their old vectors are all there is of them, and would be lost. Make them readable and call embridge apply again, "
            "or say --drop-unreadable"
        )
