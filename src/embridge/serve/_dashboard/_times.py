"""From the server's own metrics to a table: requests, failures and times by route, and what answered queries."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

__all__ = ["RouteTimes", "route_times", "searches_by_answer"]

_OWN = ("none", "/assets/", "/dashboard", "/docs", "/health", "/metrics", "/openapi.json", "/ready")


@dataclass(frozen=True, slots=True)
class RouteTimes:
    """How a route fared since the server began.

    Attributes:
        route: Its pattern.
        requests: How many were answered.
        failed: How many of them with a status from 400 on.
        median_seconds: Half of them took no longer, as far as the metrics' buckets tell.
        p95_seconds: Nineteen of twenty took no longer.
    """

    route: str
    requests: int
    failed: int
    median_seconds: float
    p95_seconds: float


def route_times(registry: Any) -> list[RouteTimes]:
    """The routes that were asked, the busiest first, without those of pages and probes."""
    requests, failed = Counter[str](), Counter[str]()
    buckets: dict[str, dict[float, float]] = defaultdict(dict)
    for sample in _samples(registry):
        route = sample.labels.get("route", "none")
        if route == "/" or route.startswith(_OWN):
            continue
        if sample.name == "embridge_requests_total":
            requests[route] += int(sample.value)
            failed[route] += int(sample.value) if int(sample.labels["status"]) >= 400 else 0
        elif sample.name == "embridge_request_duration_seconds_bucket":
            buckets[route][float(sample.labels["le"])] = sample.value
    times = {route: sorted(counts.items()) for route, counts in buckets.items()}
    return [
        RouteTimes(route, count, failed[route], *(_quantile(times.get(route, ()), share) for share in (0.5, 0.95)))
        for route, count in requests.most_common()
    ]


def searches_by_answer(registry: Any) -> dict[str, int]:
    """How many queries each way to answer had."""
    return {
        sample.labels["served"]: int(sample.value)
        for sample in _samples(registry)
        if sample.name == "embridge_searches_total"
    }


def _samples(registry: Any) -> list[Any]:
    return [sample for family in registry.collect() for sample in family.samples]


def _quantile(counts: Sequence[tuple[float, float]], share: float) -> float:
    """The place in cumulative counts by upper bound, straight between two bounds; the last finite bound for what is beyond.

    >>> _quantile([(0.1, 5.0), (0.2, 10.0), (float("inf"), 10.0)], 0.75)
    0.15000000000000002
    """
    rank = share * counts[-1][1] if counts else 0.0
    for (low, before), (high, now) in pairwise([(0.0, 0.0), *counts]):
        if now >= rank and now > before:
            return low if high == float("inf") else low + (high - low) * (rank - before) / (now - before)
    return 0.0
