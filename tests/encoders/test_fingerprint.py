"""A folder's fingerprint: what changes vectors changes it, and what lies beside the model does not."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from embridge.encoders._fingerprint import fingerprint
from embridge.encoders._local import locate
from embridge.errors import InvalidInput

WEIGHTS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b.bias": np.ones(3, np.float32)}
PADDING = {"strategy": "BatchLongest", "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"}
FILES = {
    "config.json": {"hidden_act": "gelu", "eos_token_id": None, "transformers_version": "4.8", "_name_or_path": "x"},
    "tokenizer.json": {"model": {"vocab": {"a": 0, "transformers_version": 1}}, "truncation": None, "padding": None},
    "tokenizer_config.json": {"model_max_length": 16, "pad_token": "<pad>", "name_or_path": "y"},
    "preprocessor_config.json": {"size": 32},
    "sentence_bert_config.json": {"max_seq_length": 16, "do_lower_case": False},
    "config_sentence_transformers.json": {"prompts": {"query": "q: "}, "__version__": {"transformers": "4"}},
    "modules.json": [{"idx": 0, "path": "", "type": "Transformer"}, {"idx": 1, "path": "1_Dense", "type": "Dense"}],
    "1_Dense/config.json": {"in_features": 3},
}


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "1_Dense").mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_text(json.dumps(content))
    save_file(WEIGHTS, folder / "model.safetensors")
    save_file({"linear.weight": np.eye(3, dtype=np.float32)}, folder / "1_Dense" / "model.safetensors")
    return folder


def change(folder, name, **keys):
    (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | keys))


CHANGES = {
    "an activation": ("config.json", {"hidden_act": "relu"}),
    "a token": ("config.json", {"eos_token_id": 2}),
    "null that is left out": ("config.json", {"new": None}),
    "a dtype": ("config.json", {"dtype": "float16"}),
    "the words": ("tokenizer.json", {"model": {"vocab": {"a": 1, "transformers_version": 0}}}),
    "the side that is cut": ("tokenizer.json", {"truncation": {"direction": "Left", "max_length": 9}}),
    "the side that is padded": ("tokenizer.json", {"padding": PADDING | {"direction": "Left"}}),
    "another padding": ("tokenizer.json", {"padding": PADDING | {"pad_token": "<end>", "pad_id": 3}}),
    "a length": ("tokenizer_config.json", {"model_max_length": 8}),
    "pixels": ("preprocessor_config.json", {"size": 16}),
    "lower case": ("sentence_bert_config.json", {"do_lower_case": True}),
    "a prompt": ("config_sentence_transformers.json", {"prompts": {"query": "query: "}}),
    "a shorter vector": ("config_sentence_transformers.json", {"truncate_dim": 2}),
    "a layer's settings": ("1_Dense/config.json", {"activation_function": "Tanh"}),
}
HISTORY = {
    "versions": ("config.json", {"transformers_version": "5.23", "_name_or_path": "elsewhere"}),
    "names": ("tokenizer_config.json", {"name_or_path": "z", "special_tokens_map_file": "/tmp/z"}),
    "the last batch": ("tokenizer.json", {"truncation": {"direction": "Right", "max_length": 9}, "padding": PADDING}),
    "a prompt of nothing": ("config_sentence_transformers.json", {"prompts": {"query": "q: ", "document": ""}}),
    "what its space says": ("config_sentence_transformers.json", {"similarity_fn_name": "cosine"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_vectors_counts(model, name):
    before = fingerprint(model)
    change(model, CHANGES[name][0], **CHANGES[name][1])
    assert fingerprint(model) != before


@pytest.mark.parametrize("name", HISTORY)
def test_history_does_not(model, name):
    before = fingerprint(model)
    change(model, HISTORY[name][0], **HISTORY[name][1])
    assert fingerprint(model) == before


@pytest.mark.parametrize(
    "file", ["added_tokens.json", "special_tokens_map.json", "spiece.model", "chat_template.jinja"]
)
def test_a_file_that_a_tokenizer_reads_counts(model, file):
    before = fingerprint(model)
    (model / file).write_text("{}")
    assert fingerprint(model) != before


BESIDE = (
    "onnx/model.onnx",
    "openvino/openvino_model.xml",
    "README.md",
    ".gitattributes",
    ".git/config",
    "__pycache__/a.pyc",
    "optimizer.pt",
    "training_args.bin",
    "pytorch_model.bin",
    "model.onnx",
    "tf_model.h5",
    "trainer_state.json",
    "data_config.json",
    "generation_config.json",
    "checkpoint-500/model.safetensors",
    "checkpoint-500/config.json",
    "model-00001-of-00002.safetensors",
    ".config.json",
    "vocab.txt",
    "embridge-space.json",
    "results/config.json",
)


def test_what_lies_beside_the_model_does_not(model):
    before = fingerprint(model)
    for name in BESIDE:
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(b"x")
    assert fingerprint(model) == before


def test_names_times_links_and_layout_do_not(model, tmp_path):
    before = fingerprint(model)
    copied = shutil.copytree(
        model, tmp_path / "elsewhere" / "other", copy_function=lambda source, to: Path(to).symlink_to(source)
    )
    assert fingerprint(copied) == before
    os.utime(model / "config.json", (0, 0))
    (model / "config.json").write_text(json.dumps(dict(reversed(FILES["config.json"].items())), indent=7))
    assert fingerprint(model) == before


def test_shards_are_the_same_weights(model):
    before = fingerprint(model)
    (model / "model.safetensors").unlink()
    shards = {f"part-{i}.safetensors": {name: rows} for i, (name, rows) in enumerate(WEIGHTS.items())}
    for name, tensors in shards.items():
        save_file(tensors, model / name, metadata={"format": "pt"})
    index = {"weight_map": {tensor: name for name, tensors in shards.items() for tensor in tensors}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert fingerprint(model) == before
    (model / "part-1.safetensors").unlink()
    with pytest.raises(InvalidInput, match=r"index\.json names part-1\.safetensors, which is not there"):
        fingerprint(model)


@pytest.mark.parametrize("file", ["model.safetensors", "1_Dense/model.safetensors"])
@pytest.mark.parametrize(
    "edit",
    [
        lambda rows: rows + 1,
        lambda rows: rows.astype(np.float16),
        lambda rows: rows[None],
        lambda rows: np.nextafter(rows, np.float32(9)),
    ],
)
def test_every_weight_counts(model, file, edit):
    before, weights = fingerprint(model), load_file(model / file)
    last = sorted(weights)[-1]
    save_file(weights | {last: edit(weights[last])}, model / file)
    assert fingerprint(model) != before


def test_the_weights_that_are_loaded_count(model):
    before = fingerprint(model)
    (model / "model.safetensors").unlink()
    torch.save({name: torch.from_numpy(rows) for name, rows in WEIGHTS.items()}, model / "pytorch_model.bin")
    pickled = fingerprint(model)
    (model / "pytorch_model.bin").write_bytes(b"others")
    assert len({before, pickled, fingerprint(model)}) == 3


@pytest.mark.parametrize("content", [b"", b"\xff" * 16, b"\x10" + bytes(7) + b"[]", b"{}"])
def test_a_damaged_file_has_a_fingerprint_too(model, content):
    before = fingerprint(model)
    (model / "model.safetensors").write_bytes(content)
    (model / "modules.json").write_bytes(content)
    assert fingerprint(model) != before


def test_words_beside_a_tokenizer_without_a_file_of_its_own_count(model):
    (model / "tokenizer.json").unlink()
    (model / "vocab.txt").write_text("a")
    before = fingerprint(model)
    (model / "vocab.txt").write_text("b")
    assert fingerprint(model) != before


def test_modules_outside_the_folder_are_not_read(model, tmp_path):
    (tmp_path / "outside").mkdir()
    (model / "modules.json").write_text(json.dumps([{"path": "../outside"}, {"path": "/tmp"}, {"path": 7}, 7]))
    before = fingerprint(model)
    (tmp_path / "outside" / "config.json").write_text("{}")
    assert fingerprint(model) == before


def test_an_adapter_without_its_model_is_refused(model):
    (model / "adapter_config.json").write_text("{}")
    with pytest.raises(InvalidInput, match=r"holds an adapter .* merge the two with peft's merge_and_unload"):
        locate(model)
