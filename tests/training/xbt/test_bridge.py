import numpy as np
import pytest
import torch

from embridge import Space
from embridge.adapters import Linear, Prefix
from embridge.adapters.base import normalized
from embridge.errors import SettingsError
from embridge.training.xbt.bridge import TrainableBridge

NEW, OLD = Space("new", "1", 5), Space("old", "1", 3)
RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(5, 3)).astype(np.float32)


def rows(dim, n=40):
    return normalized(np.random.default_rng(1).normal(size=(n, dim)).astype(np.float32))


@pytest.mark.parametrize("bias", [None, np.full(3, 0.3, np.float32)])
def test_a_linear_bridge_starts_as_it_is_and_comes_back(bias):
    adapter = Linear(NEW, OLD, WEIGHT, bias, normalize_input=bias is not None)
    check_same(adapter, rows(5))


@pytest.mark.slow
@pytest.mark.parametrize("fitted", ["linear_upgrade", "mlp_upgrade", "xbt_upgrade"])
def test_a_fitted_bridge_starts_as_it_is_and_comes_back(fitted, request):
    adapter = request.getfixturevalue(fitted).bridge
    check_same(adapter, rows(adapter.source.dim))


def check_same(adapter, x):
    module, expected = TrainableBridge(adapter), normalized(adapter.apply(x))
    with torch.inference_mode():
        np.testing.assert_allclose(module(torch.from_numpy(x)).numpy(), expected, atol=1e-6)
    again = module.to_adapter(adapter.source, adapter.target)
    assert again.kind == adapter.kind
    np.testing.assert_allclose(normalized(again.apply(x)), expected, atol=1e-6)


def test_all_of_it_is_trained(mlp_upgrade):
    module = TrainableBridge(mlp_upgrade.bridge)
    (module(torch.from_numpy(rows(mlp_upgrade.new_space.dim))) ** 3).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())


def test_other_kinds_are_refused():
    with pytest.raises(SettingsError, match="only a linear or an mlp bridge can be trained on, came prefix; fit xbt"):
        TrainableBridge(Prefix(NEW, OLD))
