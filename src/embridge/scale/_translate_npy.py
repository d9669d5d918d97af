"""An npy mapped into another, range by range: workers write into one file, each where its rows stand."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from shutil import rmtree

import numpy as np
import xxhash

from embridge.atomic_write import atomic_file, atomic_pair
from embridge.progress import Progress
from embridge.scale._mapping import map_from, mapped
from embridge.scale.engine import Engine
from embridge.space import Space
from embridge.vector_files._npy import BLOCK_BYTES, CHECKSUM, belongs, checksums, sidecar_of
from embridge.vector_files._ranges import Divided, Range
from embridge.vector_files._streams import write_npy_header

__all__ = ["NpyWorker", "npy_start", "translate_npy"]


@dataclass(frozen=True, slots=True)
class NpyWorker:
    """Prepares a worker: the map, and the file that it writes into.

    work: The folder of what is under way: ``vectors``, and for each range that is done the checksums of its blocks. start:
    Where vectors begin in the file.
    """

    upgrade: Path
    source: Space
    target: Space
    work: Path
    start: int
    batch_rows: int

    def __call__(self) -> Callable[[Range], int]:
        adapter, width = map_from(self.upgrade, self.source), 4 * self.target.dim

        def translate(part: Range) -> int:
            done = self.work / f"done-{part.first:012d}.json"
            if done.exists():
                return part.rows
            sums = _BlockSums(self.start + part.first * width)
            with (self.work / "vectors").open("r+b", buffering=0) as file:
                file.seek(sums.position)
                for _, vectors in part.read():
                    for result in mapped(adapter, vectors, self.batch_rows):
                        content = np.ascontiguousarray(result, "<f4").reshape(-1).view(np.uint8).data
                        written = 0
                        while written < len(content):
                            written += file.write(content[written:])
                        sums.update(content)
                os.fdatasync(file.fileno())
            with atomic_file(done) as temporary:
                temporary.write_text(json.dumps(sums.of))
            return part.rows

        return translate


def npy_start(rows: int, dim: int) -> int:
    """Where vectors begin in the file of so many."""
    return write_npy_header(BytesIO(), rows, dim)


def translate_npy(engine: Engine, worker: NpyWorker, divided: Divided, to: Path, progress: Progress) -> int:
    """Map all ranges, and give the file its name with the JSON beside it; how many rows were done in this run."""
    rows, done = len(divided.ids), 0
    vectors = worker.work / "vectors"
    if not vectors.exists():
        with atomic_file(vectors) as temporary, temporary.open("wb") as file:
            start = write_npy_header(file, rows, worker.target.dim)
            file.truncate(start + 4 * rows * worker.target.dim)
    for _, count in engine.run(worker, divided.ranges):
        done += count
        progress(done, rows, f"translate to {worker.target.model}")
    with atomic_pair(to, sidecar_of(to), belongs=belongs) as (array, description):
        array.unlink(missing_ok=True)
        os.link(vectors, array)
        npy = {"block_bytes": BLOCK_BYTES, CHECKSUM: _sums(worker.work, vectors)}
        description.write_text(json.dumps({"space": worker.target.to_dict(), "npy": npy, "ids": divided.ids}))
    rmtree(worker.work)
    return done


@dataclass(slots=True, eq=False)
class _BlockSums:
    """Checksums of the blocks that lie within a part of a file, by their number, from what is written there in order."""

    position: int
    of: dict[str, str] = field(default_factory=dict)
    _hash: xxhash.xxh3_64 | None = None

    def update(self, content: memoryview) -> None:
        while len(content):
            inside = self.position % BLOCK_BYTES
            part = content[: BLOCK_BYTES - inside]
            if not inside:
                self._hash = xxhash.xxh3_64()
            if self._hash is not None:
                self._hash.update(part)
            self.position, content = self.position + len(part), content[len(part) :]
            if self._hash is not None and not self.position % BLOCK_BYTES:
                self.of[str(self.position // BLOCK_BYTES - 1)] = self._hash.hexdigest()


def _sums(work: Path, vectors: Path) -> list[str | int]:
    """Checksums of all blocks: as workers left them, and of those that no worker wrote alone."""
    known: dict[str, str | int] = {}
    for done in work.glob("done-*.json"):
        known |= json.loads(done.read_text())
    sums: list[str | int] = []
    with vectors.open("rb") as file:
        for block in range(-(-vectors.stat().st_size // BLOCK_BYTES)):
            if str(block) not in known:
                content = os.pread(file.fileno(), BLOCK_BYTES, block * BLOCK_BYTES)
                known[str(block)] = next(iter(checksums(np.frombuffer(content, np.uint8), CHECKSUM, BLOCK_BYTES)))
            sums.append(known[str(block)])
    return sums
