import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from embridge import encoders as providers
from embridge.encoders.clip import ClipEncoder
from embridge.errors import ArtefactError, InvalidInput, MissingExtra
from embridge.testing import check_encoder
from embridge.training.xbt.lora import attached_lora, lora_state, save_lora

TEXTS = ["a cat", "the small red bird", "dog"]
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def saved(folders, tmp_path_factory):
    """A LoRA with random weights for the tiny CLIP."""
    encoder = ClipEncoder(folders["clip"], device="cpu")
    with attached_lora(encoder.model, rank=2, alpha=4, dropout=0.1) as attached, torch.no_grad():
        torch.manual_seed(0)
        for parameter in lora_state(attached).values():
            parameter.normal_(std=0.3)
        return save_lora(attached, tmp_path_factory.mktemp("lora") / "lora", base="tiny-clip")


@pytest.fixture
def lora(saved, tmp_path):
    """A copy that may be changed."""
    return Path(shutil.copytree(saved, tmp_path / "lora"))


@pytest.mark.slow
def test_it_is_another_space_with_other_vectors(folders, encoders, lora):
    encoder = ClipEncoder(folders["clip"], device="cpu", lora=lora)
    without_lora = encoders["clip"]
    assert encoder.space.recipe.startswith(f"{without_lora.space.recipe}; lora ")
    assert (encoder.space.model, encoder.space.revision) == (without_lora.space.model, without_lora.space.revision)
    assert np.abs(encoder.encode(TEXTS, modality="text") - without_lora.encode(TEXTS, modality="text")).max() > 1e-2
    assert (without_lora.lora, encoder.lora) == (None, lora)


@pytest.mark.slow
def test_a_name_loads_it_too_and_it_keeps_the_contract(folders, lora):
    images = list(np.random.default_rng(0).integers(0, 256, (4, 40, 32, 3), dtype=np.uint8))
    encoder = providers.load(f"clip:{folders['clip']}", device="cpu", lora=str(lora))
    check_encoder(encoder, text_items=TEXTS, image_items=images)


@pytest.mark.slow
def test_loading_prints_nothing_and_twice_is_the_same(folders, lora, capfd):
    one, two = (ClipEncoder(folders["clip"], device="cpu", lora=lora) for _ in range(2))
    assert capfd.readouterr() == ("", "")
    assert one.space == two.space
    np.testing.assert_array_equal(one.encode(TEXTS, modality="text"), two.encode(TEXTS, modality="text"))


def test_batches_give_the_vectors_and_gradients_flow(encoders):
    encoder = encoders["clip"]
    features = encoder.features("text", encoder.text_inputs(TEXTS))
    rows = torch.nn.functional.normalize(features, dim=1)
    np.testing.assert_allclose(rows.detach().numpy(), encoder.encode(TEXTS, modality="text"), atol=1e-6)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    for items in (images, list(images)):
        features = encoder.features("image", encoder.image_inputs(items))
        rows = torch.nn.functional.normalize(features, dim=1)
        np.testing.assert_allclose(rows.detach().numpy(), encoder.encode(items, modality="image"), atol=1e-6)
    assert features.requires_grad


@pytest.mark.slow
@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_folder_that_lacks_a_file_is_refused(folders, lora, name):
    (lora / name).unlink()
    with pytest.raises(ArtefactError, match=f"lacks {name}: a LoRA is a folder with"):
        ClipEncoder(folders["clip"], device="cpu", lora=lora)


@pytest.mark.slow
def test_a_pickle_in_its_place_is_not_read(folders, lora):
    (lora / WEIGHTS).rename(lora / "adapter_model.bin")
    with pytest.raises(ArtefactError, match=f"lacks {WEIGHTS}"):
        ClipEncoder(folders["clip"], device="cpu", lora=lora)
    (lora / WEIGHTS).write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(InvalidInput, match="is no LoRA for this model"):
        ClipEncoder(folders["clip"], device="cpu", lora=lora)


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"peft_type": "IA3"}, {"target_modules": ["w_proj"]}, {"r": 3}])
def test_another_kind_or_other_shapes_are_refused(folders, lora, change):
    config = json.loads((lora / CONFIG).read_text()) | change
    (lora / CONFIG).write_text(json.dumps(config))
    with pytest.raises(InvalidInput, match="is no LoRA for this model"):
        ClipEncoder(folders["clip"], device="cpu", lora=lora)


def test_a_config_that_is_none_is_refused(folders, lora):
    (lora / CONFIG).write_text("[]")
    with pytest.raises(InvalidInput, match="is no LoRA for this model"):
        ClipEncoder(folders["clip"], device="cpu", lora=lora)


def test_weights_are_not_made_up(folders, lora):
    weights = load_file(lora / WEIGHTS)
    gone = sorted(weights)[0]
    save_file({n: w for n, w in weights.items() if n != gone}, lora / WEIGHTS)
    with pytest.raises(InvalidInput, match=f"is no LoRA for this model: 1 weights do not match, for instance {gone}"):
        ClipEncoder(folders["clip"], device="cpu", lora=lora)


def test_the_lora_of_another_model_is_refused(folders, lora):
    with pytest.raises(InvalidInput, match="is no LoRA for this model"):
        ClipEncoder(folders["glyph-new"], device="cpu", lora=lora)


def test_without_peft_the_extra_is_named(folders, lora, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"peft is needed here .*pip install 'embridge\[finetune\]'"):
        ClipEncoder(folders["clip"], device="cpu", lora=lora)
