"""Speed of mixed search of a partly backfilled gallery, against the two plain searches it is made of.

``python -m benchmarks.mixed_speed.run`` writes results/mixed_speed.json; ``--quick`` runs small sizes and writes nothing
unless ``--out`` names a file.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.protocols.turns import resized, speed_options, timed_by_turns
from benchmarks.record import read_config, row, write_result
from embridge.adapters import Identity, Linear, Provenance, Upgrade
from embridge.embeddings import Embeddings
from embridge.evaluation import Relevance, Side, fit_calibration
from embridge.query import Merge, MixedSearch, over
from embridge.space import Space

Config = Mapping[str, Any]
Rows = list[dict[str, Any]]

SMALL = {"repeats": 3, "gallery": 20_000, "queries": 200}
_SUPPORT, _SAMPLE = 300, 5_000


def measured(case: Config, config: Config) -> Rows:
    """Both searches alone, and mixed search with every kind of merge, by turns."""
    (queries, old, new), sample, upgrade = _made(case, config)
    k, done = config["k"], set(new.ids)
    old_search, new_search = over(old), over(new)
    backfilled = done.intersection if case["kept"] else None

    def plain() -> None:
        old_search(upgrade.to_index_space(queries), k)
        new_search(upgrade.head(queries), k)

    def mixed(merge: Merge) -> Callable[[], object]:
        way = MixedSearch(old_search, new_search, upgrade, merge, backfilled=backfilled)
        return lambda: way.search(queries, k)

    support = queries.take(range(min(_SUPPORT, len(queries))))
    sides = Side(upgrade.head(support), sample[0]), Side(upgrade.to_index_space(support), sample[1])
    truth = Relevance.from_neighbours(sides[0].queries, sides[0].gallery, config["k"])
    merges: dict[str, Merge] = {
        "mixed calibrated": fit_calibration("calibrated", *sides, truth),
        "mixed distance-rank": fit_calibration("distance-rank", *sides),
        "mixed standard": fit_calibration("standard", *sides),
        "mixed rrf": "rrf",
        "mixed raw": "raw",
    }
    ways = {"two searches": plain} | {name: mixed(merge) for name, merge in merges.items()}
    return _compared(ways, len(queries), case, config)


def _compared(ways: Mapping[str, Callable[[], object]], queries: int, case: Config, config: Config) -> Rows:
    """Rates of all ways, and of every turn the time over that of the first way."""
    seconds = timed_by_turns(ways, config["repeats"])
    setting = {"task": "mixed", "k": config["k"], "metric": config["metric"], **case}
    baseline, *others = ways
    rows = [
        row(name, "queries_per_second", [queries / s for s in times], seed=config["seed"], setting=setting)
        | {"seconds": statistics.median(times)}
        for name, times in seconds.items()
    ]
    for name in others:
        ratios = [a / b for a, b in zip(seconds[name], seconds[baseline], strict=True)]
        rows.append(row(name, "seconds_over_two_searches", ratios, seed=config["seed"], setting=setting))
    return rows


def _made(
    case: Config, config: Config
) -> tuple[tuple[Embeddings, Embeddings, Embeddings], tuple[Embeddings, Embeddings], Upgrade]:
    """New queries, the old rows and the new rows; some items as both models see them; and a bridge that half works."""
    rng = np.random.default_rng(config["seed"])
    new_space = Space("new", "1", case["new_dim"], config["metric"])
    old_space = Space("old", "1", case["old_dim"], config["metric"])
    weight = rng.standard_normal((new_space.dim, old_space.dim), np.float32) / np.float32(np.sqrt(new_space.dim))
    topics = rng.standard_normal((256, new_space.dim), np.float32)

    def drawn(n: int) -> np.ndarray:
        return topics[rng.integers(256, size=n)] + rng.standard_normal((n, new_space.dim), np.float32)

    items, queries = drawn(case["gallery"]), drawn(case["queries"])
    old = items @ weight + rng.standard_normal((len(items), old_space.dim), np.float32)
    marked = rng.random(len(items)) < case["backfilled"]
    names = np.array([str(i) for i in range(len(items))], object)
    in_old = np.ones(len(items), bool) if case["kept"] else ~marked
    upgrade = Upgrade(Identity(new_space, new_space), Linear(new_space, old_space, weight), Provenance("benchmark"))
    rows = (
        Embeddings.of(queries, new_space),
        Embeddings.of(old[in_old], old_space, names[in_old].tolist()),
        Embeddings.of(items[marked], new_space, names[marked].tolist()),
    )
    sample = Embeddings.of(items[:_SAMPLE], new_space), Embeddings.of(old[:_SAMPLE], old_space)
    return rows, sample, upgrade


def main() -> None:
    options = speed_options(__doc__, "mixed_speed")
    config = resized(read_config("mixed_speed"), SMALL if options.quick else {})
    with threadpool_limits(config["threads"]):
        rows = [line for case in config["case"] for line in measured(case, config)]
        for line in rows:
            print(json.dumps(line), file=sys.stderr)
        if options.out or not options.quick:
            print(write_result("mixed_speed", config, rows, path=options.out))


if __name__ == "__main__":
    main()
