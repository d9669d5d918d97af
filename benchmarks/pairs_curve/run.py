"""How many pairs a map needs: Flickr8k's models, with 64 to 20,000 captions to fit on.

As ``flickr8k``, but the maps see a random part of the training captions, drawn anew for each seed (as are the
models); the rows hold every cell, so that the share of a full backfill that is kept (new/old over new/new) can be had.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch

from benchmarks.data.flickr8k import encode, load, relevance_of
from benchmarks.protocols.maps import Judged, map_rows, read_maps
from benchmarks.record import write_result
from embridge.evaluation import Scope


def main() -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*pairs fit a map into.*")  # what too few of them do is shown here
    config, rows = read_maps(Path(__file__).parent.name), []
    data = load("dev")
    for seed in range(config["seeds"]):
        pairs, sides = encode(data, seed)
        order = np.random.default_rng(seed).permutation(len(pairs))
        scope = Scope(metrics=config["metrics"], seed=seed)
        judged = Judged(sides["measured"], relevance_of(data["measured"]), scope)
        for number, count in enumerate(config["pairs"]):
            drawn = pairs.take(np.sort(order[:count]))
            added = map_rows(drawn, judged, config["methods"], setting={"pairs": count})
            rows += [row for row in added if number == 0 or row["cell"] == "new/old"]  # the others need no pairs
    write_result("pairs_curve", config, rows)


if __name__ == "__main__":
    main()
