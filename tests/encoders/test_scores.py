"""Cosines of our vectors carry every score of the model, and a bridge keeps them where they are."""

import numpy as np
import pytest
import torch
from fenced_blocks import ROOT, blocks
from transformers import AutoModel

from embridge import Embeddings
from embridge.methods import Pairs, Training
from embridge.methods.xbt import XBT

TEXTS = ["a cat", "the small red bird on the large house near the tree", "dog", "words nobody knows", ""]
THINGS, PLACES = ("cat", "dog", "bird", "house", "tree", "sign"), ("on", "under", "near", "with")
LOOKS = [f"{size} {colour}" for size in ("small", "large") for colour in ("red", "blue", "green")]
CAPTIONS = [f"a {look} {a} {place} the {b}" for look in LOOKS for a in THINGS for place in PLACES for b in THINGS]
BRIDGES = [("clip", "siglip"), ("siglip", "clip")]
HELD = 100


def squares(encoder, n=6):
    side = (32, 32) if encoder._channels == 1 else (32, 32, 3)
    return np.random.default_rng(0).integers(0, 256, (n, *side), dtype=np.uint8)


def cosines(encoder):
    return encoder.encode(squares(encoder), modality="image") @ encoder.encode(TEXTS, modality="text").T


@torch.inference_mode()
def own_logits(encoder, folder):
    """logits_per_image of the whole model of transformers."""
    inputs = {**encoder.text_inputs(TEXTS), **encoder.image_inputs(squares(encoder))}
    inputs.pop("token_type_ids", None)  # of transformers 4, whose whole models refuse them
    return AutoModel.from_pretrained(folder).float().eval()(**inputs).logits_per_image.numpy()


@pytest.mark.slow
def test_scale_and_bias_make_the_models_own_logits(encoder, kind, folders):
    by_sigmoid = kind.startswith("siglip")
    assert (encoder.score_bias is not None) == by_sigmoid
    if by_sigmoid:
        assert (encoder.score_scale, encoder.score_bias) == pytest.approx((110, -12))
    logits = encoder.score_scale * cosines(encoder) + (encoder.score_bias or 0)
    np.testing.assert_allclose(logits, own_logits(encoder, folders[kind]), atol=1e-3)
    assert np.ptp(logits) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_the_page_says_how_they_become_probabilities(encoder, kind, folders):
    (block,) = [b for b in blocks(ROOT / "docs" / "how-to" / "encoders.md", "python") if "def probabilities" in b]
    names = {}
    exec(compile(block, "encoders.md", "exec"), names)
    wanted = torch.sigmoid(torch.from_numpy(own_logits(encoder, folders[kind]))).numpy()
    found = names["probabilities"](encoder, cosines(encoder))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.ptp(found) > 0.01


@pytest.fixture(scope="module")
def bridged(encoders):
    """(vectors of held-out captions behind the bridge, and the old model's own) for a bridge and settings of XBT."""

    def make(new, old, **settings):
        new, old = (Embeddings.of(encoders[k].encode(CAPTIONS, modality="text"), encoders[k].space) for k in (new, old))
        order = np.random.default_rng(0).permutation(len(CAPTIONS))
        upgrade = XBT(**settings).fit(Pairs(new, old).take(order[:-HELD]))
        mapped = upgrade.to_index_space(new.take(order[-HELD:]))
        assert mapped.space == old.space
        return mapped.vectors, old.take(order[-HELD:]).vectors

    return make


@pytest.mark.slow
@pytest.mark.parametrize(("new", "old"), BRIDGES)
def test_a_bridge_between_softmax_and_sigmoid_keeps_the_scores(bridged, encoders, new, old):
    mapped, wanted = bridged(new, old, hidden_width=32, training=Training(epochs=5, min_steps=50))
    before = (mapped @ wanted.T > (mapped * wanted).sum(axis=1, keepdims=True)).sum(axis=1)
    assert (before < 10).mean() > 0.3  # chance is 0.1
    images = encoders[old].encode(squares(encoders[old], 50), modality="image")
    scores, own = mapped @ images.T, wanted @ images.T
    of_another = np.abs(scores - np.roll(own, 7, axis=0)).mean()
    assert np.abs(scores - own).mean() < 0.85 * of_another
    assert abs((scores - own).mean()) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize(("new", "old"), BRIDGES)
def test_the_cosine_term_is_what_keeps_them(bridged, new, old):
    """InfoNCE alone orders texts as well, at cosines of its own."""
    found = {}
    for weight in (0.0, 1.0):
        settings = {"skip": False, "neighbour_weight": 0.0, "noise": 0.0, "cosine_weight": weight}
        settings["training"] = Training(batch_size=256, min_steps=300, learning_rate=3e-3)
        mapped, wanted = bridged(new, old, hidden_width=64, **settings)
        before = (mapped @ wanted.T > (mapped * wanted).sum(axis=1, keepdims=True)).sum(axis=1)
        assert (before < 10).mean() > 0.5
        found[weight] = (mapped * wanted).sum(axis=1).mean()
    assert found[1.0] > 0.75
    assert found[0.0] < found[1.0] - 0.3
