"""What applying a plan does to the database, step by step, in words."""

from __future__ import annotations

from embridge.jobs.rollout.opened import OpenRollout

__all__ = ["steps_of"]


def steps_of(opened: OpenRollout, missing: int) -> tuple[str, ...]:
    """The steps from the beginning to the end, in their order; what is done already is not done again."""
    settings, place = opened.settings, opened.store.declaration(opened.old).place
    room = (
        f"a column of {place.table}"
        if opened.store.capabilities.shared_rows
        else f"a place of its own beside {place.table}"
    )
    pace = "" if settings.rows_per_second is None else f", at most {settings.rows_per_second:g} rows a second"
    batches = "" if settings.batch_rows is None else f" in batches of {settings.batch_rows:,}"
    read = settings.backfill_on_read
    return (
        "write the state of the rollout, its journal and a lease as small documents beside the rows",
        f"make room for vectors of {opened.new.dim} dims: {room}; no row is rewritten",
        f"bridged: the new model answers {settings.canary:.0%} of the queries of new clients from the old rows",
        f"backfilling: encode and write {missing:,} rows{batches}, order {settings.order}{pace}",
        *([f"encode up to {read:,} items that a query finds at once, meanwhile"] if read else []),
        "complete: new rows alone answer; the old ones stay, and embridge rollback leads back",
    )
