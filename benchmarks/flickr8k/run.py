"""Photos and captions: an old dual encoder's index, searched by a new one through a map fitted on captions alone.

Old: MobileNetV1-0.25 and LSA, 128-d. New: MobileNetV2-1.0 and MiniLM, 256-d. Both are linear heads trained on the
official train photos; the maps see the train captions only; figures are of the dev split (1,000 photos, 5,000
captions). How far fused queries trust the bridge is chosen on the 91 photos that no split holds. ``--part validation``
trains on the first 5,000 train photos and measures on the other 1,000: settings were chosen there.
"""

from __future__ import annotations

import argparse
from functools import partial

import torch

from benchmarks.data.flickr8k import encode, load, relevance_of
from benchmarks.protocols.fusions import with_fusions
from benchmarks.protocols.maps import Judged, map_rows, read_maps
from benchmarks.record import write_result
from embridge.evaluation import MORE_CELLS, Scope


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("dev", "validation"), default="dev")
    parser.add_argument("--seeds", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config, rows = read_maps("flickr8k"), []
    data = load(arguments.part)
    relevance = relevance_of(data["measured"])
    for seed in range(arguments.seeds or config["seeds"]):
        pairs, sides = encode(data, seed)
        judged = Judged(sides["measured"], relevance, Scope(seed=seed, cells=tuple(MORE_CELLS)))
        fuse = partial(
            with_fusions,
            sides=judged.sides,
            relevance=relevance,
            support=(*sides["support"], relevance_of(data["support"])),
            metric=config["fusion_metric"],
        )
        rows += map_rows(pairs, judged, config["methods"], controls=fuse)
    if arguments.part == "dev":
        write_result("flickr8k", config, rows)
    else:
        for row in rows:
            print(*(row[key] for key in ("seed", "method", "setting", "cell", "direction", "metric", "value")))


if __name__ == "__main__":
    main()
