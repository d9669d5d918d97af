"""Trains the smallest nets there are, which `forked_trainings` does under heap checks."""

import doctest
import warnings
from types import SimpleNamespace

import numpy as np
import torch
from objective_table import OBJECTIVES
from torch import nn

from embridge.backbones.resnet import SmallResNet
from embridge.backbones.vision import VisionBackbone
from embridge.training.compatible import trainer
from embridge.training.compatible.augment import Augment
from embridge.training.compatible.image_data import ImageArrays
from embridge.training.compatible.old_models import old_model
from embridge.training.compatible.trainer import CompatibleTraining
from embridge.training.objectives.independent import Independent, IndependentSettings

SIDE, ROWS, CLASSES = 16, 20, 2
TRAINING = CompatibleTraining(epochs=1, batch_size=10, augment=Augment(crop_padding=1), device="cpu", checks=0)
UNSOUND = (
    nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 1, stride=2), nn.AdaptiveAvgPool2d(1)),
    nn.Sequential(nn.Conv2d(3, 8, 1, stride=(2, 1)), nn.AdaptiveAvgPool2d(1)),
)
BASIC = {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}


def items(side=SIDE):
    images = np.random.default_rng(0).integers(0, 256, (ROWS, side, side, 3), np.uint8)
    return ImageArrays(images, np.arange(ROWS) % CLASSES)


def train(network, objective=None, data=None):
    objective = Independent(None, CLASSES, IndependentSettings(dim=4)) if objective is None else objective
    TRAINING.fit(items() if data is None else data, network, objective)


def widths():
    for width in range(1, 9):
        train(SmallResNet(4, width=width, depth=8))
    for width in (12, 16):  # the pages' and the examples' own
        train(SmallResNet(4, width=width, depth=8), data=items(32))


def docstring():
    tests = doctest.DocTestFinder(recurse=False).find(CompatibleTraining, "docstring", globs=dict(vars(trainer)))
    results = [doctest.DocTestRunner().run(test) for test in tests]
    assert [r.failed for r in results] == [0], results


def objectives():
    data = items()
    rows = np.random.default_rng(1).normal(size=(ROWS, 8)).astype(np.float32)
    old = old_model(data, rows, classifier=np.eye(CLASSES, 8, dtype=np.float32))
    paragon = torch.from_numpy(np.random.default_rng(2).normal(size=(ROWS, 10)).astype(np.float32))
    toy = SimpleNamespace(old=old, classes=CLASSES, labels=torch.from_numpy(data.labels), paragon=paragon)
    for name in [name for name in OBJECTIVES if "," not in name]:
        objective = OBJECTIVES[name](toy)
        train(SmallResNet(objective.feature_dim, width=4, depth=8), objective)


def own():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for network in UNSOUND:
            train(network.to(memory_format=torch.channels_last))
        train(VisionBackbone(BASIC, 4))
