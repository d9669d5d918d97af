"""Photos search photos: an index of a weak MobileNet's features, searched by a stronger one.

Frozen ImageNet MobileNets, average-pooled features of photos of 160 × 160 pixels. The pairs are training photos that
both models encoded, drawn anew for each seed; judged on the dev split, whose photos are both the queries and the
gallery (no photo finds itself).

Which photos belong together is said by their captions alone, before any model looks at them: all five captions of a
photo are joined, weighted by TF-IDF (fitted on the training captions), and of all pairs of dev photos the one per cent
with the highest cosine are right for each other. Photos with no such partner are not asked.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.data.photos import load, same_scene
from benchmarks.models.frozen import mobilenet_parts
from benchmarks.protocols.maps import Judged, map_rows, read_maps
from benchmarks.record import write_result
from embridge.evaluation import MORE_CELLS, Scope, Side
from embridge.methods import Pairs


def main() -> None:
    torch.set_num_threads(1)
    config, rows = read_maps(Path(__file__).parent.name), []
    photos, captions, split = load()
    parts = {part: [name for name in photos if split[name] == part] for part in ("train", "dev")}
    relevance = same_scene(captions, parts["train"], parts["dev"], config["share_of_pairs"])
    embeddings = {
        model: mobilenet_parts(model, photos, parts) for model in {name for pair in config["upgrades"] for name in pair}
    }
    for old, new in config["upgrades"]:
        sides = tuple(Side(embeddings[model]["dev"], embeddings[model]["dev"]) for model in (old, new))
        for seed in range(config["seeds"]):
            drawn = np.random.default_rng(seed).permutation(len(parts["train"]))[: config["pairs"]]
            pairs = Pairs(*(embeddings[model]["train"].take(np.sort(drawn)) for model in (new, old)))
            scope = Scope(
                metrics=config["metrics"], directions=[""], cells=tuple(MORE_CELLS), seed=seed, unjudged="skip"
            )
            setting = {"old": old, "new": new, "queries": len(relevance.gains)}
            rows += map_rows(pairs, Judged(sides, relevance, scope), config["methods"], setting=setting)
    write_result("photos", config, rows)


if __name__ == "__main__":
    main()
