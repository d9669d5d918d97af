"""Text search where the pairs are all texts of the gallery, as whoever upgrades a real index has them; no query is used.

``choose`` is what the default takes. ``ceiling`` asks with the mean of the old vectors of what is right, which no map knows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmarks.data.texts import load_collection, load_intents
from benchmarks.models.frozen import text_sides
from benchmarks.protocols.maps import rows_of_shares
from benchmarks.record import read_config, write_result
from embridge.evaluation import LabelRelevance, Relevance


def measure(data: str, old: str, metric: str, config: dict[str, Any]) -> list[dict[str, Any]]:
    if data == "banking77":
        (queries, asked), (documents, intents) = load_intents()
        relevance: Relevance | LabelRelevance = LabelRelevance(asked, intents)
    else:
        documents, queries, relevance = load_collection(data)
    sides = text_sides(documents, queries, old=old)
    return rows_of_shares(sides, relevance, config | {"metrics": [metric]}, setting={"data": data, "old": old})


def main() -> None:
    torch.set_num_threads(1)
    config = read_config(Path(__file__).parent.name)
    write_result("all_documents", config, [row for one in config["sets"] for row in measure(**one, config=config)])


if __name__ == "__main__":
    main()
