import json

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel

from embridge.datasets import glyph_models
from embridge.encoders.clip import ClipEncoder
from embridge.errors import SettingsError
from embridge.training.xbt.lora import attached_lora, find_projections, lora_state, save_lora

TEXTS = ["black chess queen", "latin small letter e", "greek capital letter omega"]
SMALL = {"rank": 4, "alpha": 8, "dropout": 0.0}


def disturb(attached, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in lora_state(attached).values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)


@pytest.fixture
def saved(new, tmp_path):
    """A LoRA with weights, and the vectors that the model makes with it."""
    with attached_lora(new.model, **SMALL) as attached:
        disturb(attached)
        vectors = new.encode(TEXTS, modality="text")
        return save_lora(attached, tmp_path / "lora", base="new"), vectors


@pytest.mark.slow
def test_it_is_in_both_towers_and_nothing_else_takes_gradients(new):
    with attached_lora(new.model, **SMALL) as attached:
        trained = {n for n, p in attached.named_parameters() if p.requires_grad}
        assert trained == set(lora_state(attached))
        for tower, layers in (("text_model", 2), ("vision_model", 4)):
            assert sum(f"model.{tower}." in name for name in trained) == layers * 2 * 2


def test_a_new_one_changes_nothing_and_a_trained_one_does(new):
    before = new.encode(TEXTS, modality="text")
    with attached_lora(new.model, **SMALL) as attached:
        np.testing.assert_array_equal(new.encode(TEXTS, modality="text"), before)
        disturb(attached)
        assert np.abs(new.encode(TEXTS, modality="text") - before).max() > 1e-2
        with attached.disable_adapter():
            np.testing.assert_array_equal(new.encode(TEXTS, modality="text"), before)


def test_the_model_is_as_it_was_afterwards(new):
    vectors = new.encode(TEXTS, modality="text")
    before = {n: (p.data_ptr(), p.requires_grad) for n, p in new.model.named_parameters()}
    with pytest.raises(KeyError, match="stop"):
        train_and_fail(new.model)
    assert {n: (p.data_ptr(), p.requires_grad) for n, p in new.model.named_parameters()} == before
    assert not any(module.training for module in new.model.modules())
    np.testing.assert_array_equal(new.encode(TEXTS, modality="text"), vectors)


def train_and_fail(model):
    with attached_lora(model, **SMALL) as attached:
        disturb(attached)
        attached.train()
        raise KeyError("stop")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_plain_peft_reads_what_is_saved(saved, new):
    folder, vectors = saved
    model = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(glyph_models.folder("new")).float(), folder).eval()
    with torch.inference_mode():
        out = model.base_model.model.get_text_features(**new.text_inputs(TEXTS))
    rows = nn.functional.normalize(getattr(out, "pooler_output", out), dim=1)
    np.testing.assert_allclose(rows.numpy(), vectors, atol=1e-6)


@pytest.mark.slow
def test_the_encoder_reads_what_is_saved(saved):
    folder, vectors = saved
    encoder = ClipEncoder(glyph_models.folder("new"), device="cpu", lora=folder)
    np.testing.assert_array_equal(encoder.encode(TEXTS, modality="text"), vectors)


def test_the_files_are_two_and_say_no_path(saved):
    folder, _ = saved
    assert sorted(p.name for p in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["target_modules"]) == ("new", ["q_proj", "v_proj"])
    assert (config["r"], config["lora_alpha"]) == (4, 8)
    assert len(load_file(folder / "adapter_model.safetensors")) == 6 * 2 * 2


@pytest.mark.slow
def test_names_are_found_by_what_the_model_has(new, other_encoder):
    assert find_projections(new.model) == ["q_proj", "v_proj"]
    bert = other_encoder.model.config.model_type == "chinese_clip"
    assert find_projections(other_encoder.model) == (
        ["q_proj", "query", "v_proj", "value"] if bert else ["q_proj", "v_proj"]
    )
    with attached_lora(other_encoder.model, **SMALL) as attached:
        names = list(lora_state(attached))
    assert {tower: sum(tower in n for n in names) for tower in ("text_model", "vision_model")} == {
        "text_model": 8,
        "vision_model": 8,
    }


def test_other_layers_may_be_named(new):
    with attached_lora(new.model, **SMALL, target_modules=["fc1"]) as attached:
        assert all(".fc1." in name for name in lora_state(attached))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["q_proj", "w_proj"], "no linear layer is called 'w_proj'"),
        (["text_projection"], "no linear layer is called 'text_projection'"),
        ([], r"text_model has none of \[\]"),
    ],
)
def test_names_that_are_not_there_are_refused_with_those_that_are(new, names, message):
    with (
        pytest.raises(SettingsError, match=rf"target_modules: {message}.*k_proj"),
        attached_lora(new.model, **SMALL, target_modules=names),
    ):
        pass


def test_a_model_with_other_names_says_what_to_set():
    model = nn.Module()
    model.text_model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(
        SettingsError, match="no query and value projections of a known name in its text_model; set target_mod"
    ):
        find_projections(model)
