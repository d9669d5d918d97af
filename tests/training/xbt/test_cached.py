import dataclasses

import numpy as np
import pytest
import torch

from embridge import Embeddings, Space, Upgrade, top_k
from embridge.adapters import Identity, Linear, Prefix, Provenance
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch, WrongDirection
from embridge.methods import Pairs, make
from embridge.training.xbt.cached import PairVectors, XBTCached

NEW, OLD = Space("new", "1", 24), Space("old", "1", 12)
QUICK = {"rank": 4, "epochs": 40, "batch_size": 100, "caption_batch_size": 200}


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def world():
    """Texts lie in 12 of the 24 dims of the new model; its images are there too, these dims turned a little."""
    rng = np.random.default_rng(0)
    content = rng.normal(size=(1_600, 12))
    basis = np.linalg.qr(rng.normal(size=(24, 24)))[0]
    left, _, right = np.linalg.svd(np.eye(12) + 0.3 * rng.normal(size=(12, 12)))
    texts = unit(np.pad(content, ((0, 0), (0, 12))) @ basis)
    images = unit(np.pad(content @ left @ right, ((0, 0), (0, 12))) @ basis)
    old = unit(content @ np.linalg.qr(rng.normal(size=(12, 12)))[0])
    seen, rest = slice(0, 800), slice(800, 1_600)
    captions = Pairs(Embeddings.of(texts[seen], NEW), Embeddings.of(old[seen], OLD))
    return captions, images[seen], images[rest], old[rest], make("procrustes").fit(captions)


def found(upgrade, images, old):
    rows = top_k(upgrade.to_index_space(Embeddings.of(images, NEW)).vectors, old, 1).rows
    return (rows[:, 0] == np.arange(len(old))).mean()


@pytest.mark.slow
def test_pairs_teach_the_images_of_one_tower(world):
    captions, images, unseen, old, fitted = world
    settings = XBTCached(**QUICK | {"rank": 12, "learning_rate": 1e-2})
    towers = settings.fit(PairVectors(Embeddings.of(images, NEW), captions.new), fitted)
    assert found(fitted, unseen, old) < 0.6
    assert found(towers.image, unseen, old) > 0.9
    losses = towers.image.provenance.figures["held_out_losses"]
    assert losses[1] < losses[0]
    assert found(towers.text, captions.new.vectors, captions.old.vectors) > 0.95


@pytest.mark.slow
def test_captions_of_the_bridge_mend_a_bridge_that_pairs_alone_cannot(world):
    """Surrogates repeat the bridge's own errors; the old vectors of captions do not."""
    captions, _, _, _, fitted = world
    noise = np.random.default_rng(1).normal(size=(24, 12)).astype(np.float32)
    bent = dataclasses.replace(fitted, bridge=Linear(NEW, OLD, fitted.bridge.weights()["weight"] + 0.5 * noise))
    pairs = PairVectors(Embeddings.of(captions.new.vectors, NEW), captions.new)
    alone, mended = (XBTCached(**QUICK).fit(pairs, bent, captions=c).image for c in (None, captions))
    scores = [found(u, captions.new.vectors, captions.old.vectors) for u in (bent, alone, mended)]
    assert scores[2] > max(scores[:2]) + 0.2


@pytest.mark.slow
def test_one_bridge_serves_both_towers_and_the_artefact_holds_it(world, tmp_path):
    captions, images, unseen, _, fitted = world
    towers = XBTCached(**QUICK | {"epochs": 5}).fit(PairVectors(Embeddings.of(images, NEW), captions.new), fitted)
    for name, weight in towers.text.bridge.weights().items():
        np.testing.assert_array_equal(weight, towers.image.bridge.weights()[name])
    assert towers.text.new_space == towers.image.new_space == NEW
    assert towers.text.head.target != towers.image.head.target
    query = Embeddings.of(unseen[:5], NEW)
    loaded = Upgrade.load(towers.image.save(tmp_path / "upgrade"))
    np.testing.assert_array_equal(loaded.to_index_space(query).vectors, towers.image.to_index_space(query).vectors)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_leaves_the_global_one_alone(world):
    captions, images, _, _, fitted = world
    settings, pairs = XBTCached(**QUICK | {"epochs": 2}), PairVectors(Embeddings.of(images, NEW), captions.new)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (settings.fit(pairs, fitted, captions=captions, seed=s) for s in (0, 0, 1))
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
    weights = [t.image.head.weights()["weight"] for t in (first, again, other)]
    assert weights[0].tobytes() == weights[1].tobytes() != weights[2].tobytes()


def test_captions_of_one_photo_are_drawn_one_at_a_time(world):
    """Four captions a photo: a batch of all photos holds each once, so there are as many steps as epochs."""
    captions, images, _, _, fitted = world
    steps = []
    photos = np.arange(len(images)) // 4
    XBTCached(**QUICK | {"epochs": 3, "batch_size": 500}).fit(
        PairVectors(Embeddings.of(images, NEW), captions.new, photos),
        fitted,
        progress=lambda done, total, what: steps.append((done, total, what)),
    )
    assert steps == [(i, 3, "finetune steps") for i in (1, 2, 3)]


def test_where_pairs_say_nothing_the_bridge_stays(world):
    """Images that are where their captions are, and steps far too long."""
    captions, _, _, _, fitted = world
    rate = {"learning_rate": 300.0, "projection_learning_rate": 300.0, "epochs": 2}
    towers = XBTCached(**QUICK | rate).fit(PairVectors(Embeddings.of(captions.new.vectors, NEW), captions.new), fitted)
    assert towers.text.bridge is fitted.bridge
    assert towers.image.head is fitted.head


def test_what_cannot_be_trained_on_is_refused(world):
    captions, images, _, _, fitted = world
    rows, fit = Embeddings.of(images, NEW), XBTCached(**QUICK).fit
    pairs = PairVectors(rows, captions.new)
    with pytest.raises(InvalidInput, match="800 images, 799 texts"):
        PairVectors(rows, captions.new.take(range(799)))
    with pytest.raises(InvalidInput, match="3 photos came, of which 2 would be held out"):
        fit(PairVectors(rows.take(range(3)), captions.new.take(range(3))), fitted)
    with pytest.raises(SpaceMismatch, match="the images to train on"):
        fit(PairVectors(captions.old, captions.new), fitted)
    forward = Upgrade(
        Identity(NEW, NEW), Linear(OLD, NEW, np.eye(12, 24, dtype=np.float32)), Provenance("x"), "forward"
    )
    with pytest.raises(WrongDirection, match="this one is forward"):
        fit(pairs, forward)
    prefixed = Upgrade(Identity(NEW, NEW), Prefix(NEW, OLD), Provenance("x"))
    with pytest.raises(SettingsError, match="only a linear or an mlp bridge"):
        fit(pairs, prefixed)


@pytest.mark.parametrize(
    "settings",
    [{"rank": 0}, {"batch_size": 1}, {"temperature": 0.0}, {"keep_weight": -1.0}, {"validation_fraction": 1.0}],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(SettingsError, match="finetune"):
        dataclasses.replace(XBTCached(), **settings)
