"""Compatible training on real photographs: ten classes of CIFAR-100, and product photos; skipped where the data are not."""

import io
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from labelled_glyphs import QUICK
from PIL import Image

from embridge.backbones.resnet import SmallResNet
from embridge.encoders.squares import square_pixels
from embridge.training.compatible.augment import Augment
from embridge.training.compatible.held_out_items import nearest_is_right
from embridge.training.compatible.image_data import ImageArrays
from embridge.training.compatible.old_models import old_model
from embridge.training.objectives.bct import BCT, BCTSettings
from embridge.training.objectives.independent import Independent, IndependentSettings
from embridge.training.objectives.oca import OCA, OCASettings

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("EMBRIDGE_DATA") or ROOT.parent / "shared" / "data")
CIFAR = DATA / "cifar100" / "cifar100_jpeg95_mosaics.npz"
FASHION = DATA / "fashion" / "dev12k_images.npz"
TYPES = FASHION.with_name("dev12k_meta.parquet")

SETTINGS = replace(QUICK, epochs=14, batch_size=50, augment=Augment(crop_padding=2, flip=0.5), precision="bf16-mixed")

SHARP = {"scale": 10.0, "prototype_scale": 10.0}


def cifar(classes=10, each=40, part="train"):
    with np.load(CIFAR, allow_pickle=False) as data:
        blob, offset, columns = data[f"{part}_blob"], data[f"{part}_offset"], data[f"{part}_cols"]
        names = [str(name) for name in data["classes"][:classes]]
    images = []
    for c in range(classes):
        mosaic = np.asarray(Image.open(io.BytesIO(blob[offset[c] : offset[c + 1]].tobytes())))
        cols = int(columns) if columns.ndim == 0 else int(columns[c])
        tiles = mosaic.reshape(-1, 32, cols, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
        images.append(tiles[:each])
    small = square_pixels(np.concatenate(images), 16).transpose(0, 2, 3, 1)  # once, not in every step
    return ImageArrays(small, np.repeat(np.arange(classes), each), names)


def fashion(each=40, classes=8):
    import pyarrow.parquet as parquet

    types = np.array(parquet.read_table(TYPES).column("article").to_pylist())
    names, counts = np.unique(types, return_counts=True)
    names = names[np.argsort(-counts, kind="stable")][:classes]
    with np.load(FASHION, allow_pickle=False) as data:
        blob, offset = data["blob"], data["offset"]
    rows = np.concatenate([np.flatnonzero(types == name)[:each] for name in names])
    opened = [Image.open(io.BytesIO(blob[offset[r] : offset[r + 1]].tobytes())).convert("RGB") for r in rows]
    images = np.stack([np.asarray(image.resize((16, 16))) for image in opened])
    return ImageArrays(images, np.repeat(np.arange(classes), each), [str(name) for name in names])


@cache
def data_and_models_alone(make):
    """Images, an old model that knows half of the classes, and a new one of all that was trained without it."""
    data = make()
    half = len(data.classes) // 2
    rows = np.flatnonzero(data.labels < half)
    known = ImageArrays(data.images[rows], data.labels[rows], data.classes[:half], data.side)
    models = []
    for seed, images in enumerate((known, data)):
        torch.manual_seed(seed)
        objective = Independent(None, len(images.classes), IndependentSettings(dim=16))
        models.append(
            SETTINGS.fit(images, SmallResNet(16, width=8, depth=8, seed=seed), objective).encoder(device="cpu")
        )
    return data, *models


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "kind", "settings"),
    [
        pytest.param(
            cifar,
            BCT,
            BCTSettings(**SHARP),
            marks=pytest.mark.skipif(not CIFAR.exists(), reason=f"{CIFAR} is not there"),
        ),
        pytest.param(
            fashion,
            BCT,
            BCTSettings(**SHARP),
            marks=pytest.mark.skipif(not FASHION.exists(), reason=f"{FASHION} is not there"),
        ),
        pytest.param(
            fashion,
            OCA,
            OCASettings(**SHARP),
            marks=pytest.mark.skipif(not FASHION.exists(), reason=f"{FASHION} is not there"),
        ),
    ],
)
def test_a_new_model_searches_what_an_old_one_wrote(make, kind, settings):
    """The old one knows half of the classes; the new one is trained on all, with it and without."""
    data, old, alone = data_and_models_alone(make)
    known = data.classes[: len(data.classes) // 2]
    torch.manual_seed(1)
    objective = kind(old_model(data, old, known=known), len(data.classes), settings)
    after = SETTINGS.fit(data, SmallResNet(objective.feature_dim, width=8, depth=8, seed=1), objective)
    stored = old.encode(data.images, modality="image")
    upgrade = after.upgrade(old.space)
    bridged = upgrade.bridge.apply(after.encoder(device="cpu").encode(data.images, modality="image"))
    naive = alone.encode(data.images, modality="image")
    crossed, by_chance = (nearest_is_right(rows, stored, data.labels) for rows in (bridged, naive))
    assert crossed > 1.5 / len(data.classes)
    assert crossed > by_chance + 0.05
