"""A rollout of a table of others, all the way and once back, beside readers and writers; and what its backfill costs.

``python -m benchmarks.rollout.run`` writes results/rollout/ENGINE.json for every engine of the settings, or of ``--engine``.
The upgrade is planted: the bridge is exact, and encoding is a look-up, so that each read knows what it has to find, and the
backfill takes the database's time alone. ``--quick`` runs small sizes and writes nothing unless ``--out`` names a file;
``--part`` runs the journey or the comparison of speed alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks.record import FOLDER, read_config, row, write_result
from benchmarks.rollout.figures import figures
from benchmarks.rollout.journey import adopted, travelled
from benchmarks.rollout.planted import Planted, names_of
from benchmarks.rollout.traffic import Traffic, engine
from embridge.jobs.rollout import apply_plan, plan_rollout
from embridge.rollout.plan import write_plan

Rows = list[dict[str, Any]]

SMALL = {"rows": 5_000, "spare_rows": 20_000, "hold_seconds": 4, "bulk_rows": 512, "speed_repeats": 2}
_PARTS = ("journey", "speed")


def measured(name: str, config: Mapping[str, Any], parts: tuple[str, ...]) -> Rows:
    """All that is asked, with one engine."""
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder:
        planted = Planted.make(Path(folder), config)
        if "speed" in parts:
            rows += _speed(name, planted, config)
        if "journey" in parts:
            with engine(name).served(Path(folder)) as place:
                journey = travelled(name, place, planted, config)
            rows += figures(journey, Traffic.of(name, place, planted.folder, config))
    for line in rows:
        print(json.dumps(line), file=sys.stderr)
    return rows


def _speed(name: str, planted: Planted, config: Mapping[str, Any]) -> Rows:
    """Rows a second of a backfill with nobody beside it, and of the engine's bulk insert of the same vectors."""
    of, rows, seconds = engine(name), config["rows"], {"backfill": list[float](), "bulk": list[float]()}
    texts = [str(number) for number in range(rows)]
    for turn in range(config["speed_repeats"]):
        with tempfile.TemporaryDirectory() as folder, of.served(Path(folder)) as place:
            settings = adopted(name, place, planted, config)
            began = time.perf_counter()
            of.insert(place, f"bulk{turn}", names_of(rows), planted.new_vectors[:rows], texts, config["bulk_rows"])
            seconds["bulk"].append(time.perf_counter() - began)
            plan = planted.folder / "plan.json"
            write_plan(plan_rollout(settings), plan)
            apply_plan(plan, until="bridged")
            began = time.perf_counter()
            result = apply_plan(plan, until="1").result
            seconds["backfill"].append(time.perf_counter() - began)
            if result is None or result.rows != rows:
                sys.exit(f"the backfill wrote {result}, expected {rows} rows")
    setting = {"task": "speed", "rows": rows, "dim": config["dim"], "bulk_rows": config["bulk_rows"]}
    ratios = [bulk / filled for bulk, filled in zip(seconds["bulk"], seconds["backfill"], strict=True)]
    return [
        *(
            row(way, "rows_per_second", [rows / one for one in times], setting=setting)
            for way, times in seconds.items()
        ),
        row("backfill", "speed_over_bulk_insert", ratios, setting=setting),
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", action="append", help="one of the settings; may come again; all by default")
    parser.add_argument("--part", choices=_PARTS, help="one of the two; both by default")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--out", type=Path, help="where the JSON goes, with one engine")
    return parser.parse_args()


def main() -> None:
    options, whole = _options(), read_config("rollout")
    engines = whole.pop("engines")
    config = whole | (SMALL if options.quick else {})
    for name in options.engine or engines:
        with threadpool_limits(1):
            rows = measured(name, config, (options.part,) if options.part else _PARTS)
        if options.out or not options.quick:
            path = options.out or FOLDER / "results" / "rollout" / f"{name}.json"
            print(write_result("rollout", config | {"engine": name}, rows, path=path))


if __name__ == "__main__":
    main()
