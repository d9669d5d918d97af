"""Text search with human judgements: an old index of static word vectors, searched by a sentence model.

Old: model2vec, 256-d, a table of words distilled from MiniLM. New: MiniLM-L6, 384-d. The pairs are document texts that
both models encoded: a random half of the documents, drawn anew for each seed. Judged on all queries of the collection
against all its documents, which the maps have not seen as queries; no query is used in a fit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.data.texts import load_collection
from benchmarks.models.frozen import text_sides
from benchmarks.protocols.maps import read_maps, rows_of_shares
from benchmarks.record import write_result


def measure(name: str, config: dict[str, Any]) -> list[dict[str, Any]]:
    documents, queries, relevance = load_collection(name)
    return rows_of_shares(text_sides(documents, queries), relevance, config, setting={"data": name})


def main() -> None:
    torch.set_num_threads(1)
    config = read_maps(Path(__file__).parent.name)
    rows = [row for name in config["data"] for row in measure(name, config)]
    write_result("text_ir", config, rows)


if __name__ == "__main__":
    main()
