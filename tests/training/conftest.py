"""The packaged glyph models with a bridge between them, and other dual encoders of a few thousand weights."""

import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import ChineseCLIPConfig, ChineseCLIPModel, SiglipConfig, SiglipModel

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import MLP, Identity, Layer, Provenance
from embridge.datasets import glyph_models, glyphs
from embridge.datasets.image_text import ImageTextPairs
from embridge.encoders.clip import ClipEncoder
from embridge.methods import Pairs, Training
from embridge.methods.procrustes import Procrustes
from embridge.methods.xbt import XBT

SIDE = 32
SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
VOCABULARY = ("<pad>", "<unk>", "<start>", "<end>", "a", "the", "small", "large", "red", "blue", "cat", "dog", "bird")
TEXT = {**SHAPE, "vocab_size": len(VOCABULARY), "max_position_embeddings": 16, "pad_token_id": 0}
VISION = {**SHAPE, "image_size": SIDE, "patch_size": 8, "num_channels": 3}


@pytest.fixture(scope="session")
def old():
    return ClipEncoder(glyph_models.folder("old"), device="cpu", batch_size=256)


@pytest.fixture(scope="session")
def new():
    return ClipEncoder(glyph_models.folder("new"), device="cpu", batch_size=256)


@pytest.fixture(scope="session")
def caption_pairs(old, new):
    names = [glyphs.caption(c) for c in glyphs.split()["train"]][:2_000]
    return Pairs(*(Embeddings.of(e.encode(names, modality="text"), e.space, names) for e in (new, old)))


@pytest.fixture(scope="session")
def linear_upgrade(caption_pairs):
    return Procrustes().fit(caption_pairs)


@pytest.fixture(scope="session")
def xbt_upgrade(caption_pairs):
    return XBT(hidden_width=32, training=Training(min_steps=60, epochs=1, batch_size=256)).fit(caption_pairs)


@pytest.fixture(scope="session")
def mlp_upgrade(new):
    """Hand-made and rough, so that a few steps are sure to better it."""
    generator = np.random.default_rng(0)

    def layer(a, b, size):
        return Layer((generator.normal(size=(a, b)) * size / a**0.5).astype(np.float32), np.zeros(b, np.float32))

    dim, target = new.space.dim, Space("old", "1", 16)
    bridge = MLP(new.space, target, [layer(dim, 32, 1), layer(32, 16, 0.3)], skip=layer(dim, 16, 1))
    return Upgrade(Identity(new.space, new.space), bridge, Provenance("hand", data="none"))


@pytest.fixture(scope="session")
def pairs():
    """Characters that neither model has seen."""
    drawn = glyphs.render(glyphs.split()["validation"], one_each=True)
    return ImageTextPairs(drawn.captions, drawn.images)


@pytest.fixture(scope="session")
def held_out():
    return glyphs.render(glyphs.split()["test"][:80], one_each=True)


def save_siglip(folder):
    config = SiglipConfig(text_config={**TEXT, "projection_size": 32}, vision_config=VISION)
    SiglipModel(config).save_pretrained(folder)
    return "SiglipImageProcessor"


def save_chinese_clip(folder):
    config = ChineseCLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=24)
    ChineseCLIPModel(config).save_pretrained(folder)
    return "ChineseCLIPImageProcessor"


@pytest.fixture(scope="session", params=[save_siglip, save_chinese_clip], ids=["siglip", "chinese-clip"])
def other_encoder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"tiny-{request.param.__name__}")
    torch.manual_seed(0)
    kind = request.param(folder)
    pixels = {"image_processor_type": kind, "do_resize": True, "size": {"height": SIDE, "width": SIDE}}
    pixels |= {"do_rescale": True, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels | {"do_center_crop": False}))
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(VOCABULARY)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 2), ("<end>", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<end>", "bos_token": "<start>"}
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 16, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    return ClipEncoder(folder, device="cpu")


@pytest.fixture(scope="session")
def coloured_pairs():
    captions = [
        f"{a} {b} {c}" for a in ("the small", "a large") for b in ("red", "blue") for c in ("cat", "dog", "bird")
    ]
    images = np.random.default_rng(0).integers(0, 256, (len(captions), SIDE, SIDE, 3), dtype=np.uint8)
    return ImageTextPairs(captions, images)
