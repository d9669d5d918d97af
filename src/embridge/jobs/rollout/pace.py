"""How fast rows get their new vector."""

from __future__ import annotations

import time
from collections.abc import Callable

from embridge.jobs.rollout.status import RolloutStatus

__all__ = ["Pace"]


class Pace:
    """How fast rows get their new vector, from one look to the next.

    Args:
        clock: Gives seconds.

    Examples:
        >>> pace = Pace(iter([0.0, 10.0]).__next__)
        >>> looks = [RolloutStatus("memory:", None, 100, encoded, 0, {}, ()) for encoded in (0, 40)]
        >>> [pace.rows_per_second(look) for look in looks]
        [0.0, 4.0]
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: list[tuple[float, int]] = []

    def rows_per_second(self, status: RolloutStatus) -> float:
        """Rows a second since the oldest of the last ten looks; 0 where nothing moves."""
        self._seen = [*self._seen[-9:], (self._clock(), status.encoded)]
        (began, before), (now, done) = self._seen[0], self._seen[-1]
        return max(0.0, (done - before) / (now - began)) if now > began else 0.0

    def told(self, status: RolloutStatus) -> str:
        """The pace and the time that is left, in words; nothing where nothing moves."""
        rate = self.rows_per_second(status)
        return f"{rate:,.0f} rows a second, {(status.rows - status.encoded) / rate:,.0f} s left" if rate else ""
