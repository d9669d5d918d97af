"""Every kind of adapter fulfils the contract, at many shapes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embridge.adapters import MLP, Adapter, Composed, Identity, Layer, Linear, Prefix
from embridge.adapters.composed import KINDS, adapter_from_parts, adapter_to_config
from embridge.errors import ArtefactError
from embridge.space import Space
from embridge.testing import check_adapter


def space(name, dim):
    return Space(name, "1", dim)


def random_layer(rng, d_in, d_out):
    weight = rng.normal(size=(d_in, d_out)).astype(np.float32) / np.float32(d_in) ** 0.5
    return Layer(weight, rng.normal(size=d_out).astype(np.float32))


def identity(rng, d_new, d_old):
    return Identity(space("new", d_new), space("old", d_new))


def linear(rng, d_new, d_old):
    layer = random_layer(rng, d_new, d_old)
    return Linear(space("new", d_new), space("old", d_old), layer.weight)


def affine(rng, d_new, d_old):
    layer = random_layer(rng, d_new, d_old)
    return Linear(space("new", d_new), space("old", d_old), layer.weight, layer.bias, normalize_input=True)


def mlp(rng, d_new, d_old):
    layers = [random_layer(rng, d_new, 11), random_layer(rng, 11, d_old)]
    return MLP(space("new", d_new), space("old", d_old), layers)


def mlp_with_skip(rng, d_new, d_old):
    layers = [random_layer(rng, d_new, d_old)]
    return MLP(space("new", d_new), space("old", d_old), layers, skip=random_layer(rng, d_new, d_old))


def prefix(rng, d_new, d_old):
    return Prefix(space("new", max(d_new, d_old)), space("old", min(d_new, d_old)))


def composed(rng, d_new, d_old):
    first = affine(rng, d_new, d_old)
    second = MLP(first.target, space("older", 5), [random_layer(rng, d_old, 5)])
    return Composed([first, Composed([second, Prefix(second.target, space("oldest", 2))])])


MAKERS = [identity, linear, affine, mlp, mlp_with_skip, prefix, composed]


@pytest.mark.slow
@pytest.mark.parametrize("make", MAKERS, ids=lambda m: m.__name__)
@pytest.mark.parametrize(("d_new", "d_old"), [(1, 1), (8, 8), (12, 5), (5, 12), (384, 129)])
def test_contract(make, d_new, d_old):
    assert check_adapter(make(np.random.default_rng(d_new), d_new, d_old)) == []


def test_every_kind_is_checked():
    rng = np.random.default_rng(0)
    assert {type(make(rng, 4, 3)) for make in MAKERS} == set(KINDS.values())
    assert all(kind.kind == name for name, kind in KINDS.items())
    assert all(issubclass(kind, Adapter) for kind in KINDS.values())


@pytest.mark.slow
@given(st.sampled_from(MAKERS), st.integers(1, 20), st.integers(1, 20), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_a_permutation_of_rows_permutes_the_result(make, d_new, d_old, n, seed):
    rng = np.random.default_rng(seed)
    adapter = make(rng, d_new, d_old)
    x = rng.normal(size=(n, adapter.source.dim)).astype(np.float32)
    order = rng.permutation(n)
    np.testing.assert_allclose(adapter.apply(x[order]), adapter.apply(x)[order], atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "pickle"},
        {"kind": ["linear"]},
        {"kind": None},
        {"source": {}},
        {"config": {}},
        {"config": None},
        {"source": {"model": "new", "revision": "1", "dim": 5, "metric": "cosine", "recipe": ""}},
    ],
    ids=str,
)
@pytest.mark.usefixtures("as_in_production")
def test_descriptions_that_do_not_fit_are_refused(change):
    adapter = linear(np.random.default_rng(0), 4, 3)
    described = adapter_to_config(adapter) | change
    with pytest.raises((ArtefactError, ValueError), match=r"lacks or misnames|a space is written as|expected float32"):
        adapter_from_parts(described, adapter.weights())


def test_descriptions_that_lack_a_part_are_refused():
    adapter = linear(np.random.default_rng(0), 4, 3)
    for name in ("kind", "source", "target", "config"):
        described = adapter_to_config(adapter)
        del described[name]
        with pytest.raises(ArtefactError, match=f"lacks or misnames '{name}'; known kinds: .*'linear'"):
            adapter_from_parts(described, adapter.weights())
