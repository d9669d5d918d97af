"""Questions to a bank and their 77 intents: nearest-neighbour classification across an upgrade of the text model.

Old: model2vec, 256-d. New: MiniLM-L6, 384-d. The gallery is the labelled training questions, the queries are the test
questions; right is a neighbour of the query's own intent. The pairs are a random half of the gallery, drawn anew for
each seed; labels are not used in a fit.
"""

from __future__ import annotations

import torch

from benchmarks.data.texts import load_intents
from benchmarks.models.frozen import text_sides
from benchmarks.protocols.maps import read_maps, rows_of_shares
from benchmarks.record import write_result
from embridge.evaluation import LabelRelevance


def main() -> None:
    torch.set_num_threads(1)
    config = read_maps("banking77")
    (queries, query_intents), (gallery, gallery_intents) = load_intents()
    sides = text_sides(gallery, queries)
    write_result("banking77", config, rows_of_shares(sides, LabelRelevance(query_intents, gallery_intents), config))


if __name__ == "__main__":
    main()
