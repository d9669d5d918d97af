import json
import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import constants
from huggingface_hub.utils import are_progress_bars_disabled
from PIL import Image
from safetensors.numpy import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import logging

from embridge.encoders._fingerprint import hash_of_weight_files
from embridge.encoders._local import quiet_loading
from embridge.encoders.clip import ClipEncoder, space_from_files
from embridge.errors import InvalidInput, SettingsError
from embridge.testing import check_encoder

pytestmark = pytest.mark.filterwarnings("ignore:.* cut at .* tokens")  # one of TEXTS is

TEXTS = [
    "a cat",
    "the small red bird on the large house near the tree",
    "dog",
    "words nobody knows",
    "a " * 40 + "cat",
    "",
    "the blue sign and the green sign",
]
RECIPES = {
    "clip": "l2-normalised; pixels d9132e24; text up to 16 tokens",
    "siglip": "l2-normalised; pixels 9e2ad8a8; text up to 16 tokens",
    "siglip2": "l2-normalised; pixels 3737127f; text up to 16 tokens",
    "glyph-old": "l2-normalised; pixels b01fcbe7; text up to 16 tokens",
    "glyph-new": "l2-normalised; pixels b01fcbe7; text up to 16 tokens",
}


def pictures(n=5, *, mode="RGB", seed=0):
    """Smooth pictures of different sizes."""
    rng = np.random.default_rng(seed)
    shape = (6, 6, 3) if mode == "RGB" else (6, 6)
    small = [Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)) for _ in range(n)]
    return [image.resize((40 + 7 * i, 61 - 5 * i)) for i, image in enumerate(small)]


def squares(n=4, *, channels, side=32):
    shape = (n, side, side) if channels == 1 else (n, side, side, channels)
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def unit(features):
    rows = getattr(features, "pooler_output", features).numpy()
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def as_path(item, folder, row):
    file = folder / f"{row}.png"
    item.save(file)
    return file


# What transformers gives when it is called directly


@pytest.mark.slow
@torch.inference_mode()
def test_texts_are_what_transformers_gives_for_each_alone(encoder, kind, folders):
    model, tokenizer = (auto.from_pretrained(folders[kind]) for auto in (AutoModel, AutoTokenizer))
    padding = "max_length" if kind.startswith("siglip") else False
    wanted = []
    for text in TEXTS:
        words = tokenizer([text], padding=padding, truncation=True, max_length=16, return_tensors="pt")
        wanted.append(unit(model.float().eval().get_text_features(words.input_ids, words.get("attention_mask")))[0])
    np.testing.assert_allclose(encoder.encode(TEXTS, modality="text"), wanted, atol=1e-5)


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2"])
def test_images_are_what_transformers_gives_for_each_alone(encoders, kind, folders, pillow_backend):
    model = AutoModel.from_pretrained(folders[kind]).eval()
    processor = AutoImageProcessor.from_pretrained(folders[kind], **pillow_backend)
    images = pictures()
    wanted = [unit(model.get_image_features(**processor(images=[i], return_tensors="pt")))[0] for i in images]
    np.testing.assert_allclose(encoders[kind].encode(images, modality="image"), wanted, atol=1e-5)


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("kind", ["glyph-old", "glyph-new"])
def test_grey_images_are_what_transformers_gives_for_plainly_scaled_pixels(encoders, kind, folders):
    images = squares(channels=1)
    pixels = torch.from_numpy(images[:, None].astype(np.float32) / 255 * 2 - 1)
    wanted = unit(AutoModel.from_pretrained(folders[kind]).float().eval().get_image_features(pixel_values=pixels))
    np.testing.assert_allclose(encoders[kind].encode(images, modality="image"), wanted, atol=1e-5)


@pytest.mark.slow
@torch.inference_mode()
def test_siglip_needs_the_padding_that_it_gets(encoders, folders):
    model, tokenizer = (auto.from_pretrained(folders["siglip"]) for auto in (AutoModel, AutoTokenizer))
    unpadded = unit(model.eval().get_text_features(tokenizer(["a cat"], return_tensors="pt").input_ids))
    assert np.abs(encoders["siglip"].encode(["a cat"], modality="text") - unpadded).max() > 1e-2


