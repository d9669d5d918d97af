"""Engine: whatever does shards, wherever its workers are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, Self, TypeVar, runtime_checkable

__all__ = ["Engine", "SerialEngine"]

_Shard = TypeVar("_Shard")
_Result = TypeVar("_Result")


@runtime_checkable
class Engine(Protocol):
    """Does shards of work: in this process, in others, or on other machines.

    A shard is small and can be pickled, such as a range of rows; so is what its function returns. A function that runs twice
    must come to what it comes to once: a worker that dies costs its shard, which another worker does again.

    Attributes:
        workers: How many work side by side.
    """

    @property
    def workers(self) -> int: ...

    def run(
        self, prepare: Callable[[], Callable[[_Shard], _Result]], shards: Iterable[_Shard]
    ) -> Iterator[tuple[_Shard, _Result]]:
        """Do all shards; results come as they are done, in any order.

        Shards are asked for as workers get free, so there may be any number of them. Workers that were prepared stay for the
        next run with an equal ``prepare``.

        Args:
            prepare: Called once in each worker, where it loads what all shards need; gives the function of a shard. It can be
                pickled.
            shards: What to do.

        Yields:
            A shard and what its function returned.

        Raises:
            EmbridgeError: What a shard's function raised, with the shard named; the others are given up.
            WorkerError: Workers died too often.
        """
        ...

    def close(self) -> None:
        """End the workers."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *ended: object) -> None: ...


class SerialEngine:
    """Does one shard after the other in this process.

    Examples:
        >>> with SerialEngine() as engine:
        ...     list(engine.run(lambda: str.upper, ["a", "b"]))
        [('a', 'A'), ('b', 'B')]
    """

    workers = 1

    def __init__(self) -> None:
        self._prepared: tuple[object, object] | None = None

    def run(
        self, prepare: Callable[[], Callable[[_Shard], _Result]], shards: Iterable[_Shard]
    ) -> Iterator[tuple[_Shard, _Result]]:
        if self._prepared is None or self._prepared[0] != prepare:
            self._prepared = (prepare, prepare())
        function: Callable[[_Shard], _Result] = self._prepared[1]  # type: ignore[assignment]
        for shard in shards:
            yield shard, function(shard)

    def close(self) -> None:
        self._prepared = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()
