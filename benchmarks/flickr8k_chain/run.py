"""Two upgrades in a row on Flickr8k: the second bridge fitted to the first model's space, or put before the first bridge.

Old and new are those of ``flickr8k``. Between them a third dual encoder, 192-d: the old model's image features with
the new one's sentence features. The index stays with the old model throughout.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from benchmarks.data.flickr8k import captions_of, encode, load, relevance_of
from benchmarks.models.dual_encoder import train_heads
from benchmarks.protocols.cells import report_rows
from benchmarks.record import read_config, write_result
from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Composed
from embridge.evaluation import Scope, evaluate
from embridge.methods import Pairs, make


def between(data: dict[str, Any], seed: int) -> Embeddings:
    """The training captions as the middle model sees them."""
    train, rows = data["train"], captions_of(data["train"])
    model = train_heads(data["old_images"][train], data["new_texts"][rows], dim=192, seed=200 + seed)
    return Embeddings.of(model.text(data["new_texts"][rows]), Space("middle-dual-encoder", str(seed), 192))


def composed(second: Upgrade, first: Upgrade) -> Upgrade:
    """New to middle, then middle to old."""
    return replace(second, bridge=Composed([second.bridge, first.bridge]))


def main() -> None:
    torch.set_num_threads(1)
    config, data, rows = read_config(Path(__file__).parent.name), load("dev"), []
    relevance = relevance_of(data["measured"])
    for seed in range(config["seeds"]):
        pairs, sides = encode(data, seed)
        middle = between(data, seed)
        for number, method in enumerate(config["methods"]):
            fit = make(method["make"]).fit
            began = perf_counter()
            direct = fit(pairs, seed=seed)
            seconds = perf_counter() - began
            first, second = fit(Pairs(middle, pairs.old), seed=seed), fit(Pairs(pairs.new, middle), seed=seed)
            ways = {"fitted to the first space": direct, "composed of two": composed(second, first)}
            for way, upgrade in ways.items():
                report = evaluate(*sides["measured"], upgrade, relevance, scope=Scope(seed=seed))
                named = {"name": f"{method['name']}, {way}"}
                controls = number == 0 and upgrade is direct
                rows += report_rows(report, named, seed=seed, seconds=seconds, controls=controls)
    write_result("flickr8k_chain", config, rows)


if __name__ == "__main__":
    main()
