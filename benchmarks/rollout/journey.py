"""A rollout from prepared to complete and back, beside its traffic; and what the rows have to be at each end."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rollout.planted import Planted, names_of
from benchmarks.rollout.traffic import STABLE, Traffic, engine, running
from embridge.jobs.rollout import apply_plan, change_phase, open_rollout, plan_rollout
from embridge.rollout.journal import entries, record_move
from embridge.rollout.lease import this_process
from embridge.rollout.plan import write_plan
from embridge.rollout.state import RolloutState
from embridge.space import Space
from embridge.stores import Declaration, Store, open_store

__all__ = ["Journey", "adopted", "travelled"]

_CHECKED_ROWS = 8_192


@dataclass(frozen=True)
class Journey:
    """What happened: the time of every move, how long the backfill and the way back took, and what was wrong in the end."""

    moves: list[tuple[str, float]]
    backfill: tuple[float, float, int]
    rollback_seconds: float
    faults: Mapping[str, int]
    old_rows_changed: int


def adopted(name: str, place: str, planted: Planted, config: Mapping[str, Any]) -> Path:
    """A table of others with old vectors, declared; the settings of its rollout."""
    of, rows = engine(name), config["rows"]
    texts = [str(number) for number in range(rows)]
    of.insert(place, of.PLACE.table, names_of(rows), planted.old_vectors[:rows], texts, config["bulk_rows"])
    of.settle(place)
    with closing(open_store(of.url(place))) as store:
        store.adopt(Declaration(planted.old, of.PLACE, items={"text": "title"}))
    settings = planted.folder / "rollout.yaml"
    settings.write_text(f"store: {json.dumps(of.url(place))}\nupgrade: {planted.upgrade}\n")
    return settings


def travelled(name: str, place: str, planted: Planted, config: Mapping[str, Any]) -> Journey:
    """Prepared, bridged, backfilling, complete, rolled back, with traffic; then once more to the end, without."""
    settings, plan = adopted(name, place, planted, config), planted.folder / "plan.json"
    traffic = Traffic.of(name, place, planted.folder, config)
    write_plan(plan_rollout(settings), plan)
    before, hold = _old_hash(settings, config), config["hold_seconds"]
    _prepare(settings)  # a gallery needs a rollout that has begun
    with running(traffic):
        time.sleep(hold)
        apply_plan(plan, until="bridged")
        time.sleep(hold)
        began = time.time()
        result = apply_plan(plan).result
        assert result is not None
        backfill = (began, time.time(), result.rows)
        time.sleep(hold)
        complete = _standing(traffic, settings, plan)
        began = time.time()
        change_phase(settings, "rollback")
        rollback = time.time() - began
        time.sleep(hold)
    after = _old_hash(settings, config)
    apply_plan(plan, again=True)
    with closing(open_rollout(settings)) as opened:
        moves = [(entry.move, entry.at_seconds) for entry in entries(opened.store.documents)]
        faults = _faults(opened.store, planted, config)
    return Journey(moves, backfill, rollback, complete | faults, int(before != after))


def _prepare(settings: Path) -> None:
    with closing(open_rollout(settings)) as opened:
        state = RolloutState(opened.old, opened.new, str(opened.settings.upgrade), opened.upgrade_id)
        entry = {"move": "prepare", "by": this_process(), "at_seconds": time.time(), "why": {}}
        record_move(opened.store.documents, None, state, entry=entry)


def _standing(traffic: Traffic, settings: Path, plan: Path) -> dict[str, int]:
    """Faults while the rollout is complete and all writers hold: by the items as they stand beside the old vectors."""
    traffic.held.set()
    time.sleep(traffic.config["settle_seconds"])
    apply_plan(plan)  # which takes what others wrote since
    items = {}
    with closing(open_rollout(settings)) as opened:
        store, planted, after = opened.store, traffic.planted, None
        while names := store.ids(opened.old, after=after, limit=_CHECKED_ROWS):
            items |= dict(zip(names, map(int, store.column(opened.old, names, "title")), strict=True))
            after = names[-1]
        faults = _compared(store, opened.new, items, planted.new_vectors)
    traffic.held.clear()
    return {f"{what} new rows when complete": number for what, number in faults.items()}


def _old_hash(settings: Path, config: Mapping[str, Any]) -> str:
    """Of the old vectors of the rows that nobody writes."""
    names, digest = names_of(int(STABLE * config["rows"])), hashlib.sha256()
    with closing(open_rollout(settings)) as opened:
        for start in range(0, len(names), _CHECKED_ROWS):
            digest.update(opened.store.fetch(opened.old, names[start : start + _CHECKED_ROWS]).vectors.tobytes())
    return digest.hexdigest()


def _faults(store: Store, planted: Planted, config: Mapping[str, Any]) -> dict[str, int]:
    """Rows of each space that are lost, there twice, there though deleted, or of another content than was last written."""
    expected: dict[str, int | None] = dict(zip(names_of(config["rows"]), range(config["rows"]), strict=True))
    for path in (planted.folder / "writes.json", planted.folder / "foreign_writes.json"):
        expected |= json.loads(path.read_text())["items"] if path.exists() else {}
    kept = {name: number for name, number in expected.items() if number is not None}
    faults = {}
    for side, space, vectors in (("old", planted.old, planted.old_vectors), ("new", planted.new, planted.new_vectors)):
        found = _compared(store, space, kept, vectors)
        faults |= {f"{what} {side} rows": number for what, number in found.items()}
    return faults


def _compared(store: Store, space: Space, kept: Mapping[str, int], vectors: np.ndarray) -> dict[str, int]:
    seen, faults = set[str](), dict.fromkeys(("lost", "doubled", "unexpected", "outdated"), 0)
    for part in store.scan(space, rows=_CHECKED_ROWS):
        faults["doubled"] += sum(name in seen for name in part.ids)
        seen.update(part.ids)
        known = [row for row, name in enumerate(part.ids) if name in kept]
        faults["unexpected"] += len(part) - len(known)
        right = vectors[[kept[part.ids[row]] for row in known]]
        faults["outdated"] += int((~np.isclose(part.vectors[known], right, atol=1e-3).all(axis=1)).sum())
    faults["lost"] = len(kept.keys() - seen)
    return faults
