"""From the log of a shadow to figures: agreement, ranks, scores, and the time of both answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from embridge.evaluation.score_shift import ks_distance
from embridge.evaluation.statistics import Interval, bootstrap_mean
from embridge.rollout.quality import Quality
from embridge.rollout.shadow_log import SOURCES, ShadowLog, Source, read_log
from embridge.stores.documents import Documents

__all__ = ["Latency", "ShadowFigures", "shadow_figures"]


@dataclass(frozen=True, slots=True)
class Latency:
    """How long answers took.

    Attributes:
        median_seconds: Half of them took no longer.
        p95_seconds: All but one in twenty took no longer.

    Examples:
        >>> Latency.of([0.1, 0.1, 0.3]).median_seconds
        0.1
    """

    median_seconds: float
    p95_seconds: float

    @staticmethod
    def of(seconds: Sequence[float]) -> Latency:
        """From the time of each."""
        return Latency(*(float(f"{value:.4g}") for value in np.quantile(seconds, [0.5, 0.95])))


@dataclass(frozen=True, slots=True)
class ShadowFigures:
    """What a shadow found, in figures. Those of queries are of the samples that the log keeps.

    Attributes:
        source: ``sampled`` or ``asked``.
        queries: How many were compared.
        overlap: The share of the hits that both have.
        top1: The share of the queries with one best hit.
        rank_biased: Rank-biased overlap.
        score_shift: Distance of the two distributions of best scores (Kolmogorov–Smirnov); 0 alike, 1 apart.
        old: The time of the old model's answers.
        bridged: The time of the answers through the bridge.
        log: What they are of.

    Examples:
        >>> from embridge.rollout.shadow_log import ShadowSample
        >>> log = ShadowLog("a1b2", (ShadowSample(0.5, 1.0, 0.7, 0.9, 0.8, 0.01, 0.02),), 1)
        >>> figures = ShadowFigures.of("sampled", log)
        >>> figures.overlap.value, figures.score_shift
        (0.5, 1.0)
    """

    source: Source
    queries: int
    overlap: Interval
    top1: Interval
    rank_biased: Interval
    score_shift: float
    old: Latency
    bridged: Latency
    log: ShadowLog

    @staticmethod
    def of(source: Source, log: ShadowLog) -> ShadowFigures | None:
        """The figures of a log; None where nothing was compared."""
        if not log.samples:
            return None
        columns = np.array([astuple(sample) for sample in log.samples]).T
        overlap, top1, ranks = (bootstrap_mean(values) for values in columns[:3])
        shift = ks_distance(columns[3], columns[4])
        latencies = [Latency.of(values.tolist()) for values in columns[5:]]
        return ShadowFigures(source, log.compared, overlap, top1, ranks, shift, latencies[0], latencies[1], log)

    @property
    def title(self) -> str:
        """Of which queries they are."""
        return SOURCES[self.source]

    @property
    def quality(self) -> tuple[Quality, ...]:
        """Figures by judgements, where there are any."""
        return self.log.quality

    def to_dict(self) -> dict[str, Any]:
        """As JSON; an interval is its mean and its bounds."""
        intervals = {name: list(astuple(getattr(self, name))) for name in ("overlap", "top1", "rank_biased")}
        seconds = {
            side: {"median": latency.median_seconds, "p95": latency.p95_seconds}
            for side, latency in (("old", self.old), ("bridged", self.bridged))
        }
        counts = {name: getattr(self.log, name) for name in ("empty", "dropped")} | {"failed": dict(self.log.failed)}
        figures = {"queries": self.queries, "kept": len(self.log.samples)} | intervals
        quality = [one.to_dict() for one in self.quality]
        return figures | {"score_shift": self.score_shift, "seconds": seconds} | counts | {"quality": quality}

    def rows(self) -> list[list[str]]:
        """Rows for a table: what, and how much."""
        log = self.log
        kept = f", figures of {len(log.samples):,} of them" if len(log.samples) < self.queries else ""
        rows = [
            ["compared", f"{self.queries:,}{kept}"],
            ["hits that both find", _shown(self.overlap)],
            ["the same best hit", _shown(self.top1)],
            ["rank-biased overlap", _shown(self.rank_biased)],
            ["shift of best scores", f"{self.score_shift:.3f}"],
            ["time, old and bridged", f"{_time(self.old)}; {_time(self.bridged)}"],
        ]
        rows += [
            [one.metric, f"{_shown(one.old)} old, {_shown(one.bridged)} bridged: better? {one.compatible}"]
            for one in self.quality
        ]
        failed = ", ".join(f"{count:,} {name}" for name, count in sorted(log.failed.items()))
        others = ((log.empty, "found nothing"), (log.dropped, "dropped"), (failed, "failed"))
        return rows + [[what, str(count)] for count, what in others if count]


def shadow_figures(documents: Documents, *, upgrade_id: str) -> tuple[ShadowFigures, ...]:
    """What is known of an upgrade: of sampled queries, and of those of a file.

    Args:
        documents: Of the store.
        upgrade_id: The upgrade's hash.

    Returns:
        The figures of each source of which something was compared.

    Raises:
        StoreError: A log is damaged.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> shadow_figures(MemoryDocuments(), upgrade_id="a1b2")
        ()
    """
    logs = {source: read_log(documents, source, upgrade_id=upgrade_id) for source in SOURCES}
    figures = [ShadowFigures.of(source, log) for source, log in logs.items() if log is not None]
    return tuple(one for one in figures if one is not None)


def _shown(interval: Interval) -> str:
    return f"{interval.value:.3f} ± {interval.half:.3f}"


def _time(latency: Latency) -> str:
    return f"{1e3 * latency.median_seconds:.3g} ms, {1e3 * latency.p95_seconds:.3g} ms for the slowest twentieth"
