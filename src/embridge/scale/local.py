"""LocalEngine: a pool of processes on this machine, of which each may die."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from embridge.errors import InvalidInput, WorkerError
from embridge.scale._dispatch import Dispatch, PooledEngine
from embridge.scale._events import Died, Event, Failed, attempt, prepared

__all__ = ["LocalEngine"]

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_PATIENCE_SECONDS = 5.0


@dataclass(slots=True, eq=False)
class LocalEngine(PooledEngine):
    """Does shards in processes of this machine, which are started anew and share no memory.

    A worker ends with this process, however that ends. Scripts that use it keep their own work under
    ``if __name__ == "__main__":``, as with any `multiprocessing`.

    Attributes:
        workers: How many processes.
        in_flight: Shards that a worker has at once.
        retries: How often a shard is done again because its worker died.
        threads: Of each worker, for products of matrices.
        logs: Whether what workers print goes to stderr; it is dropped otherwise.

    Raises:
        InvalidInput: A number is out of range.

    Examples:
        >>> LocalEngine(2).workers
        2
    """

    workers: int
    in_flight: int = 1
    retries: int = 3
    threads: int = 1
    logs: bool = False

    def __post_init__(self) -> None:
        for name in ("workers", "in_flight", "threads"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is at least 1, came {getattr(self, name)}")
        if self.retries < 0:
            raise InvalidInput(f"retries is 0 or more, came {self.retries}")

    def dispatch(self, prepare: Callable[[], Callable[[Any], Any]]) -> Dispatch:
        return Dispatch(_Processes(prepare, self.threads, self.logs), self.workers, self.in_flight, self.retries)


@dataclass(frozen=True, slots=True, eq=False)
class _Worker:
    process: Any
    connection: Connection


@dataclass(slots=True, eq=False)
class _Processes:
    """The crew of a local engine."""

    prepare: Callable[[], Callable[[Any], Any]]
    threads: int
    logs: bool
    _of: dict[Connection, _Worker] = field(default_factory=dict)

    def start(self) -> _Worker:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self.prepare, self.logs), daemon=True)
        with theirs, _environment(dict.fromkeys(_THREADS, str(self.threads))):
            process.start()
        worker = self._of[ours] = _Worker(process, ours)
        return worker

    def submit(self, worker: _Worker, shard: Any) -> None:
        try:
            worker.connection.send(shard)
        except (BrokenPipeError, ConnectionResetError):
            return  # it died: `wait` says so

    def wait(self) -> tuple[_Worker, Event]:
        worker = self._of[wait(list(self._of))[0]]  # type: ignore[index]
        try:
            return worker, worker.connection.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join(_PATIENCE_SECONDS)
            return worker, _end_of(worker.process.exitcode)

    def stop(self, worker: _Worker, *, at_once: bool) -> None:
        del self._of[worker.connection]
        worker.connection.close()  # one that waits for a shard ends by itself
        worker.process.join(0.0 if at_once else _PATIENCE_SECONDS)
        worker.process.kill()
        worker.process.join()


def _work(connection: Connection, prepare: Callable[[], Callable[[Any], Any]], logs: bool) -> None:
    """A worker: one shard after the other, until nobody asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever hands out shards decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _redirect(logs)
    function, event = prepared(prepare)
    connection.send(event)
    while function is not None:
        try:
            shard = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        event = attempt(function, shard)
        try:
            connection.send(event)
        except (BrokenPipeError, ConnectionResetError):
            return
        except Exception as error:  # a result that cannot be pickled
            connection.send(Failed(WorkerError(f"{type(error).__name__}: {error}")))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _redirect(logs: bool) -> None:
    """What a worker prints is no result of the command: it goes to stderr, or nowhere."""
    target = sys.stderr.fileno() if logs else os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(target, stream.fileno())


def _end_of(code: int | None) -> Died:
    if code is None:
        return Died("it no longer answers")
    if code == -signal.SIGKILL:
        return Died("ended by signal 9 (SIGKILL), which the system sends where memory is short", memory=True)
    return Died(
        f"ended by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
    )


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """The variables that a process inherits which is started within."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
