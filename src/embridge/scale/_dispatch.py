"""Handing shards to workers: as they get free, again where one died, and no more at once than they can take."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from embridge.errors import EmbridgeError, WorkerError
from embridge.scale._events import Died, Done, Event, Failed, Ready

__all__ = ["Crew", "Dispatch"]

_SHOWN = 200


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
            self._bury(worker, event.how, waiting)

    def _bury(self, worker: Any, how: str, waiting: deque[_Task]) -> None:
        """Let others do what a worker leaves; the one shard that it was at may have killed it."""
        tasks, early = self._tasks[worker], worker not in self._ready
        self._end(worker)
        waiting.extendleft(reversed(tasks))
        self._died_early += early
        if tasks:
            tasks[0].deaths += 1
        if tasks and tasks[0].deaths > self.retries:
            raise WorkerError(
                f"{_shown(tasks[0].shard)}: {tasks[0].deaths} workers died of it, the last one: {how}. Smaller batches need "
                "less memory; their own messages come with --worker-logs (logs=True)"
            )
        if self._died_early > self.retries:
            raise WorkerError(
                f"{self._died_early} workers died before they were ready, the last one: {how}; their own messages come with "
                "--worker-logs (logs=True)"
            )

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


def _shown(shard: Any) -> str:
    text = str(shard)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
