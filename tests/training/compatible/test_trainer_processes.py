"""Two processes on the processor (gloo) train one model: with the gradients of the whole batch, and alike in both."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from labelled_glyphs import QUICK, SCRIPTS, items, old
from torch import nn

from embridge.backbones.base import OwnBackbone, drawn_from
from embridge.errors import SettingsError
from embridge.training.compatible.augment import Augment
from embridge.training.lightning.run import Run
from embridge.training.objectives.ndpp import NDPP, NDPPSettings

PLAIN = replace(QUICK, augment=Augment(crop_padding=0, flip=0.0), checks=0)


def without_batch_statistics(dim):
    with drawn_from(0):
        network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU())
    return OwnBackbone(nn.Sequential(network, nn.AdaptiveAvgPool2d(1)), width=16, feature_dim=dim)


def with_batch_statistics(dim):
    with drawn_from(0):
        network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return OwnBackbone(network, width=8, feature_dim=dim)


def fit(settings, make, folder):
    known = old()
    torch.manual_seed(0)
    trained = settings.fit(
        items("train"), make(8), NDPP(known, len(SCRIPTS), NDPPSettings(neighbours=2)), run=Run(folder=folder)
    )
    return trained, {name: t.numpy() for name, t in trained.model.state_dict().items()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_processes_learn_what_one_does(tmp_path):
    """Without batch normalisation the mean of the gradients of two halves is the gradient of the batch."""
    one, alone = fit(PLAIN, without_batch_statistics, tmp_path / "one")
    two, both = fit(replace(PLAIN, devices=2, strategy="ddp_fork"), without_batch_statistics, tmp_path / "two")
    for name, expected in alone.items():
        np.testing.assert_allclose(both[name], expected, atol=1e-4, err_msg=name)
    start = without_batch_statistics(8).state_dict()
    assert max(np.abs(both[f"backbone.{name}"] - t.numpy()).max() for name, t in start.items()) > 0.01
    assert len(one.provenance.figures["losses"]) == len(two.provenance.figures["losses"]) == 30


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_batch_statistics_and_averages_go_through_processes(tmp_path):
    settings = replace(PLAIN, devices=2, strategy="ddp_fork", ema=0.9)
    one, first = fit(settings, with_batch_statistics, tmp_path / "one")
    _, second = fit(settings, with_batch_statistics, tmp_path / "two")
    for name, expected in first.items():
        np.testing.assert_array_equal(second[name], expected)
    losses = one.provenance.figures["losses"]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


@pytest.mark.slow
def test_several_processes_need_a_folder():
    with pytest.raises(SettingsError, match="several devices need a folder"):
        fit(replace(PLAIN, devices=2, strategy="ddp_fork"), without_batch_statistics, None)


def test_a_batch_is_shared_evenly():
    with pytest.raises(SettingsError, match="a batch_size of 50 is not shared evenly by 3 devices"):
        replace(PLAIN, devices=3)
