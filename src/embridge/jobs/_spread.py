"""Workers of a job, and the galleries that they hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from embridge.evaluation import Side
from embridge.progress import Progress
from embridge.scale import Engine
from embridge.scale.gallery import Spreading, spreading
from embridge.settings import Settings

__all__ = ["opened_engine", "spread_side", "spreading_beside"]


@contextmanager
def opened_engine(engine: Engine | None, settings: Settings) -> Iterator[Engine | None]:
    """The engine, which stays open, or that of the settings; None where they name none."""
    if engine is not None or settings.engine is None:
        yield engine
        return
    with settings.engine.opened() as opened:
        yield opened


@contextmanager
def spreading_beside(report: Path, engine: Engine | None, progress: Progress) -> Iterator[Spreading | None]:
    """What makes galleries that workers hold, which have a folder beside the report; None where there are none."""
    with nullcontext() if engine is None else spreading(engine, report, progress=progress) as workers:
        yield workers


def spread_side(side: Side, workers: Spreading | None) -> Side:
    """The side with its gallery where workers read it; as it is where there are none."""
    if workers is None:
        return side
    without = None if side.without_lora is None else spread_side(side.without_lora, workers)
    return Side(side.queries, workers.held(side.gallery), without)
