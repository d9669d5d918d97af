"""Real models of open_clip of a few thousand weights, made from a configuration and saved as its folders are."""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file

from embridge import Embeddings
from embridge.encoders import load
from embridge.encoders.open_clip import OpenClipEncoder
from embridge.errors import InvalidInput, SettingsError
from embridge.methods import Pairs, Training
from embridge.methods.xbt import XBT
from embridge.settings import load_settings
from embridge.testing import check_encoder

open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed; `make test-open-clip` runs these")

WORDS, SIDE = 16, 32
TOWER = {"layers": 2, "width": 32}
VISION = {**TOWER, "head_width": 16, "patch_size": 8, "image_size": SIDE}
TEXT = {**TOWER, "heads": 2, "context_length": WORDS}
OURS = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}
HALVES = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
MODELS = {
    "clip": ({"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}, OURS),
    "quick": ({"embed_dim": 24, "quick_gelu": True, "vision_cfg": VISION, "text_cfg": TEXT}, OURS),
    "sigmoid": (
        {"embed_dim": 32, "custom_text": True, "init_logit_bias": -10, "vision_cfg": VISION, "text_cfg": TEXT},
        HALVES,
    ),
    "bordered": (
        {"embed_dim": 24, "vision_cfg": {**VISION, "image_size": [32, 48]}, "text_cfg": TEXT},
        {**OURS, "resize_mode": "longest", "fill_color": 7},
    ),
    "captioning": (
        {
            "embed_dim": 24,
            "custom_text": True,
            "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
            "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
            "multimodal_cfg": {"context_length": WORDS, "vocab_size": 49_408, "width": 32, "heads": 2, "layers": 1},
        },
        OURS,
    ),
    "resnet": (
        {"embed_dim": 24, "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": SIDE}, "text_cfg": TEXT},
        OURS,
    ),
}
pytestmark = pytest.mark.filterwarnings("ignore:.* cut at .* tokens")  # one of TEXTS is

TEXTS = ["a cat", "the small red bird on the large house near the tree", "dog", "&amp; ¿qué?", "a " * 40 + "cat", ""]
THINGS, PLACES = ("cat", "dog", "bird", "house", "tree", "sign"), ("on", "under", "near", "with")
LOOKS = [f"{size} {colour}" for size in ("small", "large") for colour in ("red", "blue", "green")]
CAPTIONS = [f"a {look} {a} {place} the {b}" for look in LOOKS for a in THINGS for place in PLACES for b in THINGS]


def save_model(folder, model, preprocessing, *, seed):
    torch.manual_seed(seed)
    folder.mkdir()
    architecture = folder.parent / f"tiny-{folder.name}.json"
    architecture.write_text(json.dumps(model))
    open_clip.add_model_config(architecture)
    weights = open_clip.create_model(architecture.stem, pretrained_text=False).state_dict()
    save_file(weights, folder / "open_clip_model.safetensors")
    described = {"model_cfg": model, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder for every kind of model; do not change what is in them."""
    root = tmp_path_factory.mktemp("open_clip")
    kinds = enumerate(MODELS.items())
    return {kind: save_model(root / kind, *parts, seed=seed) for seed, (kind, parts) in kinds}


@pytest.fixture(scope="module")
def encoders_made(made):
    return {kind: OpenClipEncoder(folder, device="cpu") for kind, folder in made.items()}


@pytest.fixture(params=MODELS)
def kind(request):
    return request.param


@pytest.fixture
def encoder(encoders_made, kind):
    return encoders_made[kind]


@pytest.fixture
def copy(made, tmp_path):
    """The tiny CLIP's folder, free to be changed."""
    return shutil.copytree(made["clip"], tmp_path / "elsewhere" / "clip")


@pytest.fixture
def pictures():
    """Smooth pictures of different sizes and modes."""
    rng = np.random.default_rng(0)
    small = [Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)) for _ in range(6)]
    resized = [image.resize((40 + 7 * i, 61 - 5 * i)) for i, image in enumerate(small)]
    return [image.convert(mode) for image, mode in zip(resized, ("RGB", "L", "P", "RGBA", "CMYK", "RGB"), strict=True)]


