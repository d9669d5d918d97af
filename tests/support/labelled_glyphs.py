"""Drawn characters of five scripts: real labelled images on every machine; an old model that knows three of the scripts."""

from functools import cache

import numpy as np
import torch

from embridge.backbones.resnet import SmallResNet
from embridge.datasets import glyphs
from embridge.encoders.squares import square_pixels
from embridge.training.compatible.augment import Augment
from embridge.training.compatible.image_data import ImageArrays
from embridge.training.compatible.old_models import old_model, old_vectors
from embridge.training.compatible.trainer import CompatibleTraining
from embridge.training.objectives.independent import Independent, IndependentSettings

SCRIPTS = ("arabic", "braille", "cyrillic", "greek", "latin")
KNOWN = SCRIPTS[:3]
OLD_DIM, SIDE = 8, 16
QUICK = CompatibleTraining(
    epochs=3,
    batch_size=50,
    learning_rate=5e-3,
    weight_decay=0.01,
    augment=Augment(crop_padding=1, flip=0.0),
    device="cpu",
    checkpoint_every_steps=4,
)


@cache
def items(part):
    """100 characters of each script to train on, 40 others to test with."""
    drawn = glyphs.render(glyphs.split()["train"], one_each=True)
    first = np.array([caption.split()[0] for caption in drawn.captions])
    start, count = {"train": (0, 100), "test": (100, 40)}[part]
    rows = np.concatenate(
        [np.random.default_rng(0).permutation(np.flatnonzero(first == s))[start : start + count] for s in SCRIPTS]
    )
    labels = np.repeat(np.arange(len(SCRIPTS)), [len(rows) // len(SCRIPTS)] * len(SCRIPTS))
    grey = square_pixels(drawn.images[rows], SIDE)[:, 0]  # once, not in every step
    return ImageArrays(grey, labels, SCRIPTS, SIDE)


def network(dim, seed=1):
    return SmallResNet(dim, width=8, depth=8, seed=seed)


@cache
def old_encoder():
    """Trained on the first three scripts alone, without any other model."""
    data = items("train")
    rows = np.flatnonzero(data.labels < len(KNOWN))
    known = ImageArrays(data.images[rows], data.labels[rows], KNOWN, SIDE)
    torch.manual_seed(0)
    trained = QUICK.fit(
        known, network(OLD_DIM, seed=0), Independent(None, len(KNOWN), IndependentSettings(dim=OLD_DIM))
    )
    return trained.encoder(device="cpu")


@cache
def old():
    """What is kept of it, with class means as the weights of its classifier."""
    rows = old_vectors(items("train"), old_encoder())
    means = np.stack([rows[items("train").labels == c].mean(0) for c in range(len(SCRIPTS))])
    return old_model(items("train"), old_encoder(), known=KNOWN, classifier=3 * means)
