import pytest
import torch
from torch import nn

from embridge.errors import SettingsError
from embridge.training.objectives.orthogonal import Orthogonal

MAPS = ["cayley", "matrix_exp", "householder"]
DIM = 6


def rotation(dim, seed, *, size=0.25):
    """e^(A − Aᵀ): a rotation by angles that stay well below π."""
    a = size * torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed))
    return torch.matrix_exp(a - a.T)


def fit(layer, target, steps, *, decay=0.0):
    """Adam until the layer's weight is the target, as far as it comes; gives the mean squared difference."""
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.05, weight_decay=decay)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.05 * (1 - step / steps)
        optimiser.zero_grad()
        loss = (layer.weight - target).square().mean()
        loss.backward()
        optimiser.step()
    return (layer.weight - target).square().mean().item()


def gap(layer):
    weight = layer.weight.detach()
    return (weight.T @ weight - torch.eye(len(weight))).abs().max().item()


@pytest.mark.slow
@pytest.mark.parametrize("start", ["identity", "random"])
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_stays_orthogonal_under_any_optimiser(name, start, decay):
    torch.manual_seed(0)
    layer = Orthogonal(40, orthogonal_map=name, start=start, bias=True)
    before = layer.weight.detach().clone()
    x, y = torch.randn(64, 40), torch.randn(64, 40)
    for make in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD):
        optimiser = make(layer.parameters(), lr=0.05, weight_decay=decay)
        for _ in range(10):
            optimiser.zero_grad()
            (layer(x) - y).square().mean().backward()
            optimiser.step()
    assert gap(layer) < 1e-5
    assert (layer.weight - before).abs().max() > 0.05
    assert layer.bias.abs().max() > 0.01


@pytest.mark.parametrize("name", MAPS)
def test_it_starts_at_its_start(name):
    assert torch.allclose(Orthogonal(DIM, orthogonal_map=name).weight, torch.eye(DIM), atol=1e-6)
    torch.manual_seed(1)
    one = Orthogonal(DIM, orthogonal_map=name, start="random").weight
    torch.manual_seed(1)
    other = Orthogonal(DIM, orthogonal_map="cayley", start="random").weight
    assert torch.allclose(one, other, atol=1e-6)
    assert (one - torch.eye(DIM)).abs().max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPS)
def test_every_map_reaches_rotations_and_none_reaches_reflections(name):
    target = rotation(DIM, 0)
    assert fit(Orthogonal(DIM, orthogonal_map=name), target, 400) < 1e-6
    reflected, target = Orthogonal(DIM, orthogonal_map=name), target.clone()
    target[:, 0] *= -1
    nearest = 4 / DIM**2  # the closest rotation has one direction wrong
    assert fit(reflected, target, 400) > nearest - 1e-5
    assert torch.linalg.det(reflected.weight).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.slow
def test_the_maps_agree_on_the_nearest_they_can_come():
    """To a matrix that is not orthogonal: the nearest rotation is that of Procrustes."""
    target = rotation(DIM, 1) + 0.2 * torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(2))
    u, _, vt = torch.linalg.svd(target)
    assert torch.linalg.det(u @ vt) > 0
    for name in MAPS:
        layer = Orthogonal(DIM, orthogonal_map=name)
        fit(layer, target, 400)
        torch.testing.assert_close(layer.weight, u @ vt, rtol=0, atol=2e-3)


@pytest.mark.parametrize("start", ["identity", "random"])
@pytest.mark.parametrize("name", MAPS)
def test_its_state_comes_back(name, start):
    torch.manual_seed(0)
    layer = Orthogonal(DIM, orthogonal_map=name, start=start, bias=True)
    fit(layer, rotation(DIM, 3), 5)
    again = Orthogonal(DIM, orthogonal_map=name, start=start, bias=True)
    assert not torch.allclose(again.weight, layer.weight, atol=1e-3)
    again.load_state_dict(layer.state_dict())
    x = torch.randn(3, DIM)
    assert torch.equal(again(x), layer(x))


@pytest.mark.slow
def test_random_starts_have_both_determinants_and_no_preference():
    torch.manual_seed(0)
    starts = torch.stack([Orthogonal(3, start="random").weight.detach() for _ in range(400)])
    assert {round(d) for d in torch.linalg.det(starts).tolist()} == {-1, 1}
    assert starts.mean(0).abs().max() < 0.1


@pytest.mark.parametrize("name", MAPS)
def test_autocast_does_not_make_it_less_orthogonal(name):
    torch.manual_seed(0)
    layer = Orthogonal(DIM, orthogonal_map=name, start="random")
    fit(layer, rotation(DIM, 3), 5)
    with torch.autocast("cpu", torch.bfloat16):
        weight, rows = layer.weight, layer(torch.randn(2, DIM))
    assert (weight.T @ weight - torch.eye(DIM)).abs().max() < 1e-5
    assert rows.dtype == torch.bfloat16


def test_no_bias_unless_asked_for():
    assert Orthogonal(DIM).bias is None
    assert isinstance(Orthogonal(DIM, bias=True).bias, nn.Parameter)


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize("arguments", [{"orthogonal_map": "qr"}, {"start": "zero"}])
def test_other_settings_are_refused(arguments):
    with pytest.raises(SettingsError, match="the map is cayley, matrix_exp or householder, the start identity or rand"):
        Orthogonal(DIM, **arguments)


def test_no_dim_is_refused():
    with pytest.raises(SettingsError, match="expected a dim of 1 or more, came 0"):
        Orthogonal(0)