def test_a_long_text_is_cut_at_the_limit(encoders):
    encoder = encoders["clip"]
    assert encoder.longest_text == 16
    cut, long, longer = encoder.encode(["the " * 14, "the " * 14 + "cat", "the " * 14 + "dog " * 300], modality="text")
    np.testing.assert_allclose(long, cut, atol=1e-6)
    np.testing.assert_allclose(longer, cut, atol=1e-6)


# Vectors


@pytest.mark.slow
def test_it_keeps_the_contract(encoder):
    skipped = check_encoder(encoder, text_items=TEXTS, image_items=pictures())
    assert skipped == ["refusal of a modality: this encoder takes all of them"]


def test_vectors_are_unit_float32_rows_of_the_space(encoder):
    for modality, items in (("text", TEXTS), ("image", pictures())):
        rows = encoder.encode(items, modality=modality)
        assert rows.dtype == np.float32
        assert rows.shape == (len(items), encoder.space.dim)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
        assert np.linalg.matrix_rank(rows, tol=1e-4) > 1


@pytest.mark.slow
@pytest.mark.parametrize(("modality", "items"), [("text", TEXTS), ("image", pictures(7))])
def test_batch_size_does_not_matter(encoder, modality, items, monkeypatch):
    rows = encoder.encode(items, modality=modality)
    for size in (1, 3):
        monkeypatch.setattr(encoder, "batch_size", size)
        np.testing.assert_allclose(encoder.encode(items, modality=modality), rows, atol=1e-5)


def test_the_role_changes_nothing(encoder):
    query, document = (encoder.encode(TEXTS, modality="text", role=role) for role in ("query", "document"))
    np.testing.assert_array_equal(query, document)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_paths_pictures_and_arrays_agree(encoder, mode, tmp_path):
    images = pictures(mode=mode)
    wanted = encoder.encode(images, modality="image")
    paths = [as_path(image, tmp_path, row) for row, image in enumerate(images)]
    arrays = [np.asarray(image) for image in images]
    mixed = [str(paths[0]), paths[1], images[2], arrays[3], *paths[4:]]
    for items in (paths, arrays, mixed):
        np.testing.assert_allclose(encoder.encode(items, modality="image"), wanted, atol=1e-6)


def test_a_grey_array_may_carry_its_channel(encoder):
    images = squares(channels=1)
    np.testing.assert_allclose(
        encoder.encode(images[..., None], modality="image"), encoder.encode(images, modality="image"), atol=1e-6
    )


@pytest.mark.parametrize("kind", ["clip", "siglip", "glyph-new"])
def test_the_fast_path_for_arrays_gives_the_image_processors_numbers(encoders, kind):
    encoder = encoders[kind]
    images = squares(channels=1 if kind.startswith("glyph") else 3)
    assert images.shape[1:] in encoder._only_scaled
    fast, slow = (next(encoder._image_inputs(items))["pixel_values"] for items in (images, list(images)))
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-6)


def test_no_fast_path_where_the_image_processor_resizes(clip_copy):
    file = clip_copy / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"size": {"shortest_edge": 40}}))
    encoder, images = ClipEncoder(clip_copy, device="cpu"), squares(channels=3)
    assert not encoder._only_scaled
    np.testing.assert_allclose(
        encoder.encode(images, modality="image"), encoder.encode(list(images), modality="image"), atol=1e-6
    )


def test_progress_counts_items(encoders, monkeypatch):
    encoder, calls = encoders["clip"], []
    monkeypatch.setattr(encoder, "batch_size", 2)
    monkeypatch.setattr(encoder, "progress", lambda done, total, what: calls.append((done, total, what)))
    encoder.encode(TEXTS[:5], modality="text")
    assert calls == [(2, 5, "tiny-clip: text"), (4, 5, "tiny-clip: text"), (5, 5, "tiny-clip: text")]
    encoder.encode(pictures(3), modality="image")
    assert calls[3:] == [(2, 3, "tiny-clip: image"), (3, 3, "tiny-clip: image")]


# The space


def test_the_recipe_reads_alike_in_every_version(encoder, kind):
    assert encoder.space.recipe == RECIPES[kind]


