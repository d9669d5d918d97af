"""XBT's second stage on photos that the new model was trained on, and on as many that it was not.

As in ``flickr8k_pairs``, with both models and the first stage trained on half of the training photos only. A model lies
closer to its own training photos than to others, so what is learnt on those is not quite what is asked for later.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from benchmarks.flickr8k.run import encode, load, truth_of
from benchmarks.flickr8k_pairs.run import finetuned, measured
from benchmarks.record import read_config, write_result
from embridge.methods import make


def main() -> None:
    torch.set_num_threads(1)
    config, rows, data = read_config(Path(__file__).parent.name), [], load("dev")
    truth, case = truth_of(data["measured"]), {"photos": config["photos"], "captions": True}
    for seed in range(config["seeds"]):
        drawn = np.random.default_rng(seed).permutation(data["train"])
        halves = {"train": np.sort(drawn[: config["photos"]]), "support": np.sort(drawn[config["photos"] :])}
        pairs, sides = encode(data | halves, seed)
        began = perf_counter()
        first = make("xbt").fit(pairs, seed=seed)
        both, taken = {"t2i": first, "i2t": first}, perf_counter() - began
        rows += measured(sides["measured"], both, truth, "xbt-stage1", seed=seed, seconds=taken, controls=True)
        for part, name in (("train", "on the model's own photos"), ("support", "on other photos")):
            began = perf_counter()
            made = finetuned(pairs, sides[part][1], first, case, seed=seed)
            towers, taken = {"t2i": made.text, "i2t": made.image}, perf_counter() - began
            rows += measured(sides["measured"], towers, truth, f"xbt-stage2, {name}", seed=seed, seconds=taken)
    write_result("flickr8k_unseen", config, rows)


if __name__ == "__main__":
    main()
