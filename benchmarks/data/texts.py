"""Texts that searches are judged by: collections with human judgements, and questions with their intents."""

from __future__ import annotations

import csv
import gzip
import json

from benchmarks.data.files import require_data
from embridge.datasets.qrels import read_qrels
from embridge.evaluation import Relevance

__all__ = ["load_collection", "load_intents"]

_INTENTS = ("intents/banking77_test.csv", "intents/banking77_train.csv")


def load_collection(name: str) -> tuple[dict[str, str], dict[str, str], Relevance]:
    """Documents and queries by id, and the judgements; documents without a text are left out."""
    files = [f"ir/{name}/{file}" for file in ("corpus.jsonl.gz", "queries.jsonl", "qrels.tsv")]
    corpus, queries, qrels = (require_data(*files) / file for file in files)
    documents = _texts(gzip.decompress(corpus.read_bytes()).decode())
    grades = [(query, item, grade) for query, item, grade in read_qrels(qrels) if item in documents]
    return documents, _texts(queries.read_text()), Relevance.from_grades(grades, source=f"{name} qrels")


def _texts(lines: str) -> dict[str, str]:
    rows = (json.loads(line) for line in lines.splitlines())
    return {row["_id"]: row["text"] for row in rows if row["text"].strip()}


def load_intents() -> tuple[tuple[dict[str, str], dict[str, str]], tuple[dict[str, str], dict[str, str]]]:
    """Banking77's test and training questions: of each part the questions and the intents, by id."""
    folder, parts = require_data(*_INTENTS), []
    for file in _INTENTS:
        with (folder / file).open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        ids = [f"{(folder / file).stem} {i}" for i in range(len(rows))]
        texts, intents = ([row[column] for row in rows] for column in ("text", "category"))
        parts.append((dict(zip(ids, texts, strict=True)), dict(zip(ids, intents, strict=True))))
    test, train = parts
    return test, train
