from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from embridge.adapters import MLP, Layer
from embridge.errors import ArtefactError
from embridge.space import Space


def random_layer(rng, d_in, d_out):
    return Layer(rng.normal(size=(d_in, d_out)).astype(np.float32), rng.normal(size=d_out).astype(np.float32))


def as_module(layer):
    module = nn.Linear(*layer.weight.shape)
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(layer.weight.T))
        module.bias.copy_(torch.from_numpy(layer.bias))
    return module


def in_torch(layers, skip, x):
    """The definition, with torch's own layers."""
    with torch.inference_mode():
        unit = nn.functional.normalize(torch.from_numpy(x), dim=1)
        steps = [nn.LayerNorm(x.shape[1], elementwise_affine=False)]
        for layer in layers[:-1]:
            steps += [as_module(layer), nn.GELU(approximate="tanh")]
        y = nn.Sequential(*steps, as_module(layers[-1]))(unit)
        if skip is not None:
            y = y + as_module(skip)(unit)
        return nn.functional.normalize(y, dim=1).numpy()


@pytest.mark.slow
@given(
    st.integers(2, 40),
    st.integers(2, 40),
    st.lists(st.integers(1, 60), max_size=3),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_it_computes_what_torch_computes(d_new, d_old, hidden, with_skip, seed):
    rng = np.random.default_rng(seed)
    widths = [d_new, *hidden, d_old]
    layers = [random_layer(rng, a, b) for a, b in pairwise(widths)]
    skip = random_layer(rng, d_new, d_old) if with_skip else None
    x = rng.normal(size=(9, d_new)).astype(np.float32)
    y = MLP(Space("new", "1", d_new), Space("old", "1", d_old), layers, skip=skip).apply(x)
    np.testing.assert_allclose(y, in_torch(layers, skip, x), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), 1, atol=1e-5)


def test_the_length_of_the_input_does_not_matter():
    rng = np.random.default_rng(0)
    adapter = MLP(Space("new", "1", 8), Space("old", "1", 6), [random_layer(rng, 8, 6)])
    x = rng.normal(size=(5, 8)).astype(np.float32)
    np.testing.assert_allclose(adapter.apply(x), adapter.apply(100 * x), atol=1e-5)


NEW, OLD = Space("new", "1", 4), Space("old", "1", 3)


def flat(d_in, d_out, value=1.0):
    return Layer(np.full((d_in, d_out), value, np.float32), np.zeros(d_out, np.float32))


@pytest.mark.parametrize(
    ("layers", "skip", "message"),
    [
        ([], None, "at least one layer; use Linear for none"),
        ([flat(5, 3)], None, r"'0.weight': expected float32 \[4, 3\], came float32 \[5, 3\]"),
        ([flat(4, 2)], None, r"'0.weight': expected float32 \[4, 3\]"),
        ([flat(4, 7), flat(6, 3)], None, r"'1.weight': expected float32 \[7, 3\], came float32 \[6, 3\]"),
        ([flat(4, 3)], flat(3, 4), r"'skip.weight': expected float32 \[4, 3\]"),
        ([flat(4, 3, np.nan)], None, "'0.weight' holds NaN or infinity"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers, skip, message):
    with pytest.raises(ArtefactError, match=message):
        MLP(NEW, OLD, layers, skip=skip)


def test_a_missing_layer_is_named():
    adapter = MLP(NEW, OLD, [flat(4, 7), flat(7, 3)])
    weights = adapter.weights()
    del weights["1.weight"]
    with pytest.raises(ArtefactError, match=r"lack '1.weight'"):
        MLP.from_parts(NEW, OLD, adapter.config(), weights)
    with pytest.raises(ArtefactError, match=r"lack '2.weight'"):
        MLP.from_parts(NEW, OLD, {"layers": 3, "skip": False}, adapter.weights())
