"""Flickr8k's photos by themselves, and which of them show the same kind of scene, by their captions alone."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.data.files import require_data
from embridge.evaluation import Relevance

__all__ = ["load", "same_scene"]

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
