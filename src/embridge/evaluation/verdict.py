"""One sentence: upgrade, keep the old model, or not enough evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from embridge.evaluation.report import DIRECTIONS, Report

__all__ = ["Verdict", "decide"]

Decision = Literal["upgrade", "backfill first", "keep the old model", "not enough evidence"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision and the sentence that gives its reason."""

    decision: Decision
    sentence: str


def decide(report: Report, *, k: int | None = None) -> Verdict:
    """Judge ``new/old`` against ``old/old`` at Recall@k (the largest k by default) in every direction.

    ``upgrade`` if no direction is ``no`` and at least one is ``yes``; ``backfill first`` if some direction is ``no``
    although the new model with its own gallery is better everywhere; else ``keep the old model`` if some direction is
    ``no``, and ``not enough evidence`` if all are undecided.
    """
    k = max(report.ks) if k is None else k
    answers = {d: report.compatible(d, k).answer for d in report.directions}
    better = all(report.compatible(d, k, "new/new").answer == "yes" for d in report.directions)
    if "no" in answers.values():
        decision: Decision = "backfill first" if better else "keep the old model"
    else:
        decision = "upgrade" if "yes" in answers.values() else "not enough evidence"
    details = "; ".join(_detail(report, d, k) for d in report.directions)
    return Verdict(decision, f"{decision[0].upper()}{decision[1:]}: {details}.")


def _detail(report: Report, direction: str, k: int) -> str:
    old, new = (report.recall(direction, name, k).value for name in ("old/old", "new/old"))
    comparison = report.compatible(direction, k)
    change, undecided = comparison.difference, ", undecided" if comparison.answer == "undecided" else ""
    return (
        f"{DIRECTIONS.get(direction, direction)} Recall@{k} goes from {old:.3f} to {new:.3f} "
        f"({change.value:+.3f}, 95 % interval {change.low:+.3f} to {change.high:+.3f}{undecided})"
    )
