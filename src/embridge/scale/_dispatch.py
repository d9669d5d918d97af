"""Handing shards to workers: as they get free, again where one died, and no more at once than they can take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

from embridge.errors import EmbridgeError, WorkerError
from embridge.scale._events import Died, Done, Event, Failed, Ready

__all__ = ["Crew", "Dispatch", "PooledEngine"]

_Shard = TypeVar("_Shard")
_Result = TypeVar("_Result")
_SHOWN = 200
_SHORT_OF_MEMORY = (
    "A worker holds its model and one batch in memory: lower the batch size (batch_rows of a rollout, batch_size of a model), "
    "or let fewer workers share a machine (local:N; workers and memory_gb on Ray). "
)
_LOGS = "Their own messages come with --worker-logs (logs=True)"


class Crew(Protocol):
    """Workers of one kind, prepared for one kind of shards."""

    def start(self) -> Any:
        """A new worker, which will say that it is ready."""
        ...

    def submit(self, worker: Any, shard: Any) -> None:
        """Give it a shard; it does its shards in order."""
        ...

    def wait(self) -> tuple[Any, Event]:
        """The next thing that a worker says."""
        ...

    def stop(self, worker: Any, *, at_once: bool) -> None:
        """End it; at once where it is at a shard that nobody waits for."""
        ...


@dataclass(slots=True, eq=False)
class PooledEngine(ABC):
    """An engine whose workers stay for the next run with an equal ``prepare``."""

    _held: tuple[object, Dispatch] | None = field(default=None, init=False, repr=False)

    @abstractmethod
    def dispatch(self, prepare: Callable[[], Callable[[Any], Any]]) -> Dispatch:
        """What hands shards to a crew that is prepared so."""

    def run(
        self, prepare: Callable[[], Callable[[_Shard], _Result]], shards: Iterable[_Shard]
    ) -> Iterator[tuple[_Shard, _Result]]:
        if self._held is None or self._held[0] != prepare:
            self.let_go()
            self._held = (prepare, self.dispatch(prepare))
        return self._held[1].run(shards)

    def let_go(self) -> None:
        """End the workers."""
        if self._held is not None:
            self._held[1].close()
        self._held = None

    def close(self) -> None:
        self.let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()


@dataclass(slots=True)
class _Task:
    shard: Any
    deaths: int = 0


@dataclass(slots=True, eq=False)
class Dispatch:
    """Hands shards to a crew.

    Attributes:
        crew: The workers.
        workers: How many at most.
        in_flight: Shards that a worker has at once: one that it does, and others that wait there.
        retries: How often a shard is done again because its worker died.
    """

    crew: Crew
    workers: int
    in_flight: int
    retries: int
    _tasks: dict[Any, deque[_Task]] = field(default_factory=dict, init=False)
    _ready: set[Any] = field(default_factory=set, init=False)
    _died_early: int = field(default=0, init=False)

    def run(self, shards: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """As `Engine.run`."""
        source, waiting = iter(shards), deque[_Task]()
        try:
            while self._fill(waiting, source):
                self._hand_out(waiting)
                worker, event = self.crew.wait()
                if isinstance(event, Done):
                    yield self._tasks[worker].popleft().shard, event.result
                else:
                    self._take(worker, event, waiting)
        finally:
            if any(self._tasks.values()):  # given up: nobody asks for their results
                self.close()

    def close(self) -> None:
        """End all workers."""
        while self._tasks:
            self._end(next(iter(self._tasks)))

    def _fill(self, waiting: deque[_Task], source: Iterator[Any]) -> int:
        """Ask for as many shards as workers can take; how many are open then."""
        count = len(waiting) + sum(map(len, self._tasks.values()))
        while count < self.workers * self.in_flight:
            try:
                waiting.append(_Task(next(source)))
            except StopIteration:
                break
            count += 1
        return count

    def _hand_out(self, waiting: deque[_Task]) -> None:
        idle = sum(not self._tasks[worker] for worker in self._tasks)
        for _ in range(min(len(waiting) - idle, self.workers - len(self._tasks))):
            self._tasks[self.crew.start()] = deque()
        while waiting and (free := [worker for worker in self._ready if len(self._tasks[worker]) < self.in_flight]):
            worker, task = min(free, key=lambda one: len(self._tasks[one])), waiting.popleft()
            self._tasks[worker].append(task)
            self.crew.submit(worker, task.shard)

    def _take(self, worker: Any, event: Event, waiting: deque[_Task]) -> None:
        """What else a worker says than that a shard is done."""
        if isinstance(event, Ready):
            self._ready.add(worker)
            self._died_early = 0
        elif isinstance(event, Failed):
            raise _named(event.error, self._tasks[worker])
        elif isinstance(event, Died):
            self._bury(worker, event, waiting)

    def _bury(self, worker: Any, died: Died, waiting: deque[_Task]) -> None:
        """Let others do what a worker leaves; the one shard that it was at may have killed it."""
        tasks, early = self._tasks[worker], worker not in self._ready
        self._end(worker)
        waiting.extendleft(reversed(tasks))
        self._died_early += early
        if tasks:
            tasks[0].deaths += 1
        if tasks and tasks[0].deaths > self.retries:
            raise _too_often(f"{_shown(tasks[0].shard)}: {_workers(tasks[0].deaths)} died of it", died)
        if self._died_early > self.retries:
            raise _too_often(f"{_workers(self._died_early)} died before any was ready", died)

    def _end(self, worker: Any) -> None:
        idle = worker in self._ready and not self._tasks.pop(worker)
        self._tasks.pop(worker, None)
        self._ready.discard(worker)
        self.crew.stop(worker, at_once=not idle)


def _named(error: Exception, tasks: deque[_Task]) -> Exception:
    """A worker's error with the shard that it is of."""
    where = f"{_shown(tasks[0].shard)}: " if tasks else ""
    if not isinstance(error, EmbridgeError):
        error.add_note(f"{where or 'A worker was prepared'}")
        return error
    named = type(error)(f"{where}{error}")
    named.__notes__ = getattr(error, "__notes__", [])
    return named


def _workers(count: int) -> str:
    return f"{count} worker{'s' * (count > 1)}"


def _too_often(what: str, died: Died) -> WorkerError:
    """What is said when workers died more often than may be."""
    return WorkerError(f"{what}, the last one: {died.how}. {_SHORT_OF_MEMORY if died.memory else ''}{_LOGS}")


def _shown(shard: Any) -> str:
    text = str(shard)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
