"""Real CLIPs: EVA-CLIP's text tower searches images that OpenAI's CLIP B/32 indexed, through a map learnt from names.

Vectors of 1,203 LVIS categories. The map is fitted on 900 category names and judged on the other 303: each name
queries the whole gallery of 1,203 images, one a category. Ten random splits; intervals are over all their queries.
There are no EVA-CLIP vectors of the images, so no ``new/new`` row and no image-to-text direction.

Fused queries are of the old text tower and the bridge that Procrustes fits, half each (midpoint), or with weights that
are chosen on 100 of the 900 names, through a map fitted on the other 800.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import torch

from benchmarks.data.lvis import load
from benchmarks.protocols.cells import report_rows
from benchmarks.protocols.fusions import NAMES
from benchmarks.protocols.maps import fitted, read_maps
from benchmarks.protocols.text_queries import text_report
from benchmarks.record import write_result
from embridge import Embeddings
from embridge.evaluation import Relevance, Side, choose_alpha
from embridge.methods import Pairs, make
from embridge.query import Fusion, FusionKind


def chosen_fusions(pairs: Pairs, gallery: Embeddings, config: Mapping[str, Any], *, seed: int) -> dict[str, Fusion]:
    """A fusion of every kind, by the last of these names (``support_names``) on images that no held-out name is about."""
    fitted_names = len(pairs) - config["support_names"]
    names, metric = np.arange(fitted_names, len(pairs)), config["fusion_metric"]
    upgrade = make("procrustes").fit(pairs.take(np.arange(fitted_names)), seed=seed)
    old, bridged = pairs.old.take(names), upgrade.to_index_space(pairs.new.take(names))
    side, relevance = Side(old, gallery), Relevance.from_pairs((i, i) for i in old.ids)
    return {
        f"{NAMES.get(kind, kind)}/old": choose_alpha(side, bridged, relevance, metric=metric, kind=kind)
        for kind in get_args(FusionKind)
    }


def main() -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*pairs fit a map into.*")  # 900 pairs are what there is
    config = read_maps("clip_lvis")
    lvis, rows = load(config["new"]), []
    for model, new in lvis.new.items():
        for seed in range(config["splits"]):
            order = np.random.default_rng(seed).permutation(len(new))
            seen, held_out = order[: config["fitted_names"]], order[config["fitted_names"] :]
            pairs = Pairs(new.take(seen), lvis.old.take(seen))
            fusions = chosen_fusions(pairs, lvis.gallery.take(seen), config, seed=seed)
            queries = lvis.old.take(held_out), new.take(held_out)
            for number, (method, upgrade, seconds) in enumerate(fitted(config["methods"], pairs, seed=seed)):
                controls = number == 0
                report = text_report(upgrade, queries, lvis.gallery, seed=seed, fusions=fusions if controls else {})
                added = report_rows(report, method, seed=seed, seconds=seconds, controls=controls)
                rows += [row | {"setting": row["setting"] | {"new": model}} for row in added]
    write_result("clip_lvis", config, rows)


if __name__ == "__main__":
    main()
