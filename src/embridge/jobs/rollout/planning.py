"""Planning a rollout: reads, encodes a sample, and changes nothing."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from embridge.errors import InvalidInput
from embridge.jobs.rollout._steps import steps_of
from embridge.jobs.rollout.gating import checked_gates
from embridge.jobs.rollout.opened import OpenRollout, open_rollout
from embridge.jobs.rollout.ordering import require_order
from embridge.progress import Progress, silent
from embridge.rollout.foreign import foreign_writes
from embridge.rollout.plan import Plan
from embridge.stores import parse_url
from embridge.stores.places import IndexState
from embridge.stores.statements import SaysStatements

__all__ = ["plan_rollout", "require_same_plan"]


def plan_rollout(
    settings: Path | str, *, assume_rows: int | None = None, workers: int = 1, progress: Progress = silent
) -> Plan:
    """Say what a rollout will do, how long it takes and what it costs. Changes nothing.

    Args:
        settings: The settings file.
        assume_rows: Plan for so many rows, in place of those that are there; such a plan says what it would take, and is not
            applied.
        workers: Processes that encode side by side, each at the measured rate.
        progress: Hears how far the encoder is.

    Returns:
        The plan.

    Raises:
        SettingsError: The file does not say what it must.
        SpaceMismatch: Store, upgrade and model do not fit each other.
        InvalidInput: The store has no rows, or no item of the sample can be had.
        StoreError: The store cannot be read.

    Examples:
        >>> plan_rollout("nowhere.yaml")
        Traceback (most recent call last):
        embridge.errors.SettingsError: nowhere.yaml ...
    """
    for name, value in (("assume_rows", 1 if assume_rows is None else assume_rows), ("workers", workers)):
        if value < 1:
            raise InvalidInput(f"{name} is a whole number from 1 on, came {value}")
    with closing(open_rollout(settings)) as opened:
        planned = replace(_planned(opened, progress), workers=workers)
        if assume_rows is None:
            return planned
        return replace(
            planned, rows=assume_rows, missing=assume_rows, assumed=True, steps=steps_of(opened, assume_rows)
        )


def _planned(opened: OpenRollout, progress: Progress) -> Plan:
    opened.require_old_rows()
    rows = opened.store.count(opened.old)
    if rows == 0:
        raise InvalidInput(
            f"{parse_url(opened.settings.store)} has no rows of {opened.old}; there is nothing to upgrade"
        )
    require_order(opened.settings, opened.store, opened.old)
    sampled, unreadable, rate = _measured(opened, rows, progress)
    state, queue = opened.state, opened.queue()
    statements = () if queue is None else queue.statements
    missing = max(0, rows - (opened.store.count(opened.new) if opened.new in opened.store.spaces() else 0))
    return Plan(
        settings=str(opened.path.resolve()),
        settings_hash=opened.settings_hash,
        store=str(parse_url(opened.settings.store)),
        upgrade=str(opened.settings.upgrade),
        upgrade_id=opened.upgrade_id,
        old=opened.old,
        new=opened.new,
        layout=opened.layout,
        phase="prepared" if state is None else state.phase,
        rows=rows,
        missing=missing,
        sampled=sampled,
        unreadable=unreadable,
        rows_per_second=rate,
        price=opened.settings.price,
        foreign_writes=foreign_writes(opened.store, statements),
        statements=_statements(opened, statements),
        gates=checked_gates(opened),
        steps=steps_of(opened, missing),
        indexes=tuple(_index(one) for one in opened.store.indexes(opened.old)),
    )


def require_same_plan(plan: Plan, opened: OpenRollout) -> None:
    """Refuse a plan whose settings, upgrade or store has changed since.

    Args:
        plan: The plan.
        opened: What its settings name today.

    Raises:
        InvalidInput: Something has changed; the message says what.

    Examples:
        >>> require_same_plan.__name__
        'require_same_plan'
    """
    if plan.assumed:
        raise InvalidInput(
            f"this plan is of {plan.rows:,} rows that were assumed; make one of those that are there with embridge plan"
        )
    opened.require_old_rows()
    layout = opened.layout
    changed = [
        what
        for what, before, now in (
            ("the settings", plan.settings_hash, opened.settings_hash),
            ("the upgrade", plan.upgrade_id, opened.upgrade_id),
            ("the old space", plan.old, opened.old),
            ("the new space", plan.new, opened.new),
            *((f"the table's {name}", plan.layout.get(name), layout[name]) for name in layout),
        )
        if before != now
    ]
    if not changed and plan.store != str(parse_url(opened.settings.store)):
        changed = ["the plan's store"]
    if changed:
        raise InvalidInput(
            f"{' and '.join(changed)} changed since the plan was made; make a new one with embridge plan"
        )


def _measured(opened: OpenRollout, rows: int, progress: Progress) -> tuple[int, dict[str, str], float]:
    """Encode a sample of the first rows: how many, what could not be had, and rows a second."""
    names = opened.store.ids(opened.old, limit=max(1, min(rows, 20 * opened.settings.sample)))
    drawn = np.random.default_rng(opened.settings.seed).permutation(len(names))[: opened.settings.sample]
    items, missing = opened.items_of([names[row] for row in sorted(drawn.tolist())])
    if not items:
        reason = next(iter(missing.values()), "they are gone")
        raise InvalidInput(f"none of {len(drawn)} items could be had ({reason}); say where they are in items")
    encoder, modality = opened.encoder(progress), opened.source().modality
    encoder.encode(list(items.values())[:1], modality=modality)  # what is loaded at first is not counted
    began = time.perf_counter()
    encoder.encode(list(items.values()), modality=modality)
    return len(items), dict(missing), len(items) / max(time.perf_counter() - began, 1e-9)


def _statements(opened: OpenRollout, noting: tuple[str, ...]) -> tuple[str, ...]:
    """What the database is told, in the order of its doing: for room, to note changes, and to drop the old vectors."""
    if not isinstance(opened.store, SaysStatements):
        return noting
    *room, end = opened.store.statements(opened.old, opened.new)
    return (*room, *noting, end)


def _index(index: IndexState) -> str:
    return f"{index.name} ({index.kind}); build one on the new vectors before complete, no backfill does"
