"""What a store costs over its database's own client: insert, scan, fetch and search of the same rows, by turns.

``python -m benchmarks.stores.run`` writes results/stores/VENDOR.json for every vendor of the settings, or of ``--vendor``.
Both ways end in the same: text ids and float32 vectors in memory, the k nearest ids. That they found the same is checked.
``--memory`` also scans a million rows, each way in a process of its own. ``--quick`` runs small sizes and writes nothing
unless ``--out`` names a file. ``--memory-alone`` measures the memory and leaves the other figures of the file as they are.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.protocols.turns import compared, median_calls_by_turns, peak_bytes
from benchmarks.record import FOLDER, commit, read_config, row, write_result
from benchmarks.stores.vendor import Client, filled_twice, vendor
from embridge.atomic_write import atomic_file
from embridge.embeddings import Embeddings
from embridge.space import Space
from embridge.stores import Store

Config = Mapping[str, Any]
Rows = list[dict[str, Any]]

SMALL = {"rows": 2_000, "batch_rows": 512, "fetched": 100, "searches": 10, "repeats": 2, "memory_rows": 4_000}
_LEAST_SHARE = 0.9  # of the client's hits that the store finds too


def measured(name: str, config: Config, *, memory: bool) -> Rows:
    """All tasks with one vendor."""
    of, space = vendor(name), Space("benchmark", "1", config["dim"])
    names, vectors = _ids(config["rows"]), _vectors(config["rows"], config)
    setting = {key: config[key] for key in ("rows", "dim", "batch_rows", "fetched", "searches", "k", "repeats")}
    with tempfile.TemporaryDirectory() as folder, of.served(Path(folder)) as place:
        turns = range(config["repeats"] + 1)  # the first warms
        stores = [of.store(place, f"store{turn}", space) for turn in turns]
        clients = [of.client(place, f"client{turn}", space) for turn in turns]
        empty, bare = iter(stores), iter(clients)
        ways = {
            "embridge": lambda: _filled(next(empty), names, vectors, space, config["batch_rows"]),
            "client": lambda: _filled_by_client(next(bare), names, vectors, config["batch_rows"]),
        }
        rows = compared("insert", "rows_per_second", len(names), setting, ways)
        rows += _reading(stores[-1], clients[-1], names, space, setting)
        for each in (*stores, *clients):
            each.close()
    if memory:
        rows += memory_measured(name, config)
    for line in rows:
        print(json.dumps(line), file=sys.stderr)
    return [line | {"vendor": name} for line in rows]


def memory_measured(name: str, config: Config) -> Rows:
    """The most memory that a process holds which scans many rows, by each way; both open what was written before.

    The rows say of which commit they are, since those beside them may be of an earlier one.
    """
    of, config = vendor(name), config | {"dim": config.get("memory_dim", config["dim"])}
    config = config | {"batch_rows": config.get("memory_batch_rows", config["batch_rows"])}
    space, filled = Space("benchmark", "1", config["dim"]), getattr(of, "large", partial(filled_twice, of))
    setting = {"task": "memory", "rows": config["memory_rows"], "dim": space.dim}
    rows: Rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        filled(Path(folder), partial(_large_batches, config), space) as (place, tables),
        multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool,
    ):
        for method, table in tables.items():
            used = pool.apply(_scan_peak, (method, name, (place, table), config))
            rows.append(row(method, "peak_bytes", [used], setting=setting))
    return [line | {"vendor": name, "commit": commit()} for line in rows]


def _with_memory(path: Path, rows: Rows) -> Path:
    """A result with other rows of the memory."""
    result = json.loads(path.read_text())
    kept = [line for line in result["rows"] if line["setting"]["task"] != "memory"]
    setting = rows[0]["setting"]
    config = result["config"] | {"memory_rows": setting["rows"], "memory_dim": setting["dim"]}
    with atomic_file(path) as temporary:
        written = result | {"config": config, "rows": kept + rows}
        temporary.write_text(json.dumps(written, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def _reading(store: Store, client: Client, names: Sequence[str], space: Space, setting: Config) -> Rows:
    rng = np.random.default_rng(1)
    batch, k = setting["batch_rows"], setting["k"]
    chosen = [names[i] for i in rng.choice(len(names), setting["fetched"], replace=False)]
    queries = _vectors(setting["searches"], {"seed": 2, "dim": space.dim})
    asked = [Embeddings.of(query[None], space) for query in queries]
    _check(store, client, chosen, space, asked, k)
    ours, theirs = cycle(asked), cycle(queries)
    scans = {
        "embridge": lambda: _require(sum(len(part) for part in store.scan(space, rows=batch)), len(names)),
        "client": lambda: _require(sum(len(ids) for ids, _ in client.scan(batch)), len(names)),
    }
    fetches = {"embridge": lambda: store.fetch(space, chosen), "client": lambda: client.fetch(chosen)}
    searches = {"embridge": lambda: store.search(next(ours), k), "client": lambda: client.search(next(theirs), k)}
    by_calls = partial(median_calls_by_turns, calls=setting["searches"])
    return [
        *compared("scan", "rows_per_second", len(names), setting, scans),
        *compared("fetch", "rows_per_second", len(chosen), setting, fetches),
        *compared("search", "p50_seconds", 1, setting, searches, timed=by_calls),
    ]


def _check(store: Store, client: Client, chosen: list[str], space: Space, asked: list[Embeddings], k: int) -> None:
    """Both ways hold the same and find the same, so that what is compared does the same."""
    if not np.allclose(store.fetch(space, chosen).vectors, client.fetch(chosen), atol=1e-3):
        sys.exit("the store and the client fetched different vectors")
    pairs = [(set(store.search(one, k).ids[0]), set(client.search(one.vectors[0], k))) for one in asked[:20]]
    share = sum(len(a & b) for a, b in pairs) / sum(len(b) for _, b in pairs)
    if share < _LEAST_SHARE:
        sys.exit(f"the store found {share:.2f} of what the client found")


def _large_batches(config: Config) -> Iterator[tuple[list[str], np.ndarray, list[str]]]:
    every, step = _ids(config["memory_rows"]), config["batch_rows"]
    for start in range(0, len(every), step):
        names = every[start : start + step]
        yield names, _vectors(len(names), config | {"seed": start}), _titles(names)


def _scan_peak(method: str, name: str, where: tuple[str, str], config: Config) -> int:
    (place, table), of = where, vendor(name)
    space, batch = Space("benchmark", "1", config["dim"]), config["batch_rows"]
    if method == "embridge":
        rows = sum(len(part) for part in of.store(place, table, space).scan(space, rows=batch))
    else:
        rows = sum(len(ids) for ids, _ in of.client(place, table, space).scan(batch))
    _require(rows, config["memory_rows"])
    return peak_bytes()


def _filled(store: Store, names: Sequence[str], vectors: np.ndarray, space: Space, batch: int) -> None:
    for ids, part, titles in _batches(names, vectors, batch):
        store.upsert(Embeddings(tuple(ids), part, space), {"title": titles} if store.capabilities.payload else None)


def _filled_by_client(client: Client, names: Sequence[str], vectors: np.ndarray, batch: int) -> None:
    for ids, part, titles in _batches(names, vectors, batch):
        client.insert(ids, part, titles)


def _batches(
    names: Sequence[str], vectors: np.ndarray, batch: int
) -> Iterator[tuple[list[str], np.ndarray, list[str]]]:
    for start in range(0, len(names), batch):
        ids = list(names[start : start + batch])
        yield ids, vectors[start : start + batch], _titles(ids)


def _titles(ids: Sequence[str]) -> list[str]:
    return [f"the title of {one}" for one in ids]


def _require(rows: int, expected: int) -> None:
    if rows != expected:
        sys.exit(f"a scan gave {rows} rows, expected {expected}")


def _ids(n: int) -> list[str]:
    return [f"item {i:07d}" for i in range(n)]


def _vectors(n: int, config: Config) -> np.ndarray:
    vectors = np.random.default_rng(config["seed"]).standard_normal((n, config["dim"]), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vendor", action="append", help="one of the settings; may come again; all by default")
    parser.add_argument("--memory", action="store_true", help="also the memory of scanning a million rows")
    parser.add_argument("--memory-alone", action="store_true", help="that alone, into the file that is there")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--out", type=Path, help="where the JSON goes, with one vendor")
    return parser.parse_args()


def main() -> None:
    options, whole = _options(), read_config("stores")
    vendors, fewer = whole.pop("vendors"), whole.pop("fewer")
    for name in options.vendor or vendors:
        config = whole | fewer.get(name, {}) | (SMALL if options.quick else {})
        with threadpool_limits(config["threads"]):
            if options.memory_alone:
                rows = memory_measured(name, config)
                print(_with_memory(options.out or FOLDER / "results" / "stores" / f"{name}.json", rows))
                continue
            rows = measured(name, config, memory=options.memory)
            if options.out or not options.quick:
                path = options.out or FOLDER / "results" / "stores" / f"{name}.json"
                print(write_result("stores", config | {"vendor": name}, rows, path=path))


if __name__ == "__main__":
    main()
