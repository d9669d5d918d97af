"""Workers of the settings, and the galleries that they hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embridge.evaluation import Side
from embridge.progress import Progress
from embridge.scale.gallery import Spreading, spreading
from embridge.settings import WorkersSettings

__all__ = ["opened_workers", "spread_side"]


@contextmanager
def opened_workers(engine: WorkersSettings | None, *, beside: Path, progress: Progress) -> Iterator[Spreading | None]:
    """What makes galleries that workers hold, which have a folder beside a file; None where the settings name no engine."""
    if engine is None:
        yield None
        return
    with engine.open() as opened, spreading(opened, beside, progress=progress) as workers:
        yield workers


def spread_side(side: Side, workers: Spreading | None) -> Side:
    """The side with its gallery where workers read it; as it is where there are none."""
    if workers is None:
        return side
    without = None if side.without_lora is None else spread_side(side.without_lora, workers)
    return Side(side.queries, workers.held(side.gallery), without)
