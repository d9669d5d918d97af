"""How many names a bridge between real CLIPs needs: ``clip_lvis`` with fewer names to fit on, and with all of them.

The same splits and the same 303 held-out names ask. The last count has these too: it is no result, and shows only
that a map of this kind has room for them. XBT finds nothing better than this map for so few (``clip_lvis``).
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch

from benchmarks.clip_lvis.run import FILE, embeddings, measure
from benchmarks.data.files import require_data
from benchmarks.protocols.cells import report_rows
from benchmarks.record import read_config, write_result
from embridge.methods import Pairs, make

METHOD = "procrustes"


def main() -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*pairs fit a map into.*")  # so few is what is asked for
    shared, config = read_config("clip_lvis"), read_config(Path(__file__).parent.name)
    data = np.load(require_data(FILE) / FILE, allow_pickle=False)
    names, rows = data["names"].tolist(), []
    old = embeddings(data["openai_vitb32_text_a"], "openai-clip-b32", names)
    gallery = embeddings(data["openai_vitb32_image_exemplar"], "openai-clip-b32", names)
    for column, model in shared["new"].items():
        new = embeddings(data[column], model, names)
        for seed in range(shared["splits"]):
            order = np.random.default_rng(seed).permutation(len(names))
            held = order[shared["fitted_names"] :]
            for count in config["names"]:
                pairs = Pairs(new.take(order[:count]), old.take(order[:count]))
                report = measure(make(METHOD).fit(pairs, seed=seed), old.take(held), new.take(held), gallery, seed, {})
                setting = {"new": model, "names": count}
                for row in report_rows(report, {"name": METHOD}, seed=seed, seconds=0, controls=True):
                    row.pop("seconds", None)
                    rows += [row | {"setting": setting}] if row["cell"] in ("old/old", "new/old") else []
    write_result("clip_lvis_names", config, rows)


if __name__ == "__main__":
    main()