def _seen(image):
    """Palettes and inks as colours, which we resize and open_clip would not."""
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def own_vectors(folder, texts, images):
    """What open_clip gives for each item alone."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    with torch.inference_mode():
        rows = [model.encode_text(tokenize([text]), normalize=True)[0] for text in texts]
        columns = [model.encode_image(preprocess(image)[None], normalize=True)[0] for image in images]
    return np.stack(rows), np.stack(columns)


# Vectors


def test_vectors_are_open_clips_own(encoder, kind, made, pictures):
    texts, images = own_vectors(made[kind], TEXTS, [_seen(image) for image in pictures])
    np.testing.assert_allclose(encoder.encode(TEXTS, modality="text"), texts, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(pictures, modality="image"), images, atol=1e-5)


def test_it_keeps_the_contract(encoder, pictures):
    skipped = check_encoder(encoder, text_items=TEXTS, image_items=pictures)
    assert skipped == ["refusal of a modality: this encoder takes all of them"]


def test_vectors_are_unit_rows_of_the_space(encoder, pictures):
    for modality, items in (("text", TEXTS), ("image", pictures)):
        rows = encoder.encode(items, modality=modality)
        assert rows.shape == (len(items), encoder.space.dim)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
        assert np.linalg.matrix_rank(rows, tol=1e-4) > 1


@pytest.mark.parametrize("modality", ["text", "image"])
def test_batch_size_does_not_matter(encoder, modality, pictures, monkeypatch):
    items = TEXTS if modality == "text" else pictures
    rows = encoder.encode(items, modality=modality)
    for size in (1, 4):
        monkeypatch.setattr(encoder, "batch_size", size)
        np.testing.assert_allclose(encoder.encode(items, modality=modality), rows, atol=1e-5)


def test_a_long_text_is_cut_at_the_limit(encoders_made):
    encoder = encoders_made["clip"]
    assert encoder.longest_text == WORDS
    cut, long, longer = encoder.encode(["cat " * 14, "cat " * 14 + "dog", "cat " * 300], modality="text")
    shorter = encoder.encode(["cat " * 13], modality="text")[0]
    np.testing.assert_allclose(long, cut, atol=1e-6)
    np.testing.assert_allclose(longer, cut, atol=1e-6)
    assert np.abs(shorter - cut).max() > 1e-3


def test_paths_pictures_and_arrays_agree(encoder, pictures, tmp_path):
    images = [image.convert(mode) for image, mode in zip(pictures, ("RGB", "L") * 3, strict=True)]
    wanted = encoder.encode(images, modality="image")
    paths = [tmp_path / f"{row}.png" for row in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    arrays = [np.asarray(image) for image in images]
    for items in (paths, [str(path) for path in paths], arrays, [paths[0], *images[1:3], *arrays[3:]]):
        np.testing.assert_allclose(encoder.encode(items, modality="image"), wanted, atol=1e-6)


def test_progress_counts_items(encoders_made, monkeypatch):
    encoder, calls = encoders_made["clip"], []
    monkeypatch.setattr(encoder, "batch_size", 2)
    monkeypatch.setattr(encoder, "progress", lambda done, total, what: calls.append((done, total, what)))
    encoder.encode(TEXTS[:5], modality="text")
    assert calls == [(2, 5, "clip: text"), (4, 5, "clip: text"), (5, 5, "clip: text")]


@torch.inference_mode()
@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "captioning"])  # that one has no method for it
def test_scale_and_bias_make_open_clips_own_logits(encoder, kind, pictures):
    pixels = torch.stack([encoder._preprocess(_seen(image)) for image in pictures])
    logits, _ = encoder.model.get_logits(pixels, encoder._tokenizer(TEXTS))
    cosines = encoder.encode(pictures, modality="image") @ encoder.encode(TEXTS, modality="text").T
    assert encoder.score_bias == (-10 if kind == "sigmoid" else None)
    np.testing.assert_allclose(encoder.score_scale * cosines + (encoder.score_bias or 0), logits, atol=1e-3)


# The space


def test_the_space_says_what_changes_the_vectors(encoders_made, made):
    recipes = {kind: encoder.space.recipe for kind, encoder in encoders_made.items()}
    assert recipes == {
        "clip": "l2-normalised; pixels 7e5cb48a; text up to 16 tokens",
        "quick": "l2-normalised; pixels 7e5cb48a; text up to 16 tokens; quick gelu",
        "sigmoid": "l2-normalised; pixels 5810033f; text up to 16 tokens",
        "bordered": "l2-normalised; pixels 1c1ec3bb; text up to 16 tokens",
        "captioning": "l2-normalised; pixels 7e5cb48a; text up to 16 tokens",
        "resnet": "l2-normalised; pixels 7e5cb48a; text up to 16 tokens",
    }
    assert len({encoder.space.revision for encoder in encoders_made.values()}) == len(MODELS)


def test_a_copy_is_the_same_space(encoders_made, copy):
    assert OpenClipEncoder(copy, device="cpu").space == encoders_made["clip"].space
    assert load(f"open_clip:{copy}/.", device="cpu").space == encoders_made["clip"].space
    assert load(f"open_clip:local-dir:{copy}", device="cpu").space == encoders_made["clip"].space


def test_a_changed_weight_is_another_revision(encoders_made, copy):
    weights = load_file(copy / "open_clip_model.safetensors")
    weights["text_projection"][0, 0] += 1e-3
    save_file(weights, copy / "open_clip_model.safetensors")
    space, before = OpenClipEncoder(copy, device="cpu").space, encoders_made["clip"].space
    assert space.revision != before.revision
    assert (space.model, space.dim, space.recipe) == (before.model, before.dim, before.recipe)


@pytest.mark.parametrize("change", [{"mean": [0.5] * 3}, {"interpolation": "bilinear"}, {"resize_mode": "squash"}])
def test_other_preprocessing_is_another_space(encoders_made, copy, change):
    file = copy / "open_clip_config.json"
    described = json.loads(file.read_text())
    file.write_text(json.dumps({**described, "preprocess_cfg": {**described["preprocess_cfg"], **change}}))
    space, before = OpenClipEncoder(copy, device="cpu").space, encoders_made["clip"].space
    assert (space.revision != before.revision, space.recipe != before.recipe) == (True, True)


def test_an_architecture_takes_a_checkpoint_with_open_clips_default_preprocessing(made, pictures, tmp_path):
    file = shutil.copy(made["clip"] / "open_clip_model.safetensors", tmp_path / "epoch_3.safetensors")
    encoder = load(f"open_clip:tiny-clip:{file}", device="cpu")
    model, preprocess = open_clip.create_model_from_pretrained("tiny-clip", pretrained=str(file))
    with torch.inference_mode():
        wanted = model.eval().encode_image(preprocess(pictures[0])[None], normalize=True)
    np.testing.assert_allclose(encoder.encode(pictures[:1], modality="image"), wanted, atol=1e-5)
    assert encoder.space.model == "tiny-clip:epoch_3.safetensors"


def test_a_pickle_of_weights_is_read(encoders_made, made, tmp_path):
    weights = load_file(made["clip"] / "open_clip_model.safetensors")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in weights.items()}}, tmp_path / "epoch_3.pt")
    encoder = load(f"open_clip:tiny-clip:{tmp_path / 'epoch_3.pt'}", device="cpu")
    np.testing.assert_array_equal(
        encoder.encode(TEXTS, modality="text"), encoders_made["clip"].encode(TEXTS, modality="text")
    )


def test_a_hub_id_is_read_from_the_cache_and_its_revision_is_the_commit(made, tmp_path, monkeypatch):
    commit, repository = "0123456789abcdef0123456789abcdef01234567", tmp_path / "models--someone--tiny"
    shutil.copytree(made["clip"], repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    encoder = load("open_clip:hf-hub:someone/tiny", device="cpu")
    assert (encoder.space.model, encoder.space.revision) == ("someone/tiny", commit)
    assert load("open_clip:someone/tiny", device="cpu", revision=commit).space == encoder.space
    (repository / "snapshots" / commit / "open_clip_model.safetensors").unlink()
    with pytest.raises(InvalidInput, match="someone/tiny holds no weights of open_clip"):
        load("open_clip:someone/tiny", device="cpu")


def test_a_checkpoint_lies_relative_to_the_settings(made, tmp_path):
    shutil.copy(made["clip"] / "open_clip_model.safetensors", tmp_path / "mine.safetensors")
    file = tmp_path / "settings.yaml"
    file.write_text("old: open_clip:tiny-clip:mine.safetensors\nnew: open_clip:ViT-B-32:laion2b_s34b_b79k\n")
    settings = load_settings(file)
    assert settings.old.encoder == f"open_clip:tiny-clip:{tmp_path / 'mine.safetensors'}"
    assert settings.new.encoder == "open_clip:ViT-B-32:laion2b_s34b_b79k"


# A bridge


@pytest.mark.parametrize(("new", "old"), [("sigmoid", "clip"), ("clip", "transformers")])
def test_a_bridge_is_learnt_from_captions(encoders_made, encoders, new, old):
    made = {**encoders_made, "transformers": encoders["clip"]}
    new, old = (Embeddings.of(made[k].encode(CAPTIONS, modality="text"), made[k].space) for k in (new, old))
    order = np.random.default_rng(0).permutation(len(CAPTIONS))
    upgrade = XBT(hidden_width=32, training=Training(epochs=5, min_steps=50)).fit(Pairs(new, old).take(order[:-120]))
    mapped, wanted = upgrade.to_index_space(new.take(order[-120:])), old.take(order[-120:])
    assert mapped.space == wanted.space
    scores = mapped.vectors @ wanted.vectors.T
    before = (scores > scores.diagonal()[:, None]).sum(axis=1)
    assert (before < 10).mean() > 0.5  # chance is 10 / 120


# What cannot be encoded or loaded


@pytest.mark.parametrize("content", [b"no picture", b""])
def test_an_unreadable_file_is_named_with_its_row_among_all(encoders_made, content, pictures, tmp_path, monkeypatch):
    (tmp_path / "holiday.png").write_bytes(content)
    monkeypatch.setattr(encoders_made["clip"], "batch_size", 2)
    with pytest.raises(InvalidInput, match=r"image 2 \(.*holiday\.png\) cannot be read.*remove it"):
        encoders_made["clip"].encode([*pictures[:2], tmp_path / "holiday.png"], modality="image")


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (None, "of type NoneType"),
        (torch.zeros(3, SIDE, SIDE), "of type Tensor"),
        (np.zeros((SIDE, SIDE, 3)), "its pixels are float64, not uint8"),
    ],
)
def test_what_is_no_image_is_refused(encoders_made, item, said):
    with pytest.raises(InvalidInput, match=f"image 0 .*{said}"):
        encoders_made["clip"].encode([item], modality="image")


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("ViT-B-33:openai", SettingsError, "no architecture 'ViT-B-33'; did you mean ViT-B-32?"),
        ("ViT-B-32", SettingsError, "needs weights, as .*ViT-B-32:TAG or .*Its tags: openai, "),
        ("ViT-B/32:no-such-tag", SettingsError, "'no-such-tag' is neither"),
        ("tiny-clip:mine.safetensors", SettingsError, "'mine.safetensors' is neither. Its tags: none"),
        ("ViT-B-32:laion2b_s34b_b79k", InvalidInput, "b79k are not here and cannot be downloaded"),
        ("someone/never-downloaded", InvalidInput, "no folder here, nor on the hub or in its cache"),
        ("./no/such/folder", SettingsError, "there is no folder ./no/such/folder"),
    ],
)
def test_a_name_that_means_nothing_is_refused(name, error, said):
    with pytest.raises(error, match=said):
        load(f"open_clip:{name}", device="cpu")


def test_a_path_is_not_looked_for_on_the_hub():
    with pytest.raises(SettingsError, match="there is no folder no/folder"):
        OpenClipEncoder(Path("no/folder"), device="cpu")


def test_a_model_here_has_no_revision_but_its_own_and_the_former_one(made, encoders_made, monkeypatch):
    monkeypatch.chdir(made["clip"].parent)
    own = encoders_made["clip"].space
    with pytest.raises(
        SettingsError, match=rf"its files: {own.revision}, or \w+ as earlier releases have it; came .*'main'"
    ):
        load("open_clip:clip", device="cpu", revision="main")
    former = hashlib.sha256(Path("clip/open_clip_model.safetensors").read_bytes()).hexdigest()[:12]
    for revision in (own.revision, former):
        assert load("open_clip:clip", device="cpu", revision=revision).space == replace(own, revision=revision)


def test_what_lies_beside_the_model_is_no_part_of_it(encoders_made, copy):
    for name in ("README.md", "results.json", "open_clip_model.onnx", "epoch_1.pt"):
        (copy / name).write_bytes(b"x")
    assert OpenClipEncoder(copy, device="cpu").space == encoders_made["clip"].space


def test_another_activation_is_another_revision(encoders_made, copy):
    file = copy / "open_clip_config.json"
    described = json.loads(file.read_text())
    described["model_cfg"]["text_cfg"]["no_causal_mask"] = True
    file.write_text(json.dumps(described))
    assert OpenClipEncoder(copy, device="cpu").space.revision != encoders_made["clip"].space.revision


@pytest.mark.filterwarnings("default")
def test_texts_that_are_cut_are_counted(encoder):
    with pytest.warns(UserWarning, match=rf": 1 of 3 texts was cut at {encoder.longest_text} tokens"):
        encoder.encode(["a cat", "a " * (encoder.longest_text - 2), "a " * 40], modality="text")


class Code:
    """What unpickling a file may run."""

    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize("content", [{"state_dict": {}, "optimizer": Code()}, b"no archive"])
def test_a_pickle_that_holds_more_than_weights_is_refused(tmp_path, content):
    file = tmp_path / "epoch_3.pt"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(InvalidInput, match=r"epoch_3\.pt is refused: .* save it as safetensors"):
        load(f"open_clip:tiny-clip:{file}", device="cpu")


def test_a_folder_holds_one_file_of_weights(copy):
    (copy / "open_clip_model.safetensors").rename(copy / "a.safetensors")
    assert OpenClipEncoder(copy, device="cpu").space.model == "clip"
    shutil.copy(copy / "a.safetensors", copy / "b.safetensors")
    with pytest.raises(InvalidInput, match=r"one file of weights, .*; came a\.safetensors, b\.safetensors"):
        OpenClipEncoder(copy, device="cpu")
    (copy / "a.safetensors").unlink()
    (copy / "b.safetensors").unlink()
    with pytest.raises(InvalidInput, match=r"one file of weights, .*; came none"):
        OpenClipEncoder(copy, device="cpu")
    (copy / "open_clip_config.json").unlink()
    with pytest.raises(InvalidInput, match=r"has no open_clip_config\.json; name a checkpoint as ARCHITECTURE:FILE"):
        OpenClipEncoder(copy, device="cpu")


@pytest.mark.parametrize("change", ["missing", "other shape", "truncated", "config"])
def test_weights_that_do_not_fit_are_refused(copy, change):
    file = copy / "open_clip_model.safetensors"
    weights = load_file(file)
    if change == "missing":
        del weights["visual.proj"]
    if change == "other shape":
        weights["visual.proj"] = weights["visual.proj"][:, :5].contiguous()
    save_file(weights, file)
    if change == "truncated":
        file.write_bytes(file.read_bytes()[:200])
    if change == "config":
        (copy / "open_clip_config.json").write_text("{")
    with pytest.raises(InvalidInput, match="open_clip:clip has no usable model"):
        OpenClipEncoder(copy, device="cpu")


def test_a_tokenizer_that_does_not_fit_is_refused(copy):
    file = copy / "open_clip_config.json"
    described = json.loads(file.read_text())
    described["model_cfg"]["text_cfg"]["vocab_size"] = 100
    file.write_text(json.dumps(described))
    weights = load_file(copy / "open_clip_model.safetensors")
    weights["token_embedding.weight"] = weights["token_embedding.weight"][:100].contiguous()
    save_file(weights, copy / "open_clip_model.safetensors")
    with pytest.raises(InvalidInput, match="open_clip:clip: the tokenizer knows more tokens than the model"):
        OpenClipEncoder(copy, device="cpu")


def test_a_tokenizer_that_is_not_there_is_named(copy):
    file = copy / "open_clip_config.json"
    described = json.loads(file.read_text())
    described["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "someone/words"
    file.write_text(json.dumps(described))
    with pytest.raises(InvalidInput, match="open_clip:clip has no usable tokenizer"):
        OpenClipEncoder(copy, device="cpu")


# Noise


def test_loading_prints_and_logs_nothing(made, capfd, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    for folder in made.values():
        OpenClipEncoder(folder, device="cpu")
    assert (capfd.readouterr(), root.handlers, root.filters) == (("", ""), [], [])


def test_a_torchvision_of_another_torch_is_named():
    importable = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, check=False)
    if importable.returncode == 0:
        pytest.skip("torchvision can be imported here as it is")
    code = "from embridge.encoders import load; load('open_clip:ViT-B-32:openai')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "open_clip cannot be imported: operator torchvision::nms does not exist; install torch" in done.stderr
