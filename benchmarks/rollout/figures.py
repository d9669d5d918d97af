"""Figures of a journey, from what its processes left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.record import row
from benchmarks.rollout.journey import Journey
from benchmarks.rollout.traffic import Traffic

__all__ = ["figures"]

_MOVES = {
    "prepare": "prepared",
    "bridge": "bridged",
    "backfill": "backfilling",
    "complete": "complete",
    "rollback": "back",
}
_WINDOWS = 50  # of the same length away from every change

Calls = Sequence[Sequence[Any]]


def figures(journey: Journey, traffic: Traffic) -> list[dict[str, Any]]:
    """Rows of all that is asked of a rollout beside its traffic."""
    setting = {"task": "journey", "rows": traffic.config["rows"], "dim": traffic.config["dim"]}
    values: dict[str, float] = {}
    for what in ("reads", "old_reads"):
        calls = json.loads(traffic.says(what).read_text())
        values |= {f"{what}_failed": sum(bool(call[4]) for call in calls)}
        values |= {f"{what}_wrong": sum(not call[3] and not call[4] for call in calls), what: len(calls)}
    reads = json.loads(traffic.says("reads").read_text())
    values |= _pauses(reads, journey, traffic.config) | _median_reads(reads)
    values |= {name.replace(" ", "_"): number for name, number in journey.faults.items()}
    values |= {"old_rows_changed": journey.old_rows_changed, "rollback_seconds": journey.rollback_seconds}
    began, ended, filled = journey.backfill
    values |= {"backfill_rows_per_second": filled / (ended - began), "backfill_seconds": ended - began}
    values |= _writes("writes", traffic, journey) | _writes("foreign_writes", traffic, journey)
    return [row(traffic.name, metric, [value], setting=setting) for metric, value in values.items()]


def _pauses(reads: Calls, journey: Journey, config: Mapping[str, Any]) -> dict[str, float]:
    """The longest read at a change beyond the median around it; the same where nothing changes, by its 95th percentile."""
    starts, ends = (np.array([call[i] for call in reads]) for i in (0, 1))
    changes = [at for move, at in journey.moves if move in _MOVES and starts[0] < at < ends[-1]]
    settle, hold = config["settle_seconds"], config["hold_seconds"]

    def beyond(at: float) -> tuple[float, float]:
        """The longest read of a window, and what it takes beyond the slower of the medians before and after."""
        during = (ends > at) & (starts < at + settle)
        medians = [
            np.median((ends - starts)[around])
            for around in ((ends < at) & (ends > at - hold / 2), (starts > at + settle) & (starts < at + hold / 2))
            if around.any()
        ]
        longest = float((ends - starts)[during].max(initial=0))
        return longest, longest - float(max(medians, default=0))

    quiet = _quiet_moments(starts[0], ends[-1], changes, hold)
    found, others = [beyond(at) for at in changes], [beyond(at)[1] for at in quiet]
    named = zip([move for move, at in journey.moves if at in changes], found, strict=True)
    first_old = [end for end, call in zip(ends, reads, strict=True) if call[2] == "old" and end > changes[-1]]
    return {
        "longest_read_at_a_change_seconds": max(one for one, _ in found),
        **{f"pause_seconds_{_MOVES[move]}": two for move, (_, two) in named},
        "longest_pause_seconds": max(two for _, two in found),
        "longest_pause_elsewhere_seconds": float(np.quantile(others, 0.95)) if others else 0.0,
        "back_for_readers_seconds": first_old[0] - changes[-1],
    }


def _quiet_moments(start: float, end: float, changes: Sequence[float], hold: float) -> Iterator[float]:
    for at in np.linspace(start, end, _WINDOWS):
        if all(abs(at - change) > hold / 2 for change in changes):
            yield float(at)


def _median_reads(reads: Calls) -> dict[str, float]:
    served = sorted({call[2] for call in reads if call[2]})
    return {
        f"read_p50_seconds_{how}": float(np.median([call[1] - call[0] for call in reads if call[2] == how]))
        for how in served
    }


def _writes(what: str, traffic: Traffic, journey: Journey) -> dict[str, float]:
    """Failures, and the slowest percent with the backfill and before it."""
    if not traffic.says(what).exists():
        return {}
    calls = json.loads(traffic.says(what).read_text())["calls"]
    began, ended, _ = journey.backfill
    during = [end - start for start, end, _ in calls if began <= start <= ended]
    without = [end - start for start, end, _ in calls if start < began]
    values = {f"{what}_failed": sum(bool(call[2]) for call in calls), what: len(calls)}
    if not during or not without:
        return values
    with_it, before = (float(np.quantile(seconds, 0.99)) for seconds in (during, without))
    return values | {
        f"{what}_p99_seconds": with_it,
        f"{what}_p99_seconds_before": before,
        f"{what}_p99_ratio": with_it / before,
    }
