"""XBT on Flickr8k, one setting at a time: the noise, the skip path, the MLP, and how many captions it has.

Models, photos and figures are those of ``flickr8k``, whose settings were chosen on its validation part. ``own captions``
are the 30,000 of the training photos, which both models were trained on; ``other captions`` are of Flickr30k, without any
of Flickr8k's, seen by neither.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.data.files import require_data
from benchmarks.data.flickr8k import captions_of, encode, load, relevance_of, unit
from benchmarks.models.frozen import minilm
from benchmarks.protocols.maps import Judged, map_rows
from benchmarks.record import read_config, write_result
from embridge.evaluation import Scope

OTHERS = "captions/flickr30k_train_en_noF8k.txt.gz"


def with_others(data: dict[str, Any], count: int) -> dict[str, Any]:
    """The captions of Flickr8k with that many others after them."""
    lines = gzip.decompress((require_data(OTHERS) / OTHERS).read_bytes()).decode().splitlines()
    others = list(dict.fromkeys(line.strip() for line in lines if line.strip()))[:count]
    return data | {
        "captions": np.concatenate([data["captions"], others]),
        "new_texts": np.concatenate([data["new_texts"], unit(minilm(others))]),
    }


def measured(data: dict[str, Any], config: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    own, first_other = captions_of(data["train"]), len(data["captions"])
    every = with_others(data, max(config["other_captions"]))
    others = first_other + np.random.default_rng(seed).permutation(len(every["captions"]) - first_other)
    pairs, sides = encode(every, seed, pair_rows=np.concatenate([own, others]))
    judged, rows = Judged(sides["measured"], relevance_of(data["measured"]), Scope(seed=seed)), []
    parts = {("own", len(own)): np.arange(len(own))}
    parts |= {("other", n): len(own) + np.arange(n) for n in config["other_captions"]}
    for (whose, count), part in parts.items():
        methods = [m for m in config["methods"] if whose == "own" or m.get("curve")]
        setting = {"captions": whose, "count": count}
        added = map_rows(pairs.take(part), judged, methods, setting=setting)
        rows += [row for row in added if whose == "own" or row["cell"] == "new/old"]
    return rows


def main() -> None:
    torch.set_num_threads(1)
    config, data = read_config(Path(__file__).parent.name), load("dev")
    rows = [row for seed in range(config["seeds"]) for row in measured(data, config, seed)]
    write_result("flickr8k_ablations", config, rows)


if __name__ == "__main__":
    main()
