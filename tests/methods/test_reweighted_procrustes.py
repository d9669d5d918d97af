"""Reweighted Procrustes: the contract of methods, and what its settings make of it."""

import dataclasses

import numpy as np
import pytest

from embridge.errors import SettingsError
from embridge.methods import make
from embridge.methods.reweighted_procrustes import ReweightedProcrustes, fit_reweighted
from embridge.testing import check_method

PLAIN = ReweightedProcrustes(whitening=0.0, reweighting=0.0, old_whitening=0.0, kept_mean=1.0)


def test_contract(make_pairs):
    assert check_method(ReweightedProcrustes(), make_pairs()) == []


def test_with_nothing_weighed_it_is_centred_procrustes_in_another_length(make_pairs):
    pairs = make_pairs()
    bridge, rotation = fit_reweighted(pairs, PLAIN), make("procrustes", {"center": True}).fit(pairs).bridge
    ratio = bridge.weight / rotation.weight
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)


def test_with_a_whitened_new_side_alone_it_is_whitened_procrustes(make_pairs):
    pairs = make_pairs()
    bridge = fit_reweighted(pairs, dataclasses.replace(PLAIN, whitening=0.3, kept_mean=0.5))
    whitened = make("whitened-procrustes", {"whitening": 0.3, "kept_mean": 0.5}).fit(pairs).bridge
    np.testing.assert_allclose(bridge.weight, whitened.weight, atol=1e-5)
    np.testing.assert_allclose(bridge.bias, whitened.bias, atol=1e-5)


def test_reweighting_by_all_of_it_is_the_cross_covariance(make_pairs):
    pairs = make_pairs()
    bridge = fit_reweighted(pairs, dataclasses.replace(PLAIN, reweighting=1.0))
    new, old = (rows - rows.mean(axis=0) for rows in pairs.unit_rows(slice(None)))
    cross = new.T @ old
    np.testing.assert_allclose(bridge.weight / np.linalg.norm(bridge.weight), cross / np.linalg.norm(cross), atol=1e-5)


def test_old_whitening_makes_mapped_vectors_differ_less_in_the_widest_old_direction(make_pairs):
    pairs = make_pairs()
    old = pairs.old.vectors * np.geomspace(5, 1, 16, dtype=np.float32)
    pairs = dataclasses.replace(pairs, old=type(pairs.old).of(old, pairs.old.space))
    spreads = [
        fit_reweighted(pairs, dataclasses.replace(PLAIN, old_whitening=power)).weight.std(axis=0)
        for power in (0.0, 0.3)
    ]
    narrow, wide = spreads[1] / spreads[0] / (spreads[1] / spreads[0]).mean(), 0
    assert narrow[wide] < narrow[-1]


@pytest.mark.parametrize("name", ["whitening", "reweighting", "old_whitening", "kept_mean"])
def test_settings_out_of_range_are_refused(name):
    with pytest.raises(SettingsError, match="reweighting and kept_mean in"):
        ReweightedProcrustes(**{name: 1.5})
