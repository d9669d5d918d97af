"""Schedules: which share of the learning rate there is at a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

from embridge.errors import SettingsError

__all__ = ["Schedule", "learning_rate_share"]

Schedule = Literal["one-cycle", "cosine", "multistep"]

_START, _END = 1 / 25, 1 / 250_000


def learning_rate_share(
    schedule: Schedule, steps: int, *, warmup_fraction: float = 0.0, milestones: tuple[float, ...] = ()
) -> Callable[[int], float]:
    """Give the share of the learning rate at each step.

    ``one-cycle`` goes from 1/25 up to 1 and down to 1/250,000, both along a cosine (Smith & Topin 2017, arXiv 1708.07120, as
    torch has it, without its cycle of the momentum). ``cosine`` is a line up, then a cosine down to 0 (Loshchilov & Hutter,
    ICLR 2017, arXiv 1608.03983, without restarts). ``multistep`` is a line up, then a tenth from each milestone on.

    Args:
        schedule: ``one-cycle``, ``cosine`` or ``multistep``.
        steps: Of the whole training.
        warmup_fraction: Of the steps, in which the share rises.
        milestones: Of ``multistep``, as fractions of the steps.

    Returns:
        The share by the number of the step, counted from 0.

    Raises:
        SettingsError: There is no such schedule.

    Examples:
        >>> share = learning_rate_share("multistep", 100, milestones=(0.5, 0.75))
        >>> [round(share(step), 3) for step in (0, 49, 50, 75)]
        [1.0, 1.0, 0.1, 0.01]
    """
    warmup = round(warmup_fraction * steps)
    if schedule == "one-cycle":
        return partial(_one_cycle, steps=steps, peak=warmup_fraction * steps - 1)
    if schedule == "cosine":
        return partial(_cosine, steps=steps, warmup=warmup)
    if schedule == "multistep":
        return partial(_multistep, warmup=warmup, milestones=[round(m * steps) for m in milestones])
    raise SettingsError(f"schedule is one-cycle, cosine or multistep, came {schedule!r}")


def _one_cycle(step: int, *, steps: int, peak: float) -> float:
    if step <= peak:
        return _between(_START, 1.0, step / peak if peak > 0 else 1.0)
    first = max(peak, 0.0)
    return _between(1.0, _END, min(1.0, (step - first) / max(steps - 1 - first, 1)))


def _between(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def _cosine(step: int, *, steps: int, warmup: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


def _multistep(step: int, *, warmup: int, milestones: list[int]) -> float:
    return min(1.0, (step + 1) / max(1, warmup)) * 0.1 ** sum(step >= m for m in milestones)
