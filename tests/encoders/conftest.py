"""Real dual encoders of a few thousand weights, made from a configuration and saved as a hub folder is."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPModel, Siglip2Config, Siglip2Model, SiglipConfig, SiglipModel

from embridge.datasets import glyph_models
from embridge.encoders.clip import ClipEncoder

SIDE, WORDS = 32, 16
SPECIAL = ("<pad>", "<unk>", "<start>", "<end>")
WORDS_KNOWN = "a the small large red blue green cat dog bird house tree on under near and with sign"
VOCABULARY = (*SPECIAL, *WORDS_KNOWN.split())
PIXELS = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "do_resize": True, "resample": 3}
SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
IDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
TEXT = {**SHAPE, **IDS, "vocab_size": len(VOCABULARY), "max_position_embeddings": WORDS}
VISION = {**SHAPE, "image_size": SIDE, "patch_size": 8, "num_channels": 3}
BY_SIGMOID = (110.0, -12.0)
KINDS = ("clip", "siglip", "siglip2", "glyph-old", "glyph-new")


def save_tokenizer(folder, *, start):
    """One token a word; ``start`` says whether a text begins with <start>, as it does for CLIP."""
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(VOCABULARY)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>" if start else "$A <end>", special_tokens=[("<start>", 2), ("<end>", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<end>", "bos_token": "<start>"}
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1_000, **names}
    if not start:
        described["model_input_names"] = ["input_ids"]
    (folder / "tokenizer_config.json").write_text(json.dumps(described))


def save_clip(folder):
    CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=24)).save_pretrained(folder)
    colours = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    sizes = {"size": {"shortest_edge": SIDE}, "do_center_crop": True, "crop_size": {"height": SIDE, "width": SIDE}}
    return {"image_processor_type": "CLIPImageProcessor", **PIXELS, **colours, **sizes}


def save_trained(model, folder):
    """With a scale and a bias of the size that training gives them."""
    with torch.no_grad():
        model.logit_scale.fill_(math.log(BY_SIGMOID[0]))
        model.logit_bias.fill_(BY_SIGMOID[1])
    model.save_pretrained(folder)


def save_siglip(folder):
    config = SiglipConfig(text_config={**TEXT, "projection_size": 32}, vision_config=VISION)
    save_trained(SiglipModel(config), folder)
    colours = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return {
        "image_processor_type": "SiglipImageProcessor",
        **PIXELS,
        **colours,
        "size": {"height": SIDE, "width": SIDE},
    }


def save_siglip2(folder):
    vision = {**SHAPE, "num_patches": 16, "patch_size": 8, "num_channels": 3}
    config = Siglip2Config(text_config={**TEXT, "projection_size": 32}, vision_config=vision)
    save_trained(Siglip2Model(config), folder)
    colours = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return {
        "image_processor_type": "Siglip2ImageProcessor",
        **PIXELS,
        **colours,
        "patch_size": 8,
        "max_num_patches": 16,
    }


SAVE = {"clip": save_clip, "siglip": save_siglip, "siglip2": save_siglip2}


@pytest.fixture(scope="session")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A folder for every kind of dual encoder; do not change what is in them."""
    root = tmp_path_factory.mktemp("models")
    made = {}
    for seed, (kind, save) in enumerate(SAVE.items()):
        torch.manual_seed(seed)
        made[kind] = root / f"tiny-{kind}"
        pixels = save(made[kind])
        (made[kind] / "preprocessor_config.json").write_text(json.dumps(pixels))
        save_tokenizer(made[kind], start=kind == "clip")
    return {**made, "glyph-old": glyph_models.folder("old"), "glyph-new": glyph_models.folder("new")}


@pytest.fixture(scope="session")
def encoders(folders) -> dict[str, ClipEncoder]:
    return {kind: ClipEncoder(folder, device="cpu") for kind, folder in folders.items()}


@pytest.fixture(scope="session")
def plain_bert(tmp_path_factory) -> Path:
    """A tiny BERT as transformers saves it, whose files name no pooling; do not change what is in it."""
    folder = tmp_path_factory.mktemp("plain") / "tiny-bert"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ":", *VOCABULARY[4:]]))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {**SHAPE, "vocab_size": len(VOCABULARY) + 2, "max_position_embeddings": WORDS, "initializer_range": 0.3}
    transformers.BertModel(transformers.BertConfig(**shape)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sentence_folder(plain_bert, tmp_path_factory) -> Path:
    """The same as a sentence model: its first token, then a layer."""
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    library = pytest.importorskip("sentence_transformers")
    parts = [modules.Transformer(str(plain_bert)), modules.Pooling(32, "cls"), modules.Dense(32, 8)]
    folder = tmp_path_factory.mktemp("sentences") / "tiny-sentences"
    library.SentenceTransformer(modules=parts, device="cpu").save(str(folder), create_model_card=False)
    return folder


@pytest.fixture
def sentence_copy(sentence_folder, tmp_path) -> Path:
    """The sentence model's folder, free to be changed."""
    return Path(shutil.copytree(sentence_folder, tmp_path / "elsewhere" / sentence_folder.name))


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def encoder(encoders, kind) -> ClipEncoder:
    return encoders[kind]


@pytest.fixture
def clip_copy(folders, tmp_path) -> Path:
    """The tiny CLIP's folder, free to be changed."""
    return Path(shutil.copytree(folders["clip"], tmp_path / "elsewhere" / folders["clip"].name))


@pytest.fixture(scope="session")
def pillow_backend() -> dict[str, object]:
    """How an image processor is told to resize with Pillow."""
    return {"use_fast": False} if transformers.__version__.startswith("4.") else {"backend": "pil"}
