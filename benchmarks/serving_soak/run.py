"""A server for an hour: the answers that failed, and its memory.

``python -m benchmarks.serving_soak.run`` writes results/serving_soak.json. ``--quick`` runs a few seconds and writes nothing
unless ``--out`` names a file. The server runs in a process of its own, whose memory is looked at from here. The clients and
who moves the rollout are threads of this process.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.protocols.servers import serving
from benchmarks.protocols.turns import resized, setting_of, speed_options
from benchmarks.record import read_config, row, write_result
from benchmarks.serving_soak.load import Load, put_under
from embridge import Embeddings, Space, Store, open_store
from embridge.rollout.journal import record_move
from embridge.rollout.state import RolloutState

# The machine may stop both processes while it measures something else.
_PATIENT = {"seconds": 900, "header_seconds": 900}
SMALL = {"seconds": 6, "warm_up_seconds": 1, "rows": 100, "move_seconds": 0.2, "sample_seconds": 0.5}


def main() -> None:
    options = speed_options(__doc__, "serving_soak")
    config = resized(read_config("serving_soak"), SMALL) if options.quick else read_config("serving_soak")
    rows = soak(config)
    for line in rows:
        print(json.dumps(line))
    if options.out or not options.quick:
        write_result("serving_soak", config, rows, path=options.out)


def soak(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of answers by kind, of failures, and of the server's memory at each look."""
    ids = [f"item {number}" for number in range(config["rows"])]
    texts = [f"the text number {number}" for number in range(config["batch"])]
    load = Load(texts, ids, config["clients"], config["per_second"], config["move_seconds"])
    with tempfile.TemporaryDirectory() as folder:
        url = f"lancedb:{folder}/shop"
        store = stocked(url, config, ids)
        with serving("rollout", config, Path(folder), store=url, limits=_PATIENT) as server:
            looks: list[tuple[float, int]] = []
            address = f"http://127.0.0.1:{server.port}"
            answers = put_under(address, store.documents, load, _ended(server.process, config, looks))
        store.close()
    failed = {str(key): count for key, count in answers.items() if not (isinstance(key, tuple) and key[1] == 200)}
    setting = setting_of("soak", {key: config[key] for key in ("clients", "per_second", "move_seconds", "rows")})
    rows = [
        row(kind, "answers", [count], setting=setting)
        for kind, count in sorted((key[0], count) for key, count in answers.items() if isinstance(key, tuple))
    ]
    rows.append(row("failed", "answers", [sum(failed.values())], setting=setting, reasons=failed))
    rows.append(flatness(looks, config, setting))
    return [*rows, *(row("server", "bytes", [size], setting=setting | {"after_seconds": at}) for at, size in looks)]


def flatness(
    looks: Sequence[tuple[float, int]], config: Mapping[str, Any], setting: Mapping[str, Any]
) -> dict[str, Any]:
    """The mean of the looks after the warm-up, their lowest and highest, and whether these are near enough to it."""
    sizes = [size for at, size in looks if at >= config["warm_up_seconds"]]
    found = row("server", "bytes_after_warm_up", sizes, setting=dict(setting))
    mean = statistics.fmean(sizes)
    far = max(abs(size - mean) for size in sizes) / mean
    return found | {"value": mean, "furthest_from_mean": round(far, 4), "flat": far <= config["flat"]}


def stocked(url: str, config: Mapping[str, Any], ids: list[str]) -> Store:
    """A store with rows of both spaces, whose rollout is prepared."""
    rng = np.random.default_rng(config["seed"])
    new, old = Space("stored", "1", config["dim"]), Space("old", "1", config["gallery_dim"])
    store = open_store(url, create=True)
    for space in (old, new):
        store.add_space(space)
        store.upsert(Embeddings.of(rng.normal(size=(len(ids), space.dim)).astype(np.float32), space, ids))
    entry = {"move": "prepare", "by": "load", "at_seconds": time.time(), "why": {}}
    assert record_move(store.documents, None, RolloutState(old, new, "upgrade", "a1b2", canary=0.0), entry=entry)
    return store


def _ended(process: int, config: Mapping[str, Any], looks: list[tuple[float, int]]) -> Callable[[], bool]:
    """Looks at the server's memory each time that it is asked, and says when the time is over; stops do not count."""
    every = config["sample_seconds"]

    def ended() -> bool:
        began = time.monotonic()
        time.sleep(every)
        passed = (looks[-1][0] if looks else 0.0) + min(time.monotonic() - began, 1.1 * every)
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        looks.append((round(passed, 1), pages * os.sysconf("SC_PAGE_SIZE")))
        return passed >= config["seconds"]

    return ended


if __name__ == "__main__":
    main()