@pytest.mark.slow
def test_a_copy_of_the_folder_is_the_same_space(encoders, clip_copy):
    assert ClipEncoder(clip_copy, device="cpu").space.id == encoders["clip"].space.id
    assert ClipEncoder(f"{clip_copy}/.", device="cpu").space.id == encoders["clip"].space.id


def test_a_changed_weight_is_another_revision(encoders, clip_copy):
    file = clip_copy / "model.safetensors"
    weights = load_file(file)
    weights["text_projection.weight"][0, 0] += 1e-3
    save_file(weights, file, metadata={"format": "pt"})
    space, before = ClipEncoder(clip_copy, device="cpu").space, encoders["clip"].space
    assert space.revision != before.revision
    assert (space.model, space.dim, space.recipe) == (before.model, before.dim, before.recipe)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"text_config": {"eos_token_id": 2}},
        {"text_config": {"hidden_act": "relu"}},
        {"vision_config": {"hidden_act": "relu"}},
    ],
)
def test_other_settings_are_another_revision(encoders, clip_copy, change):
    file = clip_copy / "config.json"
    described = json.loads(file.read_text())
    file.write_text(json.dumps(described | {part: described[part] | keys for part, keys in change.items()}))
    assert ClipEncoder(clip_copy, device="cpu").space.revision != encoders["clip"].space.revision


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"image_mean": [0.5, 0.5, 0.5]}, {"resample": 2}, {"size": {"shortest_edge": 40}}])
def test_other_preprocessing_is_another_space(encoders, clip_copy, change):
    file = clip_copy / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    space, before = ClipEncoder(clip_copy, device="cpu").space, encoders["clip"].space
    assert (space.revision != before.revision, space.recipe != before.recipe) == (True, True)


