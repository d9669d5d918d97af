"""Flickr8k: its photos and captions as an old and a new dual encoder see them, both trained here on frozen features.

Old: MobileNetV1-0.25 and LSA, 128-d. New: MobileNetV2-1.0 and MiniLM, 256-d. Both are linear heads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.data.files import require_data
from benchmarks.models.dual_encoder import DualEncoder, train_heads
from embridge import Embeddings, Space
from embridge.evaluation import Relevance, Side
from embridge.methods import Pairs

__all__ = ["CAPTIONS_EACH", "captions_of", "encode", "load", "relevance_of", "unit"]

FILES = [f"flickr8k/traindev_{n}" for n in ("feat_mobilenet_u8.npz", "feat_minilm_i8.npz", "captions.parquet")]
CAPTIONS_EACH = 5
DIMS = {"old": 128, "new": 256}
PARTS = ("measured", "support", "train")


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
    """Rows of length one."""
    return x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-9)


def captions_of(photos: np.ndarray) -> np.ndarray:
    """The rows of the captions of those photos."""
    return (photos[:, None] * CAPTIONS_EACH + np.arange(CAPTIONS_EACH)).ravel()


def relevance_of(photos: np.ndarray) -> Relevance:
    """A caption's own photo is right for it."""
    return Relevance.from_pairs((f"caption {i}", f"photo {i // CAPTIONS_EACH}") for i in captions_of(photos))


def encode(
    data: dict[str, Any], seed: int, *, pair_rows: np.ndarray | None = None
) -> tuple[Pairs, dict[str, tuple[Side, Side]]]:
    """Train both models; the pairs are the training captions (or those rows), the sides (old, new) of all three parts."""
    train, rows = data["train"], captions_of(data["train"])
    texts = {"old": _lsa(data["captions"], rows), "new": data["new_texts"]}
    pair_rows = rows if pair_rows is None else pair_rows
    pairs, sides = {}, []
    for number, (name, dim) in enumerate(DIMS.items()):
        images = data[f"{name}_images"]
        model = train_heads(images[train], texts[name][rows], dim=dim, seed=100 * number + seed)
        space = Space(f"{name}-dual-encoder", str(seed), dim)
        pairs[name] = Embeddings.of(model.text(texts[name][pair_rows]), space)
        sides.append({part: _side(model, space, images, texts[name], data[part]) for part in PARTS})
    old, new = sides
    return Pairs(pairs["new"], pairs["old"]), {part: (old[part], new[part]) for part in PARTS}


def _side(model: DualEncoder, space: Space, images: np.ndarray, texts: np.ndarray, photos: np.ndarray) -> Side:
    captions = captions_of(photos)
    queries = Embeddings.of(model.text(texts[captions]), space, [f"caption {i}" for i in captions])
    return Side(queries, Embeddings.of(model.image(images[photos]), space, [f"photo {i}" for i in photos]))


def _lsa(captions: np.ndarray, train: np.ndarray) -> np.ndarray:
    """TF-IDF and a truncated SVD to 256 dimensions, both fitted on the training captions."""
    words = TfidfVectorizer(min_df=2, sublinear_tf=True).fit(captions[train])
    svd = TruncatedSVD(256, random_state=0).fit(words.transform(captions[train]))
    return unit(svd.transform(words.transform(captions)).astype(np.float32))
