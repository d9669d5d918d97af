"""RayEngine: actors of a Ray cluster, of which each, and each machine, may be lost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from embridge.errors import WorkerError, require
from embridge.scale._dispatch import Dispatch, PooledEngine
from embridge.scale._events import Died, Event, Failed, attempt, prepared

if TYPE_CHECKING:
    from embridge.scale.engines import EngineSettings

__all__ = ["RayEngine", "open_ray"]

_START_SECONDS = 600.0  # an actor may wait for a machine that comes, and loads a model
_LOOK_SECONDS = 10.0
_SHOWN = 400


@dataclass(slots=True, eq=False)
class RayEngine(PooledEngine):
    """Does shards in actors of the Ray cluster that this process is connected to. Open it with `open_ray`.

    Files and stores that shards name are at the same place for all machines, and the same version of this library is
    installed there.

    Attributes:
        workers: How many actors.
        settings: What each gets.
        ours: Whether closing the engine ends the connection.
        start_seconds: How long it waits for an actor where none works.

    Examples:
        >>> RayEngine.__slots__[:2]
        ('workers', 'settings')
    """

    workers: int
    settings: EngineSettings
    ours: bool = True
    start_seconds: float = _START_SECONDS

    def dispatch(self, prepare: Callable[[], Callable[[Any], Any]]) -> Dispatch:
        crew = _Actors(prepare, self.settings, self.start_seconds)
        return Dispatch(crew, self.workers, self.settings.in_flight, self.settings.retries)

    def close(self) -> None:
        self.let_go()
        if self.ours:
            _ray().shutdown()


def open_ray(address: str, settings: EngineSettings) -> RayEngine:
    """Connect to a Ray cluster, or start one of this machine alone; where this process is connected already, that counts.

    Args:
        address: ``local``, or what `ray.init` takes, such as ``10.0.0.1:6379`` or ``auto``.
        settings: What workers get.

    Returns:
        The engine.

    Raises:
        MissingExtra: Ray is not installed.
        WorkerError: The cluster cannot be reached, or has no room for one worker.

    Examples:
        >>> open_ray.__name__
        'open_ray'
    """
    ray = _ray()
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, address, logs=settings.logs)
    asked, held = _resources(settings), ray.cluster_resources()
    room = min(held.get(name, 0) / amount for name, amount in asked.items())
    if room < 1:
        if ours:
            ray.shutdown()
        found = {name: held.get(name, 0) for name in asked}
        raise WorkerError(f"a worker asks for {_amounts(asked)}; the cluster at {address} has {_amounts(found)}")
    return RayEngine(settings.workers or int(room), settings, ours)


def _resources(settings: EngineSettings) -> dict[str, float]:
    """What a worker asks for, by Ray's names; what it does not ask for is left out."""
    asked = {"CPU": settings.cpus, "GPU": settings.gpus, "memory": settings.memory_gb * 1e9}
    return {name: amount for name, amount in asked.items() if amount}


def _amounts(resources: Mapping[str, float]) -> str:
    texts = {"CPU": "{:g} processors", "GPU": "{:g} GPUs", "memory": "{:.3g} bytes of memory"}
    return " and ".join(texts[name].format(amount) for name, amount in resources.items())


def _ray() -> Any:
    return require("ray", extra="ray")


def _version() -> str:
    version: str = import_module("embridge").__version__
    return version


def _connect(ray: Any, address: str, *, logs: bool) -> None:
    own = {"include_dashboard": False} if address == "local" else {}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what it will do by itself, and warns of
    try:
        ray.init(address=address, log_to_driver=logs, logging_level="error", **own)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise WorkerError(f"no Ray cluster answers at {address}: {error}") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Worker:
    actor: Any


@dataclass(slots=True, eq=False)
class _Actors:
    """The crew of a Ray engine."""

    prepare: Callable[[], Callable[[Any], Any]]
    settings: EngineSettings
    start_seconds: float
    _worker_of: dict[Any, _Worker] = field(default_factory=dict)  # by the reference of what it will say
    _ready: set[_Worker] = field(default_factory=set)

    def start(self) -> _Worker:
        asked = _resources(self.settings)
        actor = (
            _ray()
            .remote(_Actor)
            .options(
                num_cpus=asked["CPU"],
                num_gpus=asked.get("GPU", 0),
                memory=int(asked.get("memory", 0)) or None,
                max_restarts=0,
            )
        )
        worker = _Worker(actor.remote(_version()))
        self._worker_of[worker.actor.prepare.remote(self.prepare)] = worker
        return worker

    def submit(self, worker: _Worker, shard: Any) -> None:
        self._worker_of[worker.actor.do.remote(shard)] = worker

    def wait(self) -> tuple[_Worker, Event]:
        ray, began = _ray(), time.monotonic()
        while not (heard := ray.wait(list(self._worker_of), num_returns=1, timeout=_LOOK_SECONDS)[0]):
            if not self._ready and time.monotonic() - began > self.start_seconds:
                raise WorkerError(
                    f"no worker was ready within {self.start_seconds:g} s; each asks for {_amounts(_resources(self.settings))}, "
                    f"and free are {ray.available_resources()}"
                )
        worker = self._worker_of.pop(heard[0])
        try:
            event = ray.get(heard[0])
        except ray.exceptions.RayTaskError as error:  # what it said cannot be sent
            return worker, Failed(WorkerError(_end_of(error).how))
        except ray.exceptions.RayError as error:
            return worker, _end_of(error)
        self._ready.add(worker)
        return worker, event

    def stop(self, worker: _Worker, *, at_once: bool) -> None:
        self._ready.discard(worker)
        self._worker_of = {said: other for said, other in self._worker_of.items() if other is not worker}
        with suppress(_ray().exceptions.RayError):
            _ray().kill(worker.actor)


def _end_of(error: Exception) -> Died:
    """How an actor ended, of the page that Ray writes on it: what the system said, or its last line."""
    text = " ".join(str(error).split())
    _, found, detail = text.partition("Memory on the node ")
    if found:
        return Died(
            f"out of memory: Ray ended it, since the node {detail.partition(' OOM kill')[0][:_SHOWN]}", memory=True
        )
    _, found, detail = text.rpartition("Worker exit detail: ")
    if found:
        return Died(detail.partition(" Some common causes")[0].rstrip(".")[:_SHOWN])
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return Died(lines[-1][-_SHOWN:] if lines else type(error).__name__)


class _Actor:
    """A worker, in a process of the cluster."""

    def __init__(self, version: str) -> None:
        if version != (here := _version()):
            raise RuntimeError(f"embridge {version} asks, and {here} is installed where the worker runs")
        self._function: Callable[[Any], Any] | None = None

    def prepare(self, prepare: Callable[[], Callable[[Any], Any]]) -> Event:
        self._function, event = prepared(prepare)
        return event

    def do(self, shard: Any) -> Event:
        assert self._function is not None
        return attempt(self._function, shard)
