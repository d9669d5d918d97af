"""XBT's finetuning judged on photos that it learnt from, beside the others of ``flickr8k_pairs``.

What it does better here than there it has learnt, and it does not carry over. Both models and the bridge learnt from
these photos and their captions too, so that the figures of the bridge say how much of the difference is theirs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.data.flickr8k import captions_of, encode, load, relevance_of
from benchmarks.protocols.finetuning import bridge_and_finetuned
from benchmarks.record import read_config, write_result
from embridge.evaluation import Side

NAME = Path(__file__).parent.name


def main() -> None:
    torch.set_num_threads(1)
    config, rows, data = read_config(NAME), [], load("dev")
    seen = np.linspace(0, len(data["train"]), config["measured"], endpoint=False, dtype=np.int64)
    relevance, case = relevance_of(data["train"][seen]), {"photos": config["photos"], "captions": True}
    for seed in range(config["seeds"]):
        pairs, sides = encode(data, seed)
        old, new = (Side(s.queries.take(captions_of(seen)), s.gallery.take(seen)) for s in sides["train"])
        rows += bridge_and_finetuned(pairs, (old, new), relevance, {"xbt-stage2": sides["train"][1]}, case, seed=seed)
    write_result(NAME, config, rows)


if __name__ == "__main__":
    main()
