"""One sentence: upgrade, upgrade with more at query time, backfill first, keep the old model, or not enough evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from embridge.evaluation.compatibility import Comparison, compatible
from embridge.evaluation.gates import GateResult
from embridge.evaluation.measures import measure
from embridge.evaluation.report import BACKFILLED, OLD, UPGRADED, Report

__all__ = ["Decision", "Verdict", "decide", "with_gates"]

Decision = Literal[
    "upgrade", "upgrade with fusion or cascade", "backfill first", "keep the old model", "not enough evidence"
]
_MOST_QUERIES = 1_000_000
_HELPERS = {
    "fused/old": ("fusion with the old query", "both encoders for each query"),
    "cascade": ("a cascade", "items re-encoded for each query"),
}
"""What more can be done at query time, and what it costs."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and why.

    Attributes:
        decision: ``upgrade``, ``upgrade with fusion or cascade``, ``backfill first``, ``keep the old model`` or ``not enough
            evidence``.
        sentence: The decision with its reason.
        more_queries: How many more queries of every direction would settle what is undecided, for a difference like the one
            seen; None where there is nothing to settle, or no difference was seen.

    Examples:
        >>> Verdict("upgrade", "Upgrade: it is better.").decision
        'upgrade'
    """

    decision: Decision
    sentence: str
    more_queries: int | None = None


def decide(report: Report, *, metric: str | None = None) -> Verdict:
    """Judge ``new/old`` against ``old/old`` in every direction.

    ``upgrade`` if no direction is ``no`` and at least one is ``yes``; otherwise ``upgrade with fusion or cascade`` if that is
    so of one of those cells, by the one with the larger gain. Either way the sentence names the others that would do, with
    their cost; after an upgrade, those that gain more. Otherwise ``backfill first`` if some direction is ``no`` although the
    new model with its own gallery is better everywhere, ``keep the old model`` if some direction is ``no``, and ``not enough
    evidence`` if all are undecided.

    Args:
        report: The report.
        metric: By which; the report's last by default.

    Returns:
        The verdict.

    Raises:
        InvalidInput: The report has no such cells or metric.

    Examples:
        >>> import numpy as np
        >>> from embridge.evaluation import Cell, Task
        >>> rows, found = np.zeros((9, 1), np.int64), np.ones((9, 1), np.float32)
        >>> task = Task("", tuple("abcdefghi"), ("g", "h"), 2, np.ones(9, np.int64), found)
        >>> cells = Cell("", "old/old", rows, found, 0 * found), Cell("", "new/old", rows, found, found)
        >>> decide(Report((task,), cells, ("recall_at_1",))).decision
        'upgrade'
    """
    metric = metric or report.main
    able = [cell for cell in _HELPERS if all(cell in report.names(d) for d in report.directions)]
    helpers = [cell for cell in able if _worth_it(_comparisons(report, metric, cell))]
    helpers.sort(key=lambda cell: -_gain(report, metric, cell))
    if _worth_it(_comparisons(report, metric, UPGRADED)):
        better = [cell for cell in helpers if _worth_it(_against_bridge(report, metric, cell))]
        return _with_others(_verdict(report, metric, "upgrade", UPGRADED), report, metric, better, "More is gained by")
    if helpers:
        verdict = _verdict(report, metric, "upgrade with fusion or cascade", helpers[0])
        return _with_others(verdict, report, metric, helpers[1:], "Less is gained by")
    answers = [c.answer for c in _comparisons(report, metric, UPGRADED)]
    if "no" not in answers:
        return _verdict(report, metric, "not enough evidence", UPGRADED)
    backfill = all(c.answer == "yes" for c in _comparisons(report, metric, BACKFILLED))
    return _verdict(report, metric, "backfill first" if backfill else "keep the old model", UPGRADED)


def with_gates(verdict: Verdict, gates: Sequence[GateResult]) -> Verdict:
    """Add the gate checks that failed to a verdict's sentence; the decision stays.

    Args:
        verdict: The verdict.
        gates: What `check_gates` returns.

    Returns:
        The verdict itself where all passed.

    Examples:
        >>> failed = GateResult("recall_at_10 > 0.5", "search", 0.4, 0.5, passed=False)
        >>> with_gates(Verdict("upgrade", "Upgrade."), [failed]).sentence
        'Upgrade. But 1 of 1 gate checks failed: recall_at_10 > 0.5 (search).'
    """
    failed = [f"{gate.gate} ({gate.where})" for gate in gates if not gate.passed]
    if not failed:
        return verdict
    rest = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    told = f"But {len(failed)} of {len(gates)} gate checks failed: {failed[0]}{rest}."
    return replace(verdict, sentence=f"{verdict.sentence} {told}")


def _comparisons(report: Report, metric: str, cell: str) -> list[Comparison]:
    return [report.compatible(d, metric, cell) for d in report.directions]


def _against_bridge(report: Report, metric: str, cell: str) -> list[Comparison]:
    """The cell against the bridge alone, direction by direction."""
    found = []
    for direction in report.directions:
        values = (report.values(direction, name, metric) for name in (cell, UPGRADED))
        found.append(compatible(*values, **report.task(direction).drawn(slice(None)), seed=report.seed))
    return found


def _gain(report: Report, metric: str, cell: str) -> float:
    return sum(c.difference.value for c in _comparisons(report, metric, cell))


def _with_others(verdict: Verdict, report: Report, metric: str, cells: Sequence[str], what: str) -> Verdict:
    """The verdict, whose sentence names these cells too."""
    named = [
        f"{_HELPERS[cell][0]} ({_HELPERS[cell][1]}): "
        + ", ".join(
            f"{report.task(d).title} {report.mean(d, cell, metric):.3f} ({c.difference.value:+.3f})"
            for d, c in zip(report.directions, _comparisons(report, metric, cell), strict=True)
        )
        for cell in cells
    ]
    return replace(verdict, sentence=f"{verdict.sentence} {what} {'; and by '.join(named)}.") if named else verdict


def _worth_it(comparisons: list[Comparison]) -> bool:
    answers = [c.answer for c in comparisons]
    return "no" not in answers and "yes" in answers


def _verdict(report: Report, metric: str, decision: Decision, cell: str) -> Verdict:
    comparisons = _comparisons(report, metric, cell)
    details = "; ".join(_detail(report, d, metric, cell) for d in report.directions)
    helped = f" by {_HELPERS[cell][0]}" if cell in _HELPERS else ""
    unsettled = [c for c in comparisons if c.answer == "undecided"]
    more = max((c.more_queries for c in unsettled if c.more_queries is not None), default=None)
    sentence = f"{decision[0].upper()}{decision[1:]}: {details}{helped}."
    if unsettled:
        sentence += f" {_settling(more)}"
    return Verdict(decision, sentence, more)


def _settling(more: int | None) -> str:
    """How far it is to a decision; nobody judges millions of queries, so what would need them is no difference."""
    if more is None:
        return "No difference was seen where it is undecided."
    if more > _MOST_QUERIES:
        return "Where it is undecided there is no difference worth measuring: millions of queries would not settle it."
    return f"About {_rounded(more):,} more queries of this kind would settle a difference this small."


def _rounded(count: int) -> int:
    """Two digits that count: more would promise what an estimate cannot hold."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return round(count / step) * step


def _detail(report: Report, direction: str, metric: str, cell: str) -> str:
    old, new = (report.mean(direction, name, metric) for name in (OLD, cell))
    comparison = report.compatible(direction, metric, cell)
    change, undecided = comparison.difference, ", undecided" if comparison.answer == "undecided" else ""
    return (
        f"{report.task(direction).title} {_words(metric)} goes from {old:.3f} to {new:.3f} "
        f"({change.value:+.3f}, 95 % interval {change.low:+.3f} to {change.high:+.3f}{undecided})"
    )


def _words(metric: str) -> str:
    label = measure(metric).label
    return "Recall" + label.removeprefix("R") if label.startswith("R@") else label
