"""Photos and captions: an old dual encoder's index, searched by a new one through a map fitted on captions alone.

Old: MobileNetV1-0.25 and LSA, 128-d. New: MobileNetV2-1.0 and MiniLM, 256-d. Both are linear heads trained on the
official train photos; the maps see the train captions only; figures are of the dev split (1,000 photos, 5,000
captions). How far fused queries trust the bridge is chosen on the 91 photos that no split holds. ``--part validation``
trains on the first 5,000 train photos and measures on the other 1,000: settings were chosen there.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.data.files import require_data
from benchmarks.models.dual_encoder import train_heads
from benchmarks.protocols.fusions import with_fusions
from benchmarks.protocols.maps import map_rows, read_maps
from benchmarks.record import write_result
from embridge import Embeddings, Space
from embridge.evaluation import MORE_CELLS, Relevance, Scope, Side
from embridge.methods import Pairs

FILES = [f"flickr8k/traindev_{n}" for n in ("feat_mobilenet_u8.npz", "feat_minilm_i8.npz", "captions.parquet")]
CAPTIONS_EACH = 5


def load(part: str) -> dict[str, Any]:
    """Features of all photos and captions, and the rows of the training and the measured photos."""
    folder = require_data(*FILES)
    photos, sentences = (np.load(folder / name, allow_pickle=False) for name in FILES[:2])
    table = pq.read_table(folder / FILES[2]).to_pydict()
    if table["file"][::CAPTIONS_EACH] != photos["files"].tolist() or table["caption"] != sentences["caption"].tolist():
        raise SystemExit("flickr8k: photos, captions and features are not in one order")
    split = np.array(table["split"][::CAPTIONS_EACH])
    train, measured = np.flatnonzero(split == "train"), np.flatnonzero(split == "dev")
    if part == "validation":
        train, measured = train[:5_000], train[5_000:]
    support = np.flatnonzero((split != "train") & (split != "dev"))
    scale = np.float32(photos["scale"])
    return {
        "captions": np.array(table["caption"]),
        "old_images": photos["v1_025"].astype(np.float32) * scale,
        "new_images": photos["v2_10"].astype(np.float32) * scale,
        "new_texts": unit(sentences["e"].astype(np.float32)),
        "train": train,
        "measured": measured,
        "support": support,
    }


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-9)


def captions_of(photos: np.ndarray) -> np.ndarray:
    """The rows of the captions of those photos."""
    return (photos[:, None] * CAPTIONS_EACH + np.arange(CAPTIONS_EACH)).ravel()


def lsa(captions: np.ndarray, train: np.ndarray) -> np.ndarray:
    """TF-IDF and a truncated SVD to 256 dimensions, both fitted on the training captions."""
    words = TfidfVectorizer(min_df=2, sublinear_tf=True).fit(captions[train])
    svd = TruncatedSVD(256, random_state=0).fit(words.transform(captions[train]))
    return unit(svd.transform(words.transform(captions)).astype(np.float32))


def encode(
    data: dict[str, Any], seed: int, *, pair_rows: np.ndarray | None = None
) -> tuple[Pairs, dict[str, tuple[Side, Side]]]:
    """Train both models; the pairs are the training captions (or those rows), the sides (old, new) of all three parts."""
    train, rows = data["train"], captions_of(data["train"])
    texts = {"old": lsa(data["captions"], rows), "new": data["new_texts"]}
    pairs, sides = {}, {part: [] for part in ("measured", "support", "train")}
    for i, (name, dim) in enumerate((("old", 128), ("new", 256))):
        images = data[f"{name}_images"]
        model = train_heads(images[train], texts[name][rows], dim=dim, seed=100 * i + seed)
        space = Space(f"{name}-dual-encoder", str(seed), dim)
        pairs[name] = Embeddings.of(model.text(texts[name][rows if pair_rows is None else pair_rows]), space)
        for part, found in sides.items():
            photos, asked = data[part], captions_of(data[part])
            queries = Embeddings.of(model.text(texts[name][asked]), space, [f"caption {i}" for i in asked])
            gallery = Embeddings.of(model.image(images[photos]), space, [f"photo {i}" for i in photos])
            found.append(Side(queries, gallery))
    return Pairs(pairs["new"], pairs["old"]), {part: (found[0], found[1]) for part, found in sides.items()}


def truth_of(photos: np.ndarray) -> Relevance:
    """A caption's own photo is right for it."""
    return Relevance.from_pairs((f"caption {i}", f"photo {i // CAPTIONS_EACH}") for i in captions_of(photos))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("dev", "validation"), default="dev")
    parser.add_argument("--seeds", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config, rows = read_maps("flickr8k"), []
    data = load(arguments.part)
    for seed in range(arguments.seeds or config["seeds"]):
        pairs, sides = encode(data, seed)
        fuse = partial(
            with_fusions,
            sides=sides["measured"],
            truth=truth_of(data["measured"]),
            support=(*sides["support"], truth_of(data["support"])),
            metric=config["fusion_metric"],
        )
        scope = Scope(seed=seed, cells=tuple(MORE_CELLS))
        rows += map_rows(
            pairs, sides["measured"], truth_of(data["measured"]), config["methods"], scope=scope, controls=fuse
        )
    if arguments.part == "dev":
        write_result("flickr8k", config, rows)
    else:
        for row in rows:
            print(
                row["seed"], row["method"], row["setting"], row["cell"], row["direction"], row["metric"], row["value"]
            )


if __name__ == "__main__":
    main()
