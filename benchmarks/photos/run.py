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
import pyarrow.parquet as pq
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.data.files import require_data
from benchmarks.models.frozen import mobilenet
from benchmarks.protocols.maps import Judged, map_rows, read_maps
from benchmarks.record import write_result
from embridge import Embeddings, Space
from embridge.evaluation import MORE_CELLS, Relevance, Scope, Side
from embridge.methods import Pairs

PHOTOS, CAPTIONS = "flickr8k/traindev_160_webp.npz", "flickr8k/traindev_captions.parquet"


def load() -> tuple[dict[str, bytes], dict[str, str], dict[str, str]]:
    """Photos, joined captions and split, each by the photo's name."""
    folder = require_data(PHOTOS, CAPTIONS)
    pack = np.load(folder / PHOTOS, allow_pickle=False)
    blob, offset = pack["blob"], pack["offset"]
    photos = {str(name): blob[offset[i] : offset[i + 1]].tobytes() for i, name in enumerate(pack["name"])}
    captions: dict[str, list[str]] = {}
    split = {}
    for row in pq.read_table(folder / CAPTIONS).to_pylist():
        captions.setdefault(row["file"], []).append(row["caption"])
        split[row["file"]] = row["split"]
    return photos, {name: " ".join(of_one) for name, of_one in captions.items()}, split


def same_scene(captions: dict[str, str], fitted: list[str], judged: list[str], share: float) -> Relevance:
    """The ``share`` of all pairs of judged photos whose captions are most alike."""
    words = TfidfVectorizer(stop_words="english", sublinear_tf=True).fit([captions[name] for name in fitted])
    rows = words.transform([captions[name] for name in judged])
    cosine = (rows @ rows.T).toarray()
    one, other = np.triu_indices(len(judged), 1)
    kept = np.argsort(-cosine[one, other], kind="stable")[: round(share * len(one))]
    pairs = [(judged[a], judged[b]) for a, b in zip(one[kept], other[kept], strict=True)]
    return Relevance.from_pairs([*pairs, *((b, a) for a, b in pairs)])


def main() -> None:
    torch.set_num_threads(1)
    config, rows = read_maps(Path(__file__).parent.name), []
    photos, captions, split = load()
    parts = {part: [name for name in photos if split[name] == part] for part in ("train", "dev")}
    relevance = same_scene(captions, parts["train"], parts["dev"], config["share_of_pairs"])
    embeddings = {
        model: encoded(model, photos, parts) for model in {name for pair in config["upgrades"] for name in pair}
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


def encoded(model: str, photos: dict[str, bytes], parts: dict[str, list[str]]) -> dict[str, Embeddings]:
    """The features of each part's photos."""
    vectors = {part: mobilenet(model, [photos[name] for name in names]) for part, names in parts.items()}
    return {part: Embeddings.of(rows, Space(model, "", rows.shape[1]), parts[part]) for part, rows in vectors.items()}


if __name__ == "__main__":
    main()
