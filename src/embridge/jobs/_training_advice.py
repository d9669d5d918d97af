"""What a training ends by saying: what was traded, whether the model is compatible, and what to try next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from embridge.evaluation.compatibility import Comparison
from embridge.jobs._training_control import Control
from embridge.shapes import Float64
from embridge.training.objectives import OBJECTIVES

__all__ = ["advice"]

_STILL_FALLING = 0.05  # of the loss, over its last tenth
_SELF_KEPT = 0.98  # of what the model trained alone finds in its own index


def advice(
    objective: str,
    found: Mapping[str, Float64[np.ndarray, " m"]],
    comparison: Comparison,
    control: Control | None,
    losses: Sequence[float],
) -> list[str]:
    """Say it in a few sentences.

    Args:
        objective: What was trained with.
        found: Whether the nearest item is of the right class, for each held-out item: ``old/old``, ``new/old``, ``new/new``.
        comparison: Of ``new/old`` with ``old/old``.
        control: The same network trained alone, and bridges after it; None where it was not asked for.
        losses: Of the training, in time.

    Returns:
        The sentences, the verdict first and what to do next last.
    """
    lines = [_verdict(found, comparison)]
    if control is not None:
        lines.append(_traded(found, control))
    return [*lines, _next(objective, found, comparison, control, losses)]


def _verdict(found: Mapping[str, Float64[np.ndarray, " m"]], comparison: Comparison) -> str:
    difference = comparison.difference
    figures = (
        f"new queries find {_share(found['new/old'])} in the old index, old ones {_share(found['old/old'])} "
        f"(difference {difference.value:+.3f}, 95 % interval {difference.low:+.3f} to {difference.high:+.3f}, "
        f"{len(found['new/old']):,} held-out items)"
    )
    if comparison.answer != "undecided":
        return f"{'Compatible' if comparison.answer == 'yes' else 'Not compatible'}: {figures}."
    more = "" if comparison.more_queries is None else f"; about {comparison.more_queries:,} more would settle it"
    return f"Undecided: {figures}{more}."


def _traded(found: Mapping[str, Float64[np.ndarray, " m"]], control: Control) -> str:
    own, alone = float(found["new/new"].mean()), float(control.alone.mean())
    crossed = float(found["new/old"].mean() - control.bridged[control.best].mean())
    return (
        f"Traded: {own:.3f} in its own index, {alone:.3f} when trained alone ({own - alone:+.3f}). In the old index it finds "
        f"{_amount(crossed)} the model trained alone with a bridge ({control.best})."
    )


def _next(
    objective: str,
    found: Mapping[str, Float64[np.ndarray, " m"]],
    comparison: Comparison,
    control: Control | None,
    losses: Sequence[float],
) -> str:
    if control is not None and not _ahead(found, control):
        return (
            "Next: training beside the old model is not ahead of a bridge here. Train alone (objective: independent), and fit "
            f"a bridge with embridge fit (method: {control.best})."
        )
    if comparison.answer == "yes":
        return "Next: measure it on judged queries with embridge evaluate."
    steps = ["train longer (training.epochs)"] if _falling(losses) else []
    if "extra" in OBJECTIVES[objective].length:
        steps.append("give it more dimensions (objective.settings.extra)")
    elif OBJECTIVES[objective].length == "old":
        steps.append("take an objective that adds dimensions (oca, bt2)")
    undecided = comparison.answer == "undecided"
    steps.append("hold out more items" if undecided else "train with more items of the old classes")
    return f"Next: {', or '.join(steps)}."


def _ahead(found: Mapping[str, Float64[np.ndarray, " m"]], control: Control) -> bool:
    """Whether compatible training finds more in the old index than a bridge, and keeps nearly all in its own."""
    crosses = found["new/old"].mean() > control.bridged[control.best].mean()
    return bool(crosses and found["new/new"].mean() >= _SELF_KEPT * control.alone.mean())


def _falling(losses: Sequence[float]) -> bool:
    late = max(1, len(losses) // 10)
    return len(losses) > 2 * late and float(np.mean(losses[-late:])) < (1 - _STILL_FALLING) * float(
        np.mean(losses[-2 * late : -late])
    )


def _share(values: Float64[np.ndarray, " m"]) -> str:
    return f"{float(values.mean()):.3f}"


def _amount(difference: float) -> str:
    if abs(difference) < 0.0005:
        return "as much as"
    return f"{abs(difference):.3f} {'more' if difference > 0 else 'less'} than"
