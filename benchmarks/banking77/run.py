"""Questions to a bank and their 77 intents: nearest-neighbour classification across an upgrade of the text model.

Old: model2vec, 256-d. New: MiniLM-L6, 384-d. The gallery is the labelled training questions, the queries are the test
questions; right is a neighbour of the query's own intent. The pairs are a random half of the gallery, drawn anew for
each seed; labels are not used in a fit.
"""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from benchmarks.data.files import require_data
from benchmarks.models.frozen import text_sides
from benchmarks.protocols.maps import read_maps, rows_of_shares
from benchmarks.record import write_result
from embridge.evaluation import LabelRelevance

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
    config = read_maps("banking77")
    (queries, query_intents), (gallery, gallery_intents) = (load(file) for file in FILES)
    sides = text_sides(gallery, queries)
    write_result("banking77", config, rows_of_shares(sides, LabelRelevance(query_intents, gallery_intents), config))


if __name__ == "__main__":
    main()
