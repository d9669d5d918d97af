"""What goes on beside a rollout: a reader and a writer through the gallery, and applications that know nothing of it.

Each is a process of its own, begins when it is told and ends when it is told, and leaves a file of what it met.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import count, islice
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.rollout.planted import Planted, TableEncoder, names_of
from embridge import Upgrade
from embridge.rollout.gallery import Gallery
from embridge.stores import open_store

__all__ = ["Traffic", "engine", "running"]

_CONTEXT = multiprocessing.get_context("spawn")
_PAUSED_SECONDS, _BEGUN_SECONDS = 0.05, 120
STABLE, WRITTEN = (
    0.8,
    0.9,
)  # of the rows: read and never written; up to there written through the gallery, then by others


@dataclass(frozen=True)
class Traffic:
    """What the processes share: where they work, and when they have begun, pause and end."""

    name: str
    place: str
    folder: Path
    config: Mapping[str, Any]
    begun: Any
    ended: Any
    held: Any

    @staticmethod
    def of(name: str, place: str, folder: Path, config: Mapping[str, Any]) -> Traffic:
        return Traffic(name, place, folder, config, _CONTEXT.Semaphore(0), _CONTEXT.Event(), _CONTEXT.Event())

    @property
    def planted(self) -> Planted:
        return Planted(self.folder, self.config["dim"])

    def says(self, what: str) -> Path:
        return self.folder / f"{what}.json"

    def beats(self, per_second: float) -> Iterator[float]:
        """The time, so often a second, or as often as goes; nothing while all are held."""
        due = time.time()
        self.begun.release()
        while not self.ended.is_set():
            if self.held.is_set():
                time.sleep(_PAUSED_SECONDS)
                due = time.time()
                continue
            yield time.time()
            if per_second:
                due = max(due + 1 / per_second, time.time() - 1)
                time.sleep(max(0.0, due - time.time()))


def engine(name: str) -> Any:
    """An engine's part by its name: ``served``, ``url``, ``insert``, ``Client`` and what it can do."""
    return import_module(f"benchmarks.rollout._{name}")


@contextmanager
def running(traffic: Traffic) -> Iterator[None]:
    """All processes at work, until they are told to end; raises where one failed."""
    roles: list[Callable[[Traffic], None]] = [read, write, search_old]
    if engine(traffic.name).FOREIGN_WRITES:
        roles.append(write_foreign)
    processes = [_CONTEXT.Process(target=_work, args=(role, traffic), daemon=True) for role in roles]
    for process in processes:
        process.start()
    try:
        if not all(traffic.begun.acquire(timeout=_BEGUN_SECONDS) for _ in processes):
            raise RuntimeError("a process of the traffic did not begin")
        yield
    finally:
        traffic.ended.set()
        for process in processes:
            process.join(60)
    codes = [process.exitcode for process in processes]
    if any(codes):
        raise RuntimeError(f"a process of the traffic failed: {codes}")


def _work(role: Callable[[Traffic], None], traffic: Traffic) -> None:
    Thread(target=_end_with_the_benchmark, daemon=True).start()
    with threadpool_limits(1):
        role(traffic)


def _end_with_the_benchmark() -> None:
    """Whoever is killed ends no child of its own."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _gallery(traffic: Traffic) -> Gallery:
    store = open_store(engine(traffic.name).url(traffic.place))
    new, old = (TableEncoder(traffic.folder, side=side) for side in ("new", "old"))
    return Gallery(store, Upgrade.load(traffic.planted.upgrade), new=new, old=old)


def read(traffic: Traffic) -> None:
    """Search at full speed for items that nobody writes: each has to be found, and no id twice."""
    gallery, reads = _gallery(traffic), []
    names, rng = names_of(int(STABLE * traffic.config["rows"])), np.random.default_rng(1)
    for began in traffic.beats(0):
        row, served, right, problem = int(rng.integers(len(names))), "", False, ""
        try:
            answer = gallery.search([str(row)], traffic.config["k"])
            (found,) = answer.hits.ids
            best = (
                found if answer.served == "mixed" else found[:1]
            )  # among few new rows, the first is not the first of all
            served, right = answer.served, names[row] in best and len(set(found)) == len(found)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        reads.append((began, time.time(), served, right, problem))
    traffic.says("reads").write_text(json.dumps(reads))


def write(traffic: Traffic) -> None:
    """Add items, change some and delete some, through the gallery; leaves what each of them has to be in the end."""
    gallery, config, rows = _gallery(traffic), traffic.config, traffic.config["rows"]
    names, spare = names_of(rows)[int(STABLE * rows) : int(WRITTEN * rows)], count(rows, 2)
    writes, items, rng = [], dict[str, int | None](), np.random.default_rng(2)
    for began in traffic.beats(config["writes_per_second"] / config["write_rows"]):
        batch = {}
        for number in islice(spare, config["write_rows"]):
            batch[names[int(rng.integers(len(names)))] if rng.random() < 0.5 else f"added {number:07d}"] = number
        texts = [str(number) for number in batch.values()]
        problem = _problem(lambda: gallery.write(list(batch), texts, {"title": texts}))  # noqa: B023
        items |= {} if problem else batch
        writes.append((began, time.time(), problem))
        if rng.random() < 0.5:
            gone = next(iter(batch))
            problem = _problem(lambda: gallery.delete([gone]))  # noqa: B023
            items |= {} if problem else {gone: None}
            writes.append((began, time.time(), problem))
    traffic.says("writes").write_text(json.dumps({"calls": writes, "items": items}))


def write_foreign(traffic: Traffic) -> None:
    """Add and change items by bare statements, with the old model's vectors."""
    client, config, rows = engine(traffic.name).Client(traffic.place), traffic.config, traffic.config["rows"]
    names, spare = names_of(rows)[int(WRITTEN * rows) :], count(rows + 1, 2)
    encoder, rng = TableEncoder(traffic.folder, side="old"), np.random.default_rng(3)
    writes, items = [], {}
    for began in traffic.beats(config["foreign_writes_per_second"]):
        number = next(spare)
        one = names[int(rng.integers(len(names)))] if rng.random() < 0.5 else f"foreign {number:07d}"
        (vector,) = encoder.encode([number], modality="text")
        problem = _problem(lambda: client.write(one, vector, str(number)))  # noqa: B023
        items |= {} if problem else {one: number}
        writes.append((began, time.time(), problem))
    client.close()
    traffic.says("foreign_writes").write_text(json.dumps({"calls": writes, "items": items}))


def search_old(traffic: Traffic) -> None:
    """Search the old vectors by the bare client, and tidy up as the engine advises."""
    client, encoder = engine(traffic.name).Client(traffic.place), TableEncoder(traffic.folder, side="old")
    names, rng, reads = names_of(int(STABLE * traffic.config["rows"])), np.random.default_rng(4), []
    for began in traffic.beats(traffic.config["old_searches_per_second"]):
        row = int(rng.integers(len(names)))
        found = list[str]()
        problem = _problem(
            lambda: found.extend(client.search(encoder.encode([row], modality="text")[0], traffic.config["k"]))  # noqa: B023
        )
        reads.append((began, time.time(), "old", found[:1] == [names[row]], problem))
        if len(reads) % traffic.config["searches_per_tidying"] == 0:
            client.tidy()
    client.close()
    traffic.says("old_reads").write_text(json.dumps(reads))


def _problem(call: Callable[[], object]) -> str:
    """What went wrong, in words; that is counted."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
