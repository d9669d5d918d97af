"""A bridge in the projections: the folded CLIP alone does what encoder and bridge did, in our hands and in transformers'."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.numpy import load_file, save_file
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    SiglipConfig,
    SiglipModel,
)

from embridge import Embeddings, Space, Upgrade, search
from embridge.adapters import MLP, Composed, Identity, Layer, Linear, Prefix, Provenance
from embridge.adapters.base import normalized
from embridge.datasets import glyph_models
from embridge.encoders import load
from embridge.encoders._space_file import SPACE_FILE
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch, WrongDirection
from embridge.export import fold, foldable_into, query_path
from embridge.export._folding import probe, seal_folder
from embridge.export.clip import fold_clip
from embridge.jobs.export import export_upgrade
from embridge.testing import check_encoder

pytestmark = pytest.mark.slow  # what its models need is trained for all

NEW = glyph_models.folder("new")
SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXT = {**SHAPE, "vocab_size": 1711, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
VISION = {**SHAPE, "image_size": 32, "patch_size": 8}
COLOURS = {"do_resize": True, "size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.2] * 3}


@pytest.fixture(scope="module")
def folded(upgrade, tmp_path_factory):
    return fold(query_path(upgrade), f"clip:{NEW}", tmp_path_factory.mktemp("folded") / "new-on-old")


@pytest.fixture(scope="module")
def encoder(folded):
    return load(f"clip:{folded}", device="cpu")


def save_model(folder, model, **changes):
    """A model of other architecture with the tokenizer of the built-in ones."""
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(NEW / name, folder)
    pixels = json.loads((NEW / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels | changes))
    return folder


@pytest.fixture(scope="module")
def colour_clip(tmp_path_factory):
    """A CLIP that takes colours, whose two towers differ in width, in half precision."""
    torch.manual_seed(0)
    config = CLIPConfig(text_config=TEXT, vision_config={**VISION, "hidden_size": 24}, projection_dim=20)
    return save_model(tmp_path_factory.mktemp("models") / "colour", CLIPModel(config).half(), **COLOURS)


def linear(source, dim, seed=0, bias=False, **options):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(source.dim, dim)).astype(np.float32)
    target = Space("old", str(seed), dim)
    return Linear(source, target, weight, np.ones(dim, np.float32) if bias else None, **options)


def test_it_makes_the_vectors_of_encoder_and_bridge(encoder, encoders, upgrade, held_out):
    for items, modality in ((held_out.captions, "text"), (held_out.images, "image")):
        wanted = normalized(upgrade.bridge.apply(encoders["new"].encode(items, modality=modality)))
        came = encoder.encode(items, modality=modality)
        assert came.shape == (len(items), 64)
        np.testing.assert_allclose(came, wanted, atol=1e-5)
        np.testing.assert_allclose(np.einsum("nd,nd->n", came, wanted), 1, atol=1e-5)


def test_it_searches_the_old_gallery_with_the_same_ranking(encoder, encoders, upgrade, held_out):
    for asked, found in (("text", "image"), ("image", "text")):
        items = {"text": held_out.captions, "image": held_out.images}
        gallery = Embeddings.of(encoders["old"].encode(items[found], modality=found), encoders["old"].space)
        queries = Embeddings.of(encoders["new"].encode(items[asked], modality=asked), encoders["new"].space)
        alone = Embeddings.of(encoder.encode(items[asked], modality=asked), encoder.space)
        wanted = search(upgrade.to_index_space(queries), gallery, 20)
        assert search(alone, gallery, 20).ids == wanted.ids
        hits = np.mean([str(i) in ids for i, ids in enumerate(wanted.ids)])
        assert hits > 0.2  # it is a ranking worth comparing, not one of noise


def test_it_is_an_encoder_of_the_old_space(encoder, upgrade, held_out):
    assert encoder.space == upgrade.old_space
    assert check_encoder(encoder, text_items=held_out.captions[:3], image_items=held_out.images[:3])
    with pytest.raises(WrongDirection, match="search its index as they are"):
        upgrade.to_index_space(Embeddings.of(encoder.encode(["a star"], modality="text"), encoder.space))


def test_plain_transformers_reads_it(folded, encoder, held_out):
    texts = held_out.captions[:20]
    tokens = AutoTokenizer.from_pretrained(folded)(texts, padding=True, return_tensors="pt")
    pixels = torch.from_numpy(held_out.images[:20].astype(np.float32))[:, None]
    model, loading = CLIPModel.from_pretrained(folded, output_loading_info=True)
    assert not any(loading[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert (model.config.projection_dim, model.dtype) == (64, torch.float32)
    with torch.inference_mode():
        both = model(**_known(tokens), pixel_values=pixels)
        text = CLIPTextModelWithProjection.from_pretrained(folded)(**_known(tokens)).text_embeds
        image = CLIPVisionModelWithProjection.from_pretrained(folded)(pixel_values=pixels).image_embeds
    assert both.logits_per_text.shape == (20, 20)
    np.testing.assert_allclose(both.text_embeds, encoder.encode(texts, modality="text"), atol=1e-5)
    np.testing.assert_allclose(normalized(text.numpy()), both.text_embeds.numpy(), atol=1e-5)
    np.testing.assert_allclose(normalized(image.numpy()), both.image_embeds.numpy(), atol=1e-5)


def _known(tokens):
    return {name: tokens[name] for name in ("input_ids", "attention_mask")}


def test_only_the_projections_change(folded):
    before, after = load_file(NEW / "model.safetensors"), load_file(folded / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not np.array_equal(before[name].astype(np.float32), after[name])}
    assert changed == {"text_projection.weight", "visual_projection.weight"}
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        assert (folded / name).read_bytes() == (NEW / name).read_bytes()
    assert "vectors are of old@" in (folded / "README.md").read_text()


def test_towers_of_two_widths_colours_and_half_precision(colour_clip, tmp_path):
    before = load(f"clip:{colour_clip}", device="cpu")
    wider = linear(before.space, 33)
    after = load(f"clip:{fold_clip(wider, colour_clip, tmp_path / 'wider')}", device="cpu")
    pictures = np.random.default_rng(1).integers(0, 256, (5, 48, 40, 3), dtype=np.uint8)
    for items, modality in ((["a star", "two boats"], "text"), (pictures, "image")):
        wanted = normalized(wider.apply(before.encode(items, modality=modality)))
        np.testing.assert_allclose(after.encode(items, modality=modality), wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["identity", "prefix", "unit rows", "zero bias", "composed"])
def test_every_bridge_without_bias_is_folded(colour_clip, tmp_path, kind):
    before = load(f"clip:{colour_clip}", device="cpu")
    middle = linear(before.space, 12, seed=1)
    weight = linear(before.space, 9).weights()["weight"]
    bridge = {
        "identity": Identity(before.space, Space("old", "1", 20)),
        "prefix": Prefix(before.space, Space("old", "1", 7)),
        "unit rows": linear(before.space, 9, normalize_input=True),
        "zero bias": Linear(before.space, Space("old", "1", 9), weight, np.zeros(9, np.float32), normalize_input=True),
        "composed": Composed([middle, Prefix(middle.target, Space("old", "1", 6)), linear(Space("old", "1", 6), 5)]),
    }[kind]
    after = load(f"clip:{fold_clip(bridge, colour_clip, tmp_path / 'model')}", device="cpu")
    assert after.space == bridge.target
    rows = before.encode(["a star", "two boats", ""], modality="text")
    np.testing.assert_allclose(
        after.encode(["a star", "two boats", ""], modality="text"), normalized(bridge.apply(rows)), atol=1e-5
    )


def test_a_folded_model_is_folded_again(folded, encoder, tmp_path):
    older = linear(encoder.space, 10)
    again = load(f"clip:{fold_clip(older, folded, tmp_path / 'again')}", device="cpu")
    assert again.space == older.target
    wanted = normalized(older.apply(encoder.encode(["black star"], modality="text")))
    np.testing.assert_allclose(again.encode(["black star"], modality="text"), wanted, atol=1e-5)


def test_a_model_of_the_hub_is_folded_from_the_cache(colour_clip, tmp_path, monkeypatch):
    commit, repository = "0123456789abcdef0123456789abcdef01234567", tmp_path / "models--someone--colour"
    shutil.copytree(colour_clip, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    bridge = linear(load("clip:someone/colour", device="cpu").space, 8)
    assert bridge.source.revision == commit
    after = load(f"clip:{fold(bridge, 'clip:someone/colour', tmp_path / 'folded')}", device="cpu")
    assert after.space == bridge.target


# What is refused


def test_a_bias_is_refused_and_how_to_do_without_is_said(centered, tmp_path):
    with pytest.raises(SettingsError, match=r"adds a bias .*procrustes with center: false.* --onnx FILE"):
        fold(query_path(centered), f"clip:{NEW}", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_where_a_bridge_can_be_folded_is_known_before(upgrade, centered, encoders):
    layer = Layer(np.ones((128, 4), np.float32), np.ones(4, np.float32))
    network = MLP(encoders["new"].space, Space("old", "1", 4), [layer])
    both = ("clip", "sentence-transformers")
    assert (foldable_into(upgrade), foldable_into(centered)) == (both, both[1:])
    assert foldable_into(replace(upgrade, bridge=network)) == ()


def test_what_is_not_linear_is_refused(encoders, tmp_path):
    layer = Layer(np.ones((128, 4), np.float32), np.ones(4, np.float32))
    bridge = MLP(encoders["new"].space, Space("old", "1", 4), [layer])
    with pytest.raises(SettingsError, match=r"kind mlp is not linear .* --onnx FILE"):
        fold_clip(bridge, NEW, tmp_path / "out")


def test_a_target_that_compares_by_length_is_refused(encoders, tmp_path):
    bridge = Linear(encoders["new"].space, Space("old", "1", 4, "dot"), np.ones((128, 4), np.float32))
    with pytest.raises(SettingsError, match="has to compare by cosine, not dot"):
        fold_clip(bridge, NEW, tmp_path / "out")


def test_the_bridge_of_another_model_is_refused(upgrade, tmp_path):
    with pytest.raises(SpaceMismatch, match="the model to fold the bridge into"):
        fold(query_path(upgrade), f"clip:{glyph_models.folder('old')}", tmp_path / "out")


def test_a_model_without_projections_is_refused(tmp_path):
    text = {**TEXT, "projection_size": 16, "max_position_embeddings": 16}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=VISION))
    folder = save_model(tmp_path / "siglip", model, **COLOURS)
    bridge = linear(load(f"clip:{folder}", device="cpu").space, 8)
    with pytest.raises(SettingsError, match=r"siglip is a SiglipModel, .* SigLIP has none.* --onnx FILE"):
        fold_clip(bridge, folder, tmp_path / "out")


def test_a_saved_model_that_makes_other_vectors_is_refused(colour_clip, tmp_path):
    unfolded = load(f"clip:{colour_clip}", device="cpu")
    bridge = linear(unfolded.space, 20)
    with pytest.raises(InvalidInput, match="makes other image vectors than encoder and bridge"):
        seal_folder(tmp_path, unfolded, bridge, probe(unfolded))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_kept_and_an_earlier_folded_model_replaced(colour_clip, folded, tmp_path):
    bridge = linear(load(f"clip:{colour_clip}", device="cpu").space, 8)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(InvalidInput, match=f"no {SPACE_FILE} in it"):
        fold_clip(bridge, colour_clip, tmp_path / "letters")
    earlier = shutil.copytree(folded, tmp_path / "earlier")
    assert load(f"clip:{fold_clip(bridge, colour_clip, earlier)}", device="cpu").space == bridge.target


@pytest.mark.parametrize("name", ["open_clip:ViT-B-32", "clip:", "models/new"])
def test_an_encoder_that_cannot_be_folded_into_is_refused(upgrade, tmp_path, name):
    with pytest.raises(SettingsError, match="PROVIDER one of clip, sentence-transformers; came"):
        fold(query_path(upgrade), name, tmp_path / "out")


# What the folder says of its space


def test_fine_tuned_weights_are_not_of_the_space_that_is_said(folded, tmp_path):
    copy = shutil.copytree(folded, tmp_path / "tuned")
    weights = load_file(copy / "model.safetensors")
    weights["text_projection.weight"] = weights["text_projection.weight"] * np.float32(1.01)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match=r"of other weights or another recipe .*or remove the file"):
        load(f"clip:{copy}", device="cpu")
    (copy / SPACE_FILE).unlink()
    assert load(f"clip:{copy}", device="cpu").space.model == "tuned"


def test_other_preprocessing_is_not_of_the_space_that_is_said(folded, tmp_path):
    copy = shutil.copytree(folded, tmp_path / "other")
    file = copy / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"image_mean": [0.25]}))
    with pytest.raises(InvalidInput, match="of other weights or another recipe"):
        load(f"clip:{copy}", device="cpu")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weights": "", "recipe": "", "space": {"model": "old"}}'])
def test_a_damaged_space_file_is_said(folded, tmp_path, content):
    copy = shutil.copytree(folded, tmp_path / "damaged")
    (copy / SPACE_FILE).write_text(content)
    with pytest.raises(InvalidInput, match=f"{SPACE_FILE} is truncated or altered"):
        load(f"clip:{copy}", device="cpu")


def test_a_moved_folder_is_the_same_space(folded, encoder, tmp_path):
    assert load(f"clip:{shutil.copytree(folded, tmp_path / 'elsewhere')}", device="cpu").space == encoder.space


# From a saved upgrade


def test_a_saved_upgrade_is_written_both_ways(upgrade, tmp_path):
    saved = upgrade.save(tmp_path / "upgrade")
    written = export_upgrade(saved, onnx=tmp_path / "query.onnx", fold_into=f"clip:{NEW}", out=tmp_path / "folded")
    assert {kind: path.name for kind, path in written.items()} == {"onnx": "query.onnx", "folded": "folded"}
    assert all(path.exists() for path in written.values())


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({}, "nothing to write"),
        ({"fold_into": "clip:new"}, "go together"),
        ({"out": "folder", "onnx": "file"}, "go together"),
    ],
)
def test_what_is_asked_for_has_to_be_whole(tmp_path, asked, match):
    with pytest.raises(SettingsError, match=match):
        export_upgrade(tmp_path, **asked)


def test_a_forward_upgrade_is_refused(upgrade, tmp_path):
    space = upgrade.old_space
    forward = Upgrade(Identity(space, space), upgrade.bridge, Provenance("fct"), direction="forward")
    with pytest.raises(WrongDirection, match="this is a forward upgrade"):
        export_upgrade(forward.save(tmp_path / "upgrade"), onnx=tmp_path / "query.onnx")
