"""Work on rows as tasks of workers: what is common to all shards of a run lies in a file, which a worker reads once."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from embridge.nearest._parts import Through, Work, blocks
from embridge.progress import Progress
from embridge.scale._rows import Rows
from embridge.scale.engine import Engine
from embridge.vector_files._ranges import Range

__all__ = ["Over", "Reading", "Tasks", "Throughout", "joined"]

_SHARDS_EACH = 4  # of every worker, so that a slow one holds up little
_MOST_BLOCKS = 64


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a task."""

    task: str
    what: str
    part: Any

    def __str__(self) -> str:
        return self.what


class _Task(Protocol):
    """What all shards of a run have in common."""

    def of(self, part: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class _Prepare:
    """Gives the function of a shard, which keeps the task that it read last."""

    folder: Path

    def __call__(self) -> Callable[[Shard], Any]:
        held: dict[str, _Task] = {}

        def done(shard: Shard) -> Any:
            if shard.task not in held:
                held.clear()
                held[shard.task] = pickle.loads((self.folder / shard.task).read_bytes())  # noqa: S301 - our own
            return held[shard.task].of(shard.part)

        return done


class Tasks:
    """An engine, and a folder that all its workers see: for what they are told, and for copies of rows."""

    def __init__(self, engine: Engine, folder: Path, progress: Progress) -> None:
        self.engine, self.folder, self._progress = engine, folder, progress
        self._numbers = count()

    def new_file(self, name: str) -> Path:
        """A path in the folder that nothing has."""
        return self.folder / f"{next(self._numbers)}-{name}"

    def run(self, task: _Task, parts: Sequence[tuple[str, Any]], what: str) -> Iterator[tuple[Any, Any]]:
        """Do a task in parts, each with its name; parts and results as they are done."""
        file = self.new_file("task")
        file.write_bytes(pickle.dumps(task, protocol=5))
        shards = (Shard(file.name, name, part) for name, part in parts)
        try:
            for done, (shard, result) in enumerate(self.engine.run(_Prepare(self.folder), shards), 1):
                self._progress(done, len(parts), what)
                yield shard.part, result
        finally:
            file.unlink(missing_ok=True)

    def ranges_of(self, rows: int) -> list[tuple[str, range]]:
        """The blocks of so many rows, divided among the workers."""
        all_blocks = blocks(rows)
        each = min(_MOST_BLOCKS, -(-len(all_blocks) // (self.engine.workers * _SHARDS_EACH)))
        parts = [range(i, min(i + each, len(all_blocks))) for i in range(0, len(all_blocks), each)]
        return [(f"rows {all_blocks[p.start].start} to {all_blocks[p.stop - 1].stop - 1}", p) for p in parts]


@dataclass(frozen=True, slots=True)
class Reading:
    """Reads a file, which checks it, and writes its vectors as float32, unless the file is searched as it is."""

    copy: Path | None

    def of(self, part: Range) -> None:
        for first, vectors in part.read():
            if self.copy is not None:
                with self.copy.open("r+b") as file:
                    file.seek(first * part.dim * vectors.itemsize)
                    file.write(np.ascontiguousarray(vectors).data)


@dataclass(frozen=True, slots=True)
class Over:
    """A work on blocks of rows."""

    rows: Rows
    work: Work[Any]

    def of(self, part: range) -> Any:
        results = (self.work.of(vectors, first) for first, vectors in self.rows.portions(part))
        return joined(self.work, results)


@dataclass(frozen=True, slots=True)
class Throughout:
    """A work on all rows, for one item."""

    rows: Rows
    work: Through[Any, Any]
    items: tuple[Any, ...]

    def of(self, part: int) -> Any:
        everything = range(len(blocks(self.rows.shape[0])))
        return self.work.through(lambda: self.rows.portions(everything), self.items[part])


def joined(work: Work[Any], results: Iterable[Any]) -> Any:
    """Of all results; None where there are none."""
    whole = None
    for result in results:
        whole = result if whole is None else work.joined(whole, result)
    return whole
