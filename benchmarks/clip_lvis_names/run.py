"""How many names a bridge between real CLIPs needs: ``clip_lvis`` with fewer names to fit on, and with all of them.

The same splits and the same 303 held-out names ask. The last count has these too: it is no result, and shows only
that a map of this kind has room for them. XBT finds nothing better than this map for so few (``clip_lvis``).
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch

from benchmarks.data.lvis import load
from benchmarks.protocols.cells import report_rows
from benchmarks.protocols.text_queries import text_report
from benchmarks.record import read_config, write_result
from embridge.methods import Pairs, make

NAME = Path(__file__).parent.name
METHOD = "procrustes"
CELLS = ("old/old", "new/old")


def main() -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*pairs fit a map into.*")  # so few is what is asked for
    shared, config = read_config("clip_lvis"), read_config(NAME)
    lvis, rows = load(shared["new"]), []
    for model, new in lvis.new.items():
        for seed in range(shared["splits"]):
            order = np.random.default_rng(seed).permutation(len(new))
            held_out = order[shared["fitted_names"] :]
            queries = lvis.old.take(held_out), new.take(held_out)
            for count in config["names"]:
                pairs = Pairs(new.take(order[:count]), lvis.old.take(order[:count]))
                report = text_report(make(METHOD).fit(pairs, seed=seed), queries, lvis.gallery, seed=seed)
                for row in report_rows(report, {"name": METHOD}, seed=seed, seconds=0, controls=True):
                    row.pop("seconds", None)
                    rows += [row | {"setting": {"new": model, "names": count}}] if row["cell"] in CELLS else []
    write_result(NAME, config, rows)


if __name__ == "__main__":
    main()
