"""A map without pairs: its true agreement with the new model beside what it says of itself.

Both models see 3,000 items a side: the same ones in other orders, or others of the same collection. 1,000 more items, which
both models encoded and no fit has seen, show the truth: of the ten nearest by the new model, how many a mapped vector finds.
Beside it stand the old model's own vectors (the status quo), Procrustes fitted on pairs of as many items, which is about the
most that can be had, and what an earlier way reaches, which refines by mutual neighbours alone.
"""

from __future__ import annotations

import csv
import gzip
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch

from benchmarks.data.files import require_data
from benchmarks.data.flickr8k import encode, load
from benchmarks.models.frozen import minilm, paraphrase, static_words
from benchmarks.record import read_config, row, write_result
from benchmarks.unpaired import self_learning
from embridge import Embeddings, Space
from embridge.evaluation.agreement import NeighbourAgreement
from embridge.methods import Pairs, make
from embridge.methods.unpaired import fit_unpaired

Vectors = tuple[np.ndarray, np.ndarray]


def vectors_of(upgrade: str, seed: int) -> Vectors:
    """All items as the new and as the old model see them."""
    data, model = upgrade.split()
    if data == "flickr8k":
        pairs, _ = encode(load("dev"), seed)
        rows = np.arange(len(pairs))
        return pairs.new.take(rows).vectors, pairs.old.take(rows).vectors
    texts = banking77() if data == "banking77" else vaswani()
    return minilm(texts), (paraphrase if model == "paraphrase" else static_words)(texts)


def banking77() -> list[str]:
    with (require_data("intents/banking77_train.csv") / "intents/banking77_train.csv").open(newline="") as lines:
        return [line["text"] for line in csv.DictReader(lines)]


def vaswani() -> list[str]:
    file = "ir/vaswani/corpus.jsonl.gz"
    lines = gzip.decompress((require_data(file) / file).read_bytes()).decode().splitlines()
    return [text for line in lines if (text := json.loads(line)["text"]).strip()]


def measure(upgrade: str, items: str, seed: int, config: dict[str, Any]) -> list[dict[str, Any]]:
    new, old = vectors_of(upgrade, seed)
    order = np.random.default_rng(seed).permutation(len(new))
    held_out, rest = order[: config["held_out"]], order[config["held_out"] :]
    ours, others = rest[: config["items"]], rest[config["items"] : 2 * config["items"]]
    theirs = others if items == "other items" else np.random.default_rng(seed + 1).permutation(ours)
    truth = NeighbourAgreement.of(new[held_out], new[held_out], own=np.arange(len(held_out)), k=config["neighbours"])

    def agreement(apply: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(truth.values(apply(new[held_out]), old[held_out]).mean())

    began = process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        upgraded = fit_unpaired(embeddings(new[ours], "new"), embeddings(old[theirs], "old"), seed=seed)
    seconds = process_time() - began
    figures = upgraded.provenance.figures
    pairs = Pairs(embeddings(new[ours], "new"), embeddings(old[ours], "old"))
    values = {
        ("unpaired", "agreement"): agreement(upgraded.bridge.apply),
        ("unpaired", "own_agreement"): figures["agreement"],
        ("unpaired", "warned"): float(bool(caught)),
        ("unpaired", "fit_seconds"): seconds,
        ("self-learning", "agreement"): agreement(
            self_learning.fit(new[ours], old[theirs], config["self_learning"], seed)
        ),
        ("procrustes", "agreement"): agreement(make("procrustes").fit(pairs).bridge.apply),
        ("old", "agreement"): float(truth.values(old[held_out], old[held_out]).mean()),
    }
    setting = {"upgrade": upgrade, "items": items}
    return [row(method, metric, [value], seed=seed, setting=setting) for (method, metric), value in values.items()]


def embeddings(rows: np.ndarray, model: str) -> Embeddings:
    return Embeddings.of(np.ascontiguousarray(rows), Space(model, "", rows.shape[1]))


def main() -> None:
    torch.set_num_threads(1)
    config, rows = read_config(Path(__file__).parent.name), []
    for upgrade in config["upgrades"]:
        for items in ("same items", "other items"):
            for seed in range(config["seeds"]):
                rows += measure(upgrade, items, seed, config)
                print(upgrade, items, seed, *(f"{r['method']} {r['metric']} {r['value']:.3f};" for r in rows[-7:]))
    write_result("unpaired", config, rows)


if __name__ == "__main__":
    main()
