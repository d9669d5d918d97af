"""Gates: conditions on a report, in one line of text each.

``METRIC[.DIRECTION][[COLUMN[=LABEL]]] [CELL] COMPARISON BOUND [surely]``, for instance

- ``recall_at_10.t2i new/old >= 0.98 * old/old``
- ``negative_flip_rate <= 0.03``
- ``recall_at_10[language] new/old >= old/old - 0.02``: in every slice of that column
- ``recall_at_10[language=de] new/old > old/old surely``: by the unfavourable end of the 95 % interval

Without a direction the gate holds in all of them; the cell is new/old where none is named. A flip rate is that of the
report's last metric.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from embridge.errors import GateRefused, InvalidInput, SettingsError
from embridge.evaluation.measures import measure
from embridge.evaluation.report import UPGRADED, Report, Task
from embridge.evaluation.statistics import bootstrap_mean, weighted_mean

__all__ = ["FLIP_RATES", "Gate", "GateResult", "check_gates", "parse_gate", "require_gates"]

FLIP_RATES = ("negative_flip_rate", "positive_flip_rate")
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": lambda value, bound: value >= bound - _ROUNDING,
    "<=": lambda value, bound: value <= bound + _ROUNDING,
    ">": lambda value, bound: value > bound + _ROUNDING,
    "<": lambda value, bound: value < bound - _ROUNDING,
}
_NUMBER = r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?"
_CELL = r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+|naive|cascade|ceiling"
_AGAINST = r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+?|naive|cascade|ceiling"  # as short as can be: "old/old-0.02" has an offset
_ROUNDING = 1e-12  # figures nearer than this are equal: 0.14 - 0.02 is a little above 0.12 in floating point
_GATE = re.compile(
    rf"""(?P<metric>[a-z_0-9]+) (?:\.(?P<direction>\w+))? (?:\[(?P<column>[^]=]+)(?:=(?P<label>[^]]+))?\])?
    (?:\s+(?P<cell>{_CELL}))? \s*(?P<comparison>>=|<=|>|<)\s*
    (?: (?:(?P<factor>{_NUMBER})\s*\*\s*)? (?P<against>{_AGAINST}) (?:\s*(?P<offset>[-+]\s*\d*\.?\d+))? | (?P<number>{_NUMBER}) )
    (?P<surely>\s+surely)?""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate, taken apart. The bound is ``factor`` · the cell ``against`` + ``offset``, or ``offset`` alone.

    Attributes:
        text: As it was written.
        metric: A metric, or one of `FLIP_RATES`.
        direction: Where it holds; None for everywhere.
        column: A slice column, or None.
        label: A label of that column; None for every one.
        cell: What is measured.
        comparison: ``>=``, ``<=``, ``>`` or ``<``.
        factor: Of the cell it is compared with.
        against: That cell, or None for a number.
        offset: What is added.
        surely: Whether the unfavourable end of the 95 % interval counts.

    Examples:
        >>> parse_gate("negative_flip_rate <= 0.03").offset
        0.03
    """

    text: str
    metric: str
    direction: str | None
    column: str | None
    label: str | None
    cell: str
    comparison: str
    factor: float
    against: str | None
    offset: float
    surely: bool


@dataclass(frozen=True, slots=True)
class GateResult:
    """How a gate fared in one place: a direction, and a slice where the gate names one.

    Attributes:
        gate: As it was written.
        where: The direction, and the slice.
        value: What was compared; with ``surely`` the end of the interval of value − factor · cell.
        bound: With what.
        passed: Whether it holds.

    Examples:
        >>> GateResult("recall_at_10 > 0.5", "search", 0.6, 0.5, passed=True).told
        'search: 0.6000, bound 0.5000'
    """

    gate: str
    where: str
    value: float
    bound: float
    passed: bool

    @property
    def end(self) -> str:
        """Which end of the interval of a difference ``value`` is, with ``surely``; nothing without."""
        match = _GATE.fullmatch(self.gate)
        if match is None or match["surely"] is None:
            return ""
        return "lower end of the interval" if match["comparison"] in (">", ">=") else "upper end of the interval"

    @property
    def told(self) -> str:
        """Where it was checked and what was compared, in one line."""
        end = f", the {self.end}" if self.end else ""
        return f"{self.where}: {self.value:.4f}{end}, bound {self.bound:.4f}"


def parse_gate(text: str) -> Gate:
    """Read a gate.

    Args:
        text: One line, in the grammar of this module.

    Returns:
        The gate, taken apart.

    Raises:
        SettingsError: The line does not say what it must, or names no metric.

    Examples:
        >>> parse_gate("recall_at_10.t2i new/old >= 0.98 * old/old").factor
        0.98
    """
    match = _GATE.fullmatch(text.strip())
    if match is None:
        raise SettingsError(
            f"gate {text!r}: expected METRIC[.DIRECTION][[COLUMN[=LABEL]]] [CELL] >= BOUND, such as "
            "'recall_at_10.t2i new/old >= 0.98 * old/old' or 'negative_flip_rate <= 0.03'"
        )
    parts = match.groupdict()
    if parts["metric"] not in FLIP_RATES:
        measure(parts["metric"])
    elif parts["against"] or parts["surely"]:
        raise SettingsError(f"gate {text!r}: a flip rate is compared with a number, and not surely")
    offset = float((parts["number"] or parts["offset"] or "0").replace(" ", ""))
    return Gate(
        text.strip(), parts["metric"], parts["direction"], parts["column"], parts["label"], parts["cell"] or UPGRADED,
        parts["comparison"], float(parts["factor"] or 1), parts["against"], offset, parts["surely"] is not None,
    )  # fmt: skip


def check_gates(report: Report, gates: Sequence[str]) -> tuple[GateResult, ...]:
    """Check every gate everywhere it holds.

    Args:
        report: The report.
        gates: One line each, in the grammar of this module.

    Returns:
        One result a gate and place.

    Raises:
        SettingsError: A gate is on a metric, cell, direction or slice that the report does not have.

    Examples:
        >>> from embridge.evaluation import Cell, Report
        >>> task = Task("", ("q",), ("g", "h"), 2, np.array([1]), np.ones((1, 1), np.float32))
        >>> found = np.zeros((1, 1), np.int64), np.ones((1, 1), np.float32), np.ones((1, 1), np.float32)
        >>> report = Report((task,), (Cell("", "new/old", *found),), ("recall_at_1",))
        >>> [result.passed for result in check_gates(report, ["recall_at_1 >= 0.9"])]
        [True]
    """
    results: list[GateResult] = []
    for gate in map(parse_gate, gates):
        try:
            places = [_checked(report, gate, task, where, among) for task, where, among in _places(report, gate)]
            if not places:  # a gate that is checked nowhere must not pass
                raise InvalidInput(f"no query has a label in {gate.column!r}")
            results += places
        except InvalidInput as error:
            raise SettingsError(f"gate {gate.text!r}: {error}") from error
    return tuple(results)


class _Checked(Protocol):
    @property
    def gate(self) -> str: ...
    @property
    def told(self) -> str: ...
    @property
    def passed(self) -> bool: ...


def require_gates(results: Sequence[_Checked]) -> None:
    """Refuse an upgrade that does not meet its gates.

    Args:
        results: What `check_gates` returns.

    Raises:
        GateRefused: Some gate was not met; the message names each, and where.

    Examples:
        >>> require_gates([GateResult("recall_at_10 > 0.5", "search", 0.6, 0.5, passed=True)])
    """
    failed = [f"{r.gate} ({r.told})" for r in results if not r.passed]
    if failed:
        raise GateRefused(f"{len(failed)} of {len(results)} gate checks failed: {'; '.join(failed)}")


def _places(report: Report, gate: Gate) -> Iterator[tuple[Task, str, np.ndarray | None]]:
    for task in report.tasks if gate.direction is None else (report.task(gate.direction),):
        if gate.column is None:
            yield task, task.title, None
            continue
        labels = [gate.label] if gate.label else task.labels(gate.column) if gate.column in task.slices else [""]
        for label in labels:
            yield task, f"{task.title}, {gate.column}={label}", task.among(gate.column, label)


def _checked(report: Report, gate: Gate, task: Task, where: str, among: np.ndarray | None) -> GateResult:
    compare = _COMPARISONS[gate.comparison]
    if gate.metric in FLIP_RATES:
        rates = report.flip_rates(task.direction, report.main, gate.cell, among=among)
        value = rates[FLIP_RATES.index(gate.metric)]
        return GateResult(gate.text, where, value, gate.offset, compare(value, gate.offset))
    chosen = slice(None) if among is None else among
    drawn = task.drawn(chosen)
    mine = report.values(task.direction, gate.cell, gate.metric)[chosen]
    other = np.zeros(len(mine))
    if gate.against is not None:
        other = gate.factor * report.values(task.direction, gate.against, gate.metric)[chosen]
    if gate.surely:
        interval = bootstrap_mean(mine - other, **drawn, seed=report.seed)
        value, bound = interval.low if gate.comparison in (">", ">=") else interval.high, gate.offset
    else:
        value, bound = (weighted_mean(x, drawn["weights"]) for x in (mine, other))
        bound += gate.offset
    return GateResult(gate.text, where, value, bound, compare(value, bound))
