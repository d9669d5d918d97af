"""Gates of a rollout: conditions on what a shadow found and on a report, which hold before a new model answers.

A line is one of

- ``shadow_overlap >= 0.6``, with ``surely`` after it by the unfavourable end of the 95 % interval; also ``shadow_top1``,
  ``shadow_rank_biased``, ``shadow_score_shift``, ``shadow_queries`` and ``shadow_kept``, which is what the bridge reaches
  of the old model's figure by judgements
- ``retention >= 0.9``; also ``gain_ratio``, ``break_even`` and ``update_gain``: ratios of the report's main metric
- a gate of `embridge.evaluation.gates` on the report's cells, such as ``ndcg_at_10 new/old >= 0.98 * old/old``
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from embridge.errors import SettingsError
from embridge.evaluation.gates import check_gates, parse_gate, require_gates
from embridge.evaluation.report import Report
from embridge.evaluation.statistics import Interval
from embridge.evaluation.summarise import summarise
from embridge.rollout.shadow_figures import ShadowFigures

__all__ = ["RolloutGate", "check_rollout_gates", "needs_report", "require_rollout_gates"]

_RATIOS = ("retention", "gain_ratio", "break_even", "update_gain")
_INTERVALS = ("shadow_overlap", "shadow_top1", "shadow_rank_biased")
_OTHERS = ("shadow_score_shift", "shadow_queries", "shadow_kept")
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_COUNTS = 10.0  # from here on, figures are counts
_LINE = re.compile(
    rf"\s*(?P<name>{'|'.join((*_RATIOS, *_INTERVALS, *_OTHERS))})\s*(?P<sign>>=|<=|>|<)\s*"
    r"(?P<bound>[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)(?P<surely>\s+surely)?\s*"
)


@dataclass(frozen=True, slots=True)
class RolloutGate:
    """How a gate fares in one place.

    Attributes:
        gate: As it was written.
        where: Of which queries, or of which search of the report.
        value: What was compared; None where nothing was measured, which does not pass.
        bound: With what.
        passed: Whether it holds.

    Examples:
        >>> RolloutGate("shadow_top1 >= 0.5", "sampled queries", 0.75, 0.5, passed=True).told
        'sampled queries: 0.7500, bound 0.5000'
    """

    gate: str
    where: str
    value: float | None
    bound: float
    passed: bool

    @property
    def told(self) -> str:
        """Where it was checked and what was compared, in one line."""
        return self.where if self.value is None else f"{self.where}: {_shown(self.value)}, bound {_shown(self.bound)}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def needs_report(gate: str) -> bool:
    """Whether a gate is on a report.

    Args:
        gate: One line.

    Returns:
        False where it is on a shadow.

    Raises:
        SettingsError: It is no gate.

    Examples:
        >>> needs_report("retention >= 0.9"), needs_report("shadow_queries >= 200")
        (True, False)
    """
    match = _LINE.fullmatch(gate)
    if match is None:
        if gate.strip().startswith(("shadow_", *_RATIOS)):
            names = ", ".join((*_INTERVALS, *_OTHERS, *_RATIOS))
            raise SettingsError(f"gate {gate!r}: expected NAME >= NUMBER with one of {names}")
        parse_gate(gate)
        return True
    if match["surely"] and match["name"] not in _INTERVALS:
        raise SettingsError(f"gate {gate!r}: surely needs an interval, which {', '.join(_INTERVALS)} have")
    return match["name"] in _RATIOS


def check_rollout_gates(
    gates: Sequence[str], shadows: Sequence[ShadowFigures], report: Report | None
) -> tuple[RolloutGate, ...]:
    """Check every gate everywhere it holds: in all searches of the report, and for both kinds of queries of a shadow.

    Args:
        gates: One line each.
        shadows: What is known of the upgrade.
        report: The report, where a gate is on one.

    Returns:
        One result a gate and place.

    Raises:
        SettingsError: A line is no gate, or the report does not have what it is on.

    Examples:
        >>> check_rollout_gates(["shadow_queries >= 200"], (), None)[0].passed
        False
    """
    results: list[RolloutGate] = []
    for gate in gates:
        if not needs_report(gate):
            results += _of_shadows(gate, shadows)
        elif report is None:
            raise SettingsError(f"gate {gate!r} is on a report; name the one that embridge evaluate wrote in report")
        elif (match := _LINE.fullmatch(gate)) is not None:
            ratios = summarise(report).ratios
            places = [(report.task(one.direction).title, getattr(one, match["name"])) for one in ratios]
            results += [_checked(gate, match, f"report, {title}", value) for title, value in places]
        else:
            results += [
                RolloutGate(gate, f"report, {one.where}", one.value, one.bound, one.passed)
                for one in check_gates(report, [gate])
            ]
    return tuple(results)


def require_rollout_gates(results: Sequence[RolloutGate]) -> None:
    """Refuse to let the new model answer where a gate is not met.

    Args:
        results: What `check_rollout_gates` gave.

    Raises:
        GateRefused: Some gate was not met; the message names each, and why.

    Examples:
        >>> require_rollout_gates([RolloutGate("retention >= 0.9", "report, search", 0.8, 0.9, passed=False)])
        Traceback (most recent call last):
        embridge.errors.GateRefused: 1 of 1 gate checks failed: retention >= 0.9 (report, search: 0.8000, bound 0.9000)
    """
    require_gates(results)


def _of_shadows(gate: str, shadows: Sequence[ShadowFigures]) -> list[RolloutGate]:
    match = _LINE.fullmatch(gate)
    assert match is not None
    if shadows and match["name"] == "shadow_queries":
        return [_checked(gate, match, "of all kinds", float(sum(shadow.queries for shadow in shadows)))]
    values = [(shadow.title, _value(match, shadow)) for shadow in shadows]
    checked = [_checked(gate, match, where, value) for where, value in values if value is not None]
    if checked:
        return checked
    missing = "no judged query was asked" if match["name"] == "shadow_kept" else "no query was compared"
    way = "embridge shadow asks those of a file, and embridge apply --until shadow a share of an application's"
    return [_checked(gate, match, f"{missing} yet; {way}", None)]


def _value(match: re.Match[str], shadow: ShadowFigures) -> float | None:
    """The figure of a gate's name; None where this kind of queries has none."""
    name = match["name"].removeprefix("shadow_")
    if name == "kept":
        return shadow.quality[-1].kept if shadow.quality else None
    figure: float | Interval = getattr(shadow, name)
    if isinstance(figure, Interval):
        end = figure.low if match["sign"].startswith(">") else figure.high
        return end if match["surely"] else figure.value
    return float(figure)


def _checked(gate: str, match: re.Match[str], where: str, value: float | None) -> RolloutGate:
    bound = float(match["bound"])
    passed = value is not None and _COMPARISONS[match["sign"]](value, bound)
    return RolloutGate(gate, where, value, bound, passed)


def _shown(value: float) -> str:
    return f"{value:.4f}" if abs(value) < _COUNTS else f"{value:,.0f}"