@pytest.mark.slow
def test_a_hub_id_is_read_from_the_cache_and_its_revision_is_the_commit(folders, tmp_path, monkeypatch):
    commit, repository = "0123456789abcdef0123456789abcdef01234567", tmp_path / "models--someone--tiny"
    shutil.copytree(folders["clip"], repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(transformers.utils.hub, "TRANSFORMERS_CACHE", str(tmp_path), raising=False)
    encoder = ClipEncoder("someone/tiny", device="cpu")
    assert (encoder.space.model, encoder.space.revision) == ("someone/tiny", commit)
    assert ClipEncoder("someone/tiny", device="cpu", revision=commit).space == encoder.space


# What cannot be encoded


def broken_png():
    """A PNG whose pixels break off in a chunk without a name: Pillow raises SyntaxError for it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(bytes(200))[:5]
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, pixels)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + struct.pack(">I", 4) + bytes(16)


def test_the_broken_png_is_no_ordinary_error(tmp_path):
    (tmp_path / "broken.png").write_bytes(broken_png())
    with pytest.raises(SyntaxError, match="broken PNG file"), Image.open(tmp_path / "broken.png") as image:
        image.load()


@pytest.mark.parametrize("content", [b"no picture", b"", broken_png()])
def test_an_unreadable_file_is_named(encoder, content, tmp_path):
    good = as_path(pictures(1)[0], tmp_path, 0)
    bad = tmp_path / "holiday.png"
    bad.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"image 1 \(.*holiday\.png\) cannot be read.*remove it"):
        encoder.encode([good, bad], modality="image")


def test_a_truncated_file_is_named_with_its_row_among_all(encoders, tmp_path, monkeypatch):
    good = as_path(pictures(1)[0], tmp_path, 0)
    bad = tmp_path / "half.png"
    bad.write_bytes(good.read_bytes()[:2_000])
    monkeypatch.setattr(encoders["clip"], "batch_size", 2)
    with pytest.raises(InvalidInput, match=r"image 3 \(.*half\.png\) cannot be read"):
        encoders["clip"].encode([good, good, good, bad], modality="image")


def test_a_picture_too_large_for_pillow_is_named(encoders, tmp_path, monkeypatch):
    file = as_path(pictures(1)[0], tmp_path, 0)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(InvalidInput, match=r"image 0 \(.*0\.png\) cannot be read: .*decompression bomb"):
        encoders["clip"].encode([file], modality="image")


def test_a_missing_file_is_named(encoder, tmp_path):
    with pytest.raises(InvalidInput, match=r"image 0 \(.*nowhere\.jpg\) cannot be read: .*No such file"):
        encoder.encode([tmp_path / "nowhere.jpg"], modality="image")


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (None, "of type NoneType"),
        (np.zeros((32, 32, 3)), "its pixels are float64, not uint8"),
        (np.zeros((32, 32), np.float32), "its pixels are float32, not uint8"),
        (np.zeros((2, 2, 2, 2), np.uint8), "of type ndarray"),
    ],
)
def test_what_is_no_image_is_refused(encoder, item, said):
    with pytest.raises(InvalidInput, match=f"image 0 .*{said}"):
        encoder.encode([item], modality="image")


def test_an_array_that_is_not_uint8_is_refused(encoder):
    with pytest.raises(InvalidInput, match="its pixels are float32, not uint8"):
        encoder.encode(squares(channels=3).astype(np.float32), modality="image")


@pytest.mark.parametrize("modality", ["text", "image"])
def test_nothing_to_encode_is_refused(encoder, modality):
    with pytest.raises(InvalidInput, match=f"nothing to encode, no {modality} items came"):
        encoder.encode([], modality=modality)


def test_texts_are_strings(encoder):
    with pytest.raises(InvalidInput, match="text items are strings; item 1 is int"):
        encoder.encode(["a cat", 7], modality="text")


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"a": 1}, "items are a list or an array, came dict"),
        (np.zeros((8, 8, 3), np.uint8), r"came one image \[8, 8, 3\] in the place of a list; wrap it: \[image\]"),
        (Image.new("RGB", (4, 4)), "items are a list or an array, came Image"),
    ],
)
def test_one_image_is_no_list(encoders, items, message):
    with pytest.raises(InvalidInput, match=message):
        encoders["clip"].encode(items, modality="image")


@pytest.mark.filterwarnings("default")
def test_texts_that_are_cut_are_counted(encoders):
    fits, cut = "the " * 14, "the " * 15
    with pytest.warns(
        UserWarning, match="tiny-clip: 1 of 3 texts was cut at 16 tokens, all that the model takes; what"
    ):
        encoders["clip"].encode([fits, cut, "a cat"], modality="text")
    with pytest.warns(UserWarning, match="tiny-clip: the text was cut at 16 tokens"):
        encoders["clip"].encode([cut], modality="text", role="query")


# What cannot be loaded


def test_a_folder_without_weights_is_no_model(tmp_path):
    with pytest.raises(InvalidInput, match="holds no model weights"):
        ClipEncoder(tmp_path, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "part"),
    [
        (["config.json"], "model"),
        (["tokenizer.json", "tokenizer_config.json"], "tokenizer"),
        (["preprocessor_config.json"], "image processor"),
    ],
)
def test_a_folder_that_lacks_a_part_is_named_with_the_part(clip_copy, lost, part):
    for name in lost:
        (clip_copy / name).unlink()
    with pytest.raises(InvalidInput, match=f"tiny-clip has no usable {part}"):
        ClipEncoder(clip_copy, device="cpu")


@pytest.mark.parametrize(
    ("name", "part"),
    [("config.json", "model"), ("model.safetensors", "model"), ("tokenizer.json", "tokenizer")],
)
def test_a_truncated_file_of_the_model_is_refused(clip_copy, name, part):
    file = clip_copy / name
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(InvalidInput, match=f"tiny-clip has no usable {part}"):
        ClipEncoder(clip_copy, device="cpu")


def test_missing_weights_are_not_made_up(clip_copy):
    file = clip_copy / "model.safetensors"
    weights = load_file(file)
    del weights["visual_projection.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match=r"lacks 1 of its model's weights, for instance visual_projection\.weight"):
        ClipEncoder(clip_copy, device="cpu")


@pytest.mark.slow
def test_weights_that_the_model_does_not_know_are_not_left_out(clip_copy, encoders):
    file = clip_copy / "model.safetensors"
    weights = load_file(file)
    buffers = {f"{part}_model.embeddings.position_ids": np.arange(16)[None] for part in ("text", "vision")}
    save_file(weights | buffers, file, metadata={"format": "pt"})  # as models of earlier years have them
    rows = ClipEncoder(clip_copy, device="cpu").encode(TEXTS, modality="text")
    np.testing.assert_array_equal(rows, encoders["clip"].encode(TEXTS, modality="text"))
    more = {
        "text_model.encoder.layers.2.mlp.fc1.bias": np.zeros(64, np.float32),
        "head.weight": np.zeros(1, np.float32),
    }
    save_file(weights | more, file, metadata={"format": "pt"})
    with pytest.raises(
        InvalidInput, match=r"2 weights \(head\.weight, text_model\..*fc1\.bias\) are unknown to the model"
    ):
        ClipEncoder(clip_copy, device="cpu")


def test_weights_of_another_shape_are_refused(clip_copy):
    file = clip_copy / "model.safetensors"
    weights = load_file(file)
    weights["visual_projection.weight"] = weights["visual_projection.weight"][:5]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match="no usable model"):
        ClipEncoder(clip_copy, device="cpu")


def test_a_model_without_image_features_is_refused(tmp_path):
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    transformers.BertModel(transformers.BertConfig(vocab_size=20, **shape)).save_pretrained(tmp_path)
    with pytest.raises(SettingsError, match="is a BertModel: it has no text and image features"):
        ClipEncoder(tmp_path, device="cpu")


@pytest.mark.parametrize("name", ["someone/never-downloaded", "no spaces allowed"])
def test_a_name_that_is_neither_folder_nor_cached_is_refused(name):
    with pytest.raises(InvalidInput, match="neither a folder here nor a model the hub or its cache gives"):
        ClipEncoder(name, device="cpu")


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such/folder", "no/such/folder", Path("nowhere")])
def test_what_can_only_be_a_folder_is_not_looked_for_on_the_hub(name):
    with pytest.raises(SettingsError, match=f"there is no folder {name}; a model is named by its folder"):
        ClipEncoder(name, device="cpu")


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(folders, device):
    with pytest.raises(SettingsError, match=f"device '{device}' cannot be used here"):
        ClipEncoder(folders["clip"], device=device)


@pytest.mark.slow
def test_a_folder_has_no_revision_but_its_own_and_the_former_one(folders, encoders):
    own, former = encoders["clip"].space, hash_of_weight_files(folders["clip"])
    with pytest.raises(SettingsError, match=rf"its files: {own.revision}, or {former} as .*; came revision 'main'"):
        ClipEncoder(folders["clip"], device="cpu", revision="main")
    assert ClipEncoder(folders["clip"], device="cpu", revision=own.revision).space == own
    assert space_from_files(folders["clip"], revision=former) is not None
    assert ClipEncoder(folders["clip"], device="cpu", revision=former).space == replace(own, revision=former)


# Noise


@pytest.mark.slow
def test_loading_prints_nothing(folders, capfd):
    for folder in folders.values():
        ClipEncoder(folder, device="cpu")
    assert capfd.readouterr() == ("", "")


def test_progress_bars_show_where_loading_is_not_quiet(folders, capfd):
    if transformers.__version__.startswith("4."):
        pytest.skip("transformers 4 shows no bar for one file")
    AutoModel.from_pretrained(folders["clip"])
    assert "Loading weights" in capfd.readouterr().err


@pytest.mark.parametrize("bars", [True, False])
@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
def test_noise_is_as_before_afterwards(bars, level, request):
    before = logging.get_verbosity()
    request.addfinalizer(logging.enable_progress_bar)
    request.addfinalizer(lambda: logging.set_verbosity(before))
    logging.set_verbosity(level)
    (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
    quiet = []
    with pytest.raises(KeyError, match="stop"):
        look_and_fail(quiet)
    assert quiet == [(logging.ERROR, False, not bars)]
    assert noise() == (level, bars, not bars)


def noise():
    return logging.get_verbosity(), logging.is_progress_bar_enabled(), are_progress_bars_disabled()


@quiet_loading()
def look_and_fail(seen):
    seen.append(noise())
    raise KeyError("stop")
