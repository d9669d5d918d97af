"""Real CLIPs: EVA-CLIP's text tower searches images that OpenAI's CLIP B/32 indexed, through a map learnt from names.

Vectors of 1,203 LVIS categories. The map is fitted on 900 category names and judged on the other 303: each name
queries the whole gallery of 1,203 images, one a category. Ten random splits; intervals are over all their queries.
There are no EVA-CLIP vectors of the images, so no ``new/new`` row and no image-to-text direction.

Fused queries are of the old text tower and the bridge that Procrustes fits, half each (midpoint), or with weights that
are chosen on 100 of the 900 names, through a map fitted on the other 800.
"""

from __future__ import annotations

import warnings
from typing import get_args

import numpy as np
import torch

from benchmarks.data.files import require_data
from benchmarks.protocols.cells import report_rows
from benchmarks.protocols.fusions import NAMES
from benchmarks.protocols.maps import fitted, read_maps
from benchmarks.record import write_result
from embridge import Embeddings, Space, Upgrade, top_k
from embridge.evaluation import Cell, Relevance, Report, Task
from embridge.methods import Pairs, make
from embridge.query import Fusion, FusionKind, choose_alpha, slerp

FILE = "clip_lvis/clip_lvis1203.npz"
DEPTH = 10


def embeddings(vectors: np.ndarray, name: str, ids: list[str]) -> Embeddings:
    rows = vectors.astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Embeddings.of(rows, Space(name, "", rows.shape[1]), ids)


def measure(
    upgrade: Upgrade, old: Embeddings, new: Embeddings, gallery: Embeddings, seed: int, fusions: dict[str, Fusion]
) -> Report:
    """The held-out names as both text towers see them, on the old images."""
    judged = Relevance.from_pairs((i, i) for i in old.ids).judge(old.ids, gallery.ids)
    task = Task("t2i", old.ids, gallery.ids, len(gallery), judged.relevant, judged.ideal(DEPTH))
    bridged = upgrade.to_index_space(new)
    asked = {"old/old": old.vectors, "new/old": bridged.vectors, "naive": new.vectors}
    asked |= {"fused/old": slerp(old, bridged, 0.5).vectors}
    asked |= {name: fusion.apply(old, bridged).vectors for name, fusion in fusions.items()}
    cells = []
    for name, queries in asked.items():
        shared = min(queries.shape[1], gallery.space.dim)
        found = top_k(queries[:, :shared], gallery.vectors[:, :shared], DEPTH)
        cells.append(Cell("t2i", name, found.rows, found.scores, judged.gains(found.rows)))
    return Report((task,), tuple(cells), seed=seed)


def chosen_fusions(pairs: Pairs, gallery: Embeddings, *, support: int, metric: str, seed: int) -> dict[str, Fusion]:
    """A fusion of every kind, by the last so many of these names on images that no held-out name is about."""
    names = np.arange(len(pairs) - support, len(pairs))
    upgrade = make("procrustes").fit(pairs.take(np.arange(len(pairs) - support)), seed=seed)
    old, bridged = pairs.old.take(names), upgrade.to_index_space(pairs.new.take(names))
    truth = Relevance.from_pairs((i, i) for i in old.ids)
    return {
        f"{NAMES.get(kind, kind)}/old": choose_alpha(old, bridged, gallery, truth, metric=metric, kind=kind)
        for kind in get_args(FusionKind)
    }


def main() -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*pairs fit a map into.*")  # 900 pairs are what there is
    config = read_maps("clip_lvis")
    data = np.load(require_data(FILE) / FILE, allow_pickle=False)
    names = data["names"].tolist()
    old = embeddings(data["openai_vitb32_text_a"], "openai-clip-b32", names)
    gallery = embeddings(data["openai_vitb32_image_exemplar"], "openai-clip-b32", names)
    rows = []
    for column, model in config["new"].items():
        new = embeddings(data[column], model, names)
        for seed in range(config["splits"]):
            order = np.random.default_rng(seed).permutation(len(names))
            seen, held = order[: config["fitted_names"]], order[config["fitted_names"] :]
            pairs = Pairs(new.take(seen), old.take(seen))
            fusions = chosen_fusions(
                pairs, gallery.take(seen), support=config["support_names"], metric=config["fusion_metric"], seed=seed
            )
            for number, (method, upgrade, seconds) in enumerate(fitted(config["methods"], pairs, seed=seed)):
                report = measure(upgrade, old.take(held), new.take(held), gallery, seed, {} if number else fusions)
                found = report_rows(report, method, seed=seed, seconds=seconds, controls=number == 0)
                rows += [row | {"setting": row["setting"] | {"new": model}} for row in found]
    write_result("clip_lvis", config, rows)


if __name__ == "__main__":
    main()
