"""The mean of closed forms lies between them, whatever the lengths of what each makes."""

import numpy as np
import pytest

from embridge.adapters.base import normalized
from embridge.methods import make
from embridge.methods._averaged import averaged, fit_averaged

NAMES = ["procrustes", "reweighted-procrustes", "whitened-procrustes"]


@pytest.fixture
def pairs(make_pairs):
    return make_pairs(rows=300)


def test_each_map_counts_the_same(pairs):
    rows = normalized(pairs.new.vectors)
    bridges = [make(name).fit(pairs).bridge for name in NAMES]
    outputs = [rows @ bridge.weight + (0 if bridge.bias is None else bridge.bias) for bridge in bridges]
    mean = np.mean([output / np.linalg.norm(output, axis=1).mean() for output in outputs], axis=0)
    np.testing.assert_allclose(normalized(fit_averaged(pairs)[0].apply(rows)), normalized(mean), atol=1e-5)


def test_a_longer_map_counts_no_more(pairs):
    rows = normalized(pairs.new.vectors)
    one, other = (make(name).fit(pairs).bridge for name in NAMES[:2])
    longer = type(one)(
        one.source, one.target, 100 * one.weight, None if one.bias is None else 100 * one.bias, normalize_input=True
    )
    np.testing.assert_allclose(
        averaged([longer, other], rows).weight, averaged([one, other], rows).weight, rtol=1e-4, atol=1e-6
    )


def test_two_pairs_are_enough(make_pairs):
    pairs = make_pairs(rows=2)
    assert np.isfinite(fit_averaged(pairs)[0].weight).all()
