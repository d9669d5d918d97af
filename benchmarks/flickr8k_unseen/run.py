"""XBT's finetuning on photos that the new model was trained on, and on as many that it was not.

As in ``flickr8k_pairs``, with both models and the bridge trained on half of the training photos only. A model lies
closer to its own training photos than to others, so what is learnt on those is not quite what is asked for later.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.data.flickr8k import encode, load, relevance_of
from benchmarks.protocols.finetuning import bridge_and_finetuned
from benchmarks.record import read_config, write_result

NAME = Path(__file__).parent.name
PHOTOS = {"on the model's own photos": "train", "on other photos": "support"}


def main() -> None:
    torch.set_num_threads(1)
    config, rows, data = read_config(NAME), [], load("dev")
    relevance, case = relevance_of(data["measured"]), {"photos": config["photos"], "captions": True}
    for seed in range(config["seeds"]):
        order = np.random.default_rng(seed).permutation(data["train"])
        halves = {"train": np.sort(order[: config["photos"]]), "support": np.sort(order[config["photos"] :])}
        pairs, sides = encode(data | halves, seed)
        photos = {f"xbt-stage2, {name}": sides[part][1] for name, part in PHOTOS.items()}
        rows += bridge_and_finetuned(pairs, sides["measured"], relevance, photos, case, seed=seed)
    write_result(NAME, config, rows)


if __name__ == "__main__":
    main()
