"""Questions to a bank and their 77 intents: nearest-neighbour classification across an upgrade of the text model.

Old: model2vec, 256-d. New: MiniLM-L6, 384-d. The gallery is the labelled training questions, the queries are the test
questions; right is a neighbour of the query's own intent. The pairs are a random half of the gallery, drawn anew for
each seed; labels are not used in a fit.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch

from benchmarks.data.files import require_data
from benchmarks.protocols.maps import map_rows, read_maps
from benchmarks.record import write_result
from benchmarks.text_ir.run import encode
from embridge.evaluation import MORE_CELLS, LabelRelevance, Scope
from embridge.methods import Pairs

FILES = ("intents/banking77_test.csv", "intents/banking77_train.csv")


def load(file: str) -> tuple[dict[str, str], dict[str, str]]:
    """Question and intent by id."""
    with (require_data(*FILES) / file).open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    part = Path(file).stem
    return (
        {f"{part} {i}": row["text"] for i, row in enumerate(rows)},
        {f"{part} {i}": row["category"] for i, row in enumerate(rows)},
    )


def main() -> None:
    torch.set_num_threads(1)
    config, rows = read_maps("banking77"), []
    (queries, asked), (gallery, stored) = (load(file) for file in FILES)
    old, new = encode(gallery, queries)
    for seed in range(config["seeds"]):
        drawn = np.random.default_rng(seed).permutation(len(gallery))
        fitted = np.sort(drawn[: round(config["fitted_share"] * len(gallery))])
        scope = Scope(metrics=config["metrics"], directions=[""], cells=tuple(MORE_CELLS), seed=seed)
        pairs = Pairs(new.gallery.take(fitted), old.gallery.take(fitted))
        rows += map_rows(pairs, (old, new), LabelRelevance(asked, stored), config["methods"], scope=scope)
    write_result("banking77", config, rows)


if __name__ == "__main__":
    main()
