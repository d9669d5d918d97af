"""XBT's second stage judged on photos that it learnt from, beside the others of ``flickr8k_pairs``.

What it does better here than there it has learnt, and it does not carry over. Both models and the first stage learnt from
these photos and their captions too, so that the figures of the first stage say how much of the difference is theirs.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from benchmarks.flickr8k.run import captions_of, encode, load, truth_of
from benchmarks.flickr8k_pairs.run import finetuned, measured
from benchmarks.record import read_config, write_result
from embridge.evaluation import Side
from embridge.methods import make


def main() -> None:
    torch.set_num_threads(1)
    config, rows, data = read_config(Path(__file__).parent.name), [], load("dev")
    seen = np.linspace(0, len(data["train"]), config["measured"], endpoint=False, dtype=np.int64)
    truth, case = truth_of(data["train"][seen]), {"photos": config["photos"], "captions": True}
    for seed in range(config["seeds"]):
        pairs, sides = encode(data, seed)
        old, new = (Side(s.queries.take(captions_of(seen)), s.gallery.take(seen)) for s in sides["train"])
        began = perf_counter()
        first = make("xbt").fit(pairs, seed=seed)
        both, taken = {"t2i": first, "i2t": first}, perf_counter() - began
        rows += measured((old, new), both, truth, "xbt-stage1", seed=seed, seconds=taken, controls=True)
        began = perf_counter()
        made = finetuned(pairs, sides["train"][1], first, case, seed=seed)
        towers, taken = {"t2i": made.text, "i2t": made.image}, perf_counter() - began
        rows += measured((old, new), towers, truth, "xbt-stage2", seed=seed, seconds=taken)
    write_result("flickr8k_seen", config, rows)


if __name__ == "__main__":
    main()
