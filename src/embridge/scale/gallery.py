"""A gallery whose rows workers read: for evaluations and for exact search, with the answers of one process to the bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from embridge.adapters.base import Adapter
from embridge.atomic_write import temporary_folder
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.evaluation._parted import Parted
from embridge.nearest import Hits, Ranking
from embridge.nearest._parts import Through, Work, ranked, vectors_of
from embridge.progress import Progress, silent
from embridge.scale._rows import Cut, Rows, stamp_of
from embridge.scale._tasks import Over, Reading, Tasks, Throughout, joined
from embridge.scale.engine import Engine
from embridge.shapes import Float32, Int64
from embridge.space import Space, require_same
from embridge.vector_files._ranges import Divided, divided

__all__ = ["SpreadGallery", "Spreading", "spreading"]

_R = TypeVar("_R")
_BYTES = 4

Arrange = Callable[[tuple[str, ...]], np.ndarray]


class SpreadGallery(Parted):
    """Embeddings of which this process holds the ids, and workers read the vectors; `Spreading` makes them.

    What is asked of it is done a block of rows at a time. Blocks do not depend on how many workers there are, so that scores,
    figures and the order of equal scores are those of one process. ``vectors`` reads all of them into this process.

    Examples:
        >>> from embridge import write_vectors
        >>> from embridge.scale import SerialEngine
        >>> _ = write_vectors(Embeddings.of(np.eye(3, dtype=np.float32), Space("toy", "1", 3)), "rows.npy")
        >>> with SerialEngine() as engine, spreading(engine, "work") as rows:
        ...     rows.file("rows.npy").take([2]).vectors.tolist()
        [[0.0, 0.0, 1.0]]
    """

    __slots__ = ("_rows", "_tasks")
    _rows: Rows
    _tasks: Tasks

    def __init__(self, ids: tuple[str, ...], space: Space, tasks: Tasks, rows: Rows) -> None:
        for name, value in (("ids", ids), ("space", space), ("_tasks", tasks), ("_rows", rows)):
            object.__setattr__(self, name, value)

    @property
    def vectors(self) -> Float32[np.ndarray, "n d"]:
        """All of them, in this process."""
        return vectors_of(self, np.arange(len(self)))

    def over(self, work: Work[_R]) -> _R:
        parts = self._tasks.ranges_of(self._rows.shape[0])
        results = (result for _, result in self._tasks.run(Over(self._rows, work), parts, "search"))
        whole = joined(work, (result for result in results if result is not None))
        return work.of(np.zeros((0, self.space.dim), np.float32), 0) if whole is None else whole

    def through(self, work: Through[Any, _R], items: Sequence[Any]) -> list[_R]:
        parts = [(f"all rows, part {i + 1} of {len(items)}", i) for i in range(len(items))]
        results = dict(self._tasks.run(Throughout(self._rows, work, tuple(items)), parts, "rank"))
        return [results[i] for i in range(len(items))]

    def mapped(self, adapter: Adapter) -> SpreadGallery:
        require_same(adapter.source, self.space, what=f"input of the {adapter.kind} adapter")
        return self._stepped(adapter, adapter.target)

    def cut(self, dim: int, space: Space) -> SpreadGallery:
        return self._stepped(Cut(dim), space)

    def part(self, rows: Int64[np.ndarray, " m"]) -> SpreadGallery:
        if self._rows.kept is not None or (np.diff(rows) < 1).any():
            raise InvalidInput("expected a part of the whole gallery, its rows ascending; came another")
        ids = tuple(self.ids[row] for row in rows.tolist())
        return SpreadGallery(ids, self.space, self._tasks, replace(self._rows, kept=rows))

    def take(self, rows: Sequence[int] | np.ndarray) -> Embeddings:
        """Those rows, in that order, in this process."""
        index = np.asarray(rows, dtype=np.int64).reshape(-1)
        return Embeddings(tuple(self.ids[row] for row in index.tolist()), vectors_of(self, index), self.space)

    def chunks(self, rows: int) -> Iterator[Embeddings]:
        """Consecutive parts of at most ``rows`` rows, each read into this process."""
        if rows < 1:
            raise InvalidInput(f"a chunk has at least 1 row, not {rows}")
        return (self.take(np.arange(i, min(i + rows, len(self)))) for i in range(0, len(self), rows))

    def search(self, queries: Embeddings, k: int) -> Hits:
        """The k nearest items of every query, as `embridge.search` finds them.

        Args:
            queries: Rows of the same space.
            k: How many items a query gets; more than there are gives all.

        Returns:
            Ids and scores, best first.

        Raises:
            SpaceMismatch: The queries lie in another space.
            InvalidInput: k is below 1.
        """
        require_same(self.space, queries.space, what="the queries")
        if k < 1:
            raise InvalidInput(f"expected k >= 1, came k={k}")
        ranking: Ranking = ranked(queries.vectors, self, k, metric=self.space.metric)
        name = self.ids.__getitem__
        return Hits(tuple(tuple(map(name, row)) for row in ranking.rows.tolist()), ranking.scores)

    def _stepped(self, step: Adapter | Cut, space: Space) -> SpreadGallery:
        rows = replace(self._rows, steps=(*self._rows.steps, step))
        return SpreadGallery(self.ids, space, self._tasks, rows)


class Spreading:
    """Makes galleries that the workers of one engine read; `spreading` opens it.

    Args:
        tasks: What they are told, and where.

    Examples:
        >>> from embridge.scale import SerialEngine
        >>> with SerialEngine() as engine, spreading(engine, "work") as workers:
        ...     isinstance(workers, Spreading)
        True
    """

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def file(
        self,
        path: Path | str,
        *,
        space: Space | None = None,
        cast: bool = False,
        columns: Mapping[str, str] | None = None,
        arrange: Arrange | None = None,
    ) -> SpreadGallery:
        """A file of vectors. Workers read and check all of it now, and copy it unless it is an npy of float32.

        Args:
            path: As for `embridge.read_vectors`.
            space: As for `embridge.read_vectors`.
            cast: As for `embridge.read_vectors`.
            columns: As for `embridge.read_vectors`.
            arrange: From the ids, the row numbers in the order that equal scores are ranked by; as they lie where None.

        Returns:
            The gallery.

        Raises:
            InvalidInput: As `embridge.read_vectors`, or the disk has no room for the copy.
            SpaceMismatch: The file says another space.
        """
        file = divided(path, space=space, cast=cast, columns=columns)
        shape = len(file.ids), file.space.dim
        copy = None if file.plain else self._copy(shape, path)
        parts = [(str(part), part) for part in file.ranges]
        before = stamp_of(file.ranges[0].path)
        for _ in self._tasks.run(Reading(copy), parts, f"read {Path(path).name}"):
            pass
        plain = Rows(file.ranges[0].path.resolve(), file.start, shape, before)  # unchanged since it was checked
        rows = plain if copy is None else Rows.of(copy, 0, shape)
        return self._arranged(file, rows, arrange)

    def held(self, rows: Embeddings) -> SpreadGallery:
        """Embeddings that this process holds, written where workers read them."""
        copy = self._copy((len(rows), rows.space.dim), "the gallery")
        with copy.open("r+b") as file:
            for part in rows.chunks(65_536):
                file.write(np.ascontiguousarray(part.vectors).data)
        return SpreadGallery(rows.ids, rows.space, self._tasks, Rows.of(copy, 0, (len(rows), rows.space.dim)))

    def _arranged(self, file: Divided, rows: Rows, arrange: Arrange | None) -> SpreadGallery:
        if arrange is None:
            return SpreadGallery(file.ids, file.space, self._tasks, rows)
        order = arrange(file.ids)
        saved = self._tasks.new_file("order.npy")
        np.save(saved, order)
        ids = tuple(file.ids[row] for row in order.tolist())
        return SpreadGallery(ids, file.space, self._tasks, replace(rows, order=saved))

    def _copy(self, shape: tuple[int, int], what: Path | str) -> Path:
        file, size = self._tasks.new_file("rows.f32"), shape[0] * shape[1] * _BYTES
        free = shutil.disk_usage(self._tasks.folder).free
        if size > free:
            raise InvalidInput(
                f"{what}: its copy for the workers needs {size / 1e9:.2f} GB beside the report, {free / 1e9:.2f} GB are free; "
                "make room, or write it as an npy of float32, which needs no copy"
            )
        with file.open("wb") as opened:
            opened.truncate(size)
        return file


@contextmanager
def spreading(engine: Engine, folder: Path | str, *, progress: Progress = silent) -> Iterator[Spreading]:
    """Have an engine's workers read galleries.

    Args:
        engine: Whose workers.
        folder: A name for what they are told and for copies of rows, in a folder that all of them see; what is written beside
            this name is gone at the end.
        progress: Hears how far they are.

    Yields:
        What makes galleries.

    Raises:
        InvalidInput: Nothing can be written there.

    Examples:
        >>> from embridge.scale import SerialEngine
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2), ["a", "b"])
        >>> with SerialEngine() as engine, spreading(engine, "work") as workers:
        ...     workers.held(rows).search(rows, 1).ids
        (('a',), ('b',))
    """
    with temporary_folder(Path(folder).resolve(), within=False) as made:
        yield Spreading(Tasks(engine, made, progress))
