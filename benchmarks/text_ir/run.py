"""Text search with human judgements: an old index of static word vectors, searched by a sentence model.

Old: model2vec, 256-d, a table of words distilled from MiniLM. New: MiniLM-L6, 384-d. The pairs are document texts that
both models encoded: a random half of the documents, drawn anew for each seed. Judged on all queries of the collection
against all its documents, which the maps have not seen as queries; no query is used in a fit.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.data.files import require_data
from benchmarks.models.frozen import minilm, static_words
from benchmarks.protocols.maps import map_rows, read_maps
from benchmarks.record import write_result
from embridge import Embeddings, Space
from embridge.datasets.qrels import read_qrels
from embridge.evaluation import MORE_CELLS, Relevance, Scope, Side
from embridge.methods import Pairs


def load(name: str) -> tuple[dict[str, str], dict[str, str], Relevance]:
    """Documents and queries by id, and the judgements; documents without a text are left out."""
    files = [f"ir/{name}/{file}" for file in ("corpus.jsonl.gz", "queries.jsonl", "qrels.tsv")]
    corpus, queries, qrels = (require_data(*files) / file for file in files)
    documents = texts_of(gzip.decompress(corpus.read_bytes()).decode())
    grades = [(query, item, grade) for query, item, grade in read_qrels(qrels) if item in documents]
    return documents, texts_of(queries.read_text()), Relevance.from_grades(grades, source=f"{name} qrels")


def texts_of(lines: str) -> dict[str, str]:
    rows = (json.loads(line) for line in lines.splitlines())
    return {row["_id"]: row["text"] for row in rows if row["text"].strip()}


def encode(documents: dict[str, str], queries: dict[str, str]) -> tuple[Side, Side]:
    """The same queries and documents as the old and the new model see them."""
    sides = []
    for model, encoder in (("model2vec", static_words), ("minilm-l6", minilm)):
        made = [encoder(list(texts.values())) for texts in (queries, documents)]
        space = Space(model, "", made[0].shape[1])
        asked, stored = (
            Embeddings.of(vectors, space, list(texts))
            for vectors, texts in zip(made, (queries, documents), strict=True)
        )
        sides.append(Side(asked, stored))
    return sides[0], sides[1]


def measure(name: str, config: dict[str, Any]) -> list[dict[str, Any]]:
    documents, queries, truth = load(name)
    old, new = encode(documents, queries)
    rows = []
    for seed in range(config["seeds"]):
        drawn = np.random.default_rng(seed).permutation(len(documents))
        fitted = np.sort(drawn[: round(config["fitted_share"] * len(documents))])
        scope = Scope(metrics=config["metrics"], directions=[""], cells=tuple(MORE_CELLS), seed=seed)
        pairs = Pairs(new.gallery.take(fitted), old.gallery.take(fitted))
        rows += map_rows(pairs, (old, new), truth, config["methods"], scope=scope, setting={"data": name})
    return rows


def main() -> None:
    torch.set_num_threads(1)
    config = read_maps(Path(__file__).parent.name)
    rows = [row for name in config["data"] for row in measure(name, config)]
    write_result("text_ir", config, rows)


if __name__ == "__main__":
    main()
