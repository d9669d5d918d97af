import numpy as np
import pytest
import torch

from embridge import Embeddings, Space
from embridge.adapters import MLP, Linear
from embridge.adapters.base import normalized
from embridge.adapters.mlp import Layer
from embridge.methods import Pairs, Training
from embridge.methods.isometry import isometry_figures, isometry_loss, singular_values
from embridge.methods.projection import Projection
from embridge.methods.xbt import XBT


def orthogonal(rows, columns, seed=0):
    """Orthonormal columns, or rows where there are more columns."""
    found = np.linalg.qr(np.random.default_rng(seed).normal(size=(max(rows, columns),) * 2))[0]
    return found[:rows, :columns].astype(np.float32)


def linear(weight, bias=None):
    spaces = Space("new", "1", weight.shape[0]), Space("old", "1", weight.shape[1])
    return Linear(*spaces, weight, bias, normalize_input=bias is not None)


def random_rows(count, dim, seed=1):
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def random_mlp(d_new, d_old, *, skip=True, strength=1.0, seed=0):
    generator = np.random.default_rng(seed)

    def layer(a, b, by=1.0):
        weight, bias = by * generator.normal(size=(a, b)) / a**0.5, by * generator.normal(size=b)
        return Layer(weight.astype(np.float32), bias.astype(np.float32))

    layers = [layer(d_new, 7), layer(7, 5), layer(5, d_old, strength)]
    beside = Layer(orthogonal(d_new, d_old), np.zeros(d_old, np.float32)) if skip else None
    return MLP(Space("new", "1", d_new), Space("old", "1", d_old), layers, skip=beside)


# Singular values


@pytest.mark.parametrize("size", [1, 2, 6])
def test_a_rotation_has_ones(size):
    values = singular_values(linear(orthogonal(size, size)), 3 * random_rows(4, size))
    assert values.shape == (4, size - 1)
    np.testing.assert_allclose(values, 1, atol=1e-6)


@pytest.mark.slow
def test_an_embedding_into_more_dimensions_has_ones():
    values = singular_values(linear(orthogonal(4, 9)), random_rows(5, 4))
    np.testing.assert_allclose(values, np.ones((5, 3)), atol=1e-6)


def test_a_projection_has_one_dilation_a_row():
    """One over the length that is left of the row; one where the row lies within the projection."""
    weight = orthogonal(9, 4)
    rows = np.concatenate([random_rows(5, 9), random_rows(2, 4) @ weight.T])
    values = singular_values(linear(weight), rows)
    left = np.linalg.norm(normalized(rows) @ weight, axis=1)
    assert left[:5].max() < 0.95
    np.testing.assert_allclose(values, np.repeat(1 / left[:, None], 3, axis=1), rtol=1e-5)
    np.testing.assert_allclose(values[5:], 1, atol=1e-5)


def test_a_centred_rotation_is_nearly_one_dilation():
    weight, mean = orthogonal(6, 6), np.full(6, 0.1, np.float32)
    rows = random_rows(5, 6)
    values = singular_values(linear(weight, mean), rows)
    dilation = 1 / np.linalg.norm(normalized(rows) @ weight + mean, axis=1)
    np.testing.assert_allclose(np.median(values, axis=1), dilation, rtol=1e-5)
    figures = isometry_figures(values)["singular_values_relative"]
    assert (figures["q95"], figures["median"]) == (1.0, 1.0)
    assert 0.8 < figures["min"] < 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "bridge",
    [
        random_mlp(6, 4),
        random_mlp(4, 6),
        random_mlp(5, 5, skip=False),
        linear(random_rows(6, 4)),
        linear(random_rows(4, 6), random_rows(1, 6)[0]),
    ],
    ids=["mlp down", "mlp up", "mlp without skip", "linear down", "linear up, with bias"],
)
def test_the_values_are_those_of_small_steps(bridge):
    """By differences of what the adapter itself gives, along a basis of the directions across the row."""
    (row,), h = normalized(random_rows(1, bridge.source.dim)), 1e-2
    across = np.linalg.svd(row[None])[2][1:].astype(np.float32)
    steps = np.concatenate([np.cos(h) * row + s * np.sin(h) * across for s in (1, -1)]).astype(np.float32)
    reached = normalized(bridge.apply(steps)).astype(np.float64)
    moved = (reached[: len(across)] - reached[len(across) :]) / (2 * np.sin(h))
    expected = np.linalg.svd(moved, compute_uv=False)[: min(bridge.source.dim, bridge.target.dim) - 1]
    np.testing.assert_allclose(singular_values(bridge, row[None])[0], expected, rtol=5e-3, atol=1e-4)


def test_rows_of_zeros_are_left_out():
    rows = random_rows(3, 4)
    rows[1] = 0
    assert singular_values(linear(orthogonal(4, 4)), rows).shape == (2, 3)
    assert isometry_figures(singular_values(linear(orthogonal(4, 4)), rows[1:2])) == {}


def test_figures_are_quantiles_of_the_values_and_of_their_ratios():
    values = np.array([[3.0, 2.0, 1.0], [8.0, 4.0, 4.0]])
    figures = isometry_figures(values)
    assert list(figures["singular_values"]) == ["min", "q05", "median", "q95", "max"]
    assert figures["singular_values"]["median"] == 3.5
    assert (figures["singular_values_relative"]["min"], figures["singular_values_relative"]["max"]) == (0.5, 2.0)


# The penalty


@pytest.mark.parametrize(("d_new", "d_old"), [(6, 6), (8, 5), (5, 8)])
@pytest.mark.parametrize("centred", [False, True])
def test_the_penalty_of_the_skip_itself_is_zero(d_new, d_old, centred):
    skip = linear(orthogonal(d_new, d_old), np.full(d_old, 0.2, np.float32) if centred else None)
    start = Projection(d_new, 16, d_old, skip=skip, dropout=0.5)
    z = torch.from_numpy(normalized(random_rows(20, d_new)))
    assert isometry_loss(start.before_normalising, z).item() < 1e-10
    torch.nn.init.normal_(start.output.weight, std=0.3)
    assert isometry_loss(start.before_normalising, z).item() > 1e-3


@pytest.mark.parametrize(("d_new", "d_old"), [(6, 6), (8, 5), (5, 8)])
def test_the_penalty_is_right_on_average(d_new, d_old):
    """Against all of the Jacobian, of every row, on the smaller side."""
    torch.manual_seed(0)
    module = Projection(d_new, 16, d_old, skip=linear(orthogonal(d_new, d_old)), dropout=0.0)
    torch.nn.init.normal_(module.output.weight, std=0.3)
    z = torch.from_numpy(normalized(random_rows(3, d_new)))
    expected = []
    for row in z:
        found = torch.func.jacrev(lambda x: module.before_normalising(x[None])[0])(row)
        gram = found @ found.T if d_old <= d_new else found.T @ found
        expected.append((gram - torch.eye(len(gram))).square().sum().item() / len(gram))
    estimates = isometry_loss(module.before_normalising, z.repeat(5_000, 1))
    assert estimates.item() == pytest.approx(np.mean(expected), rel=0.03)


def test_the_penalty_sees_stretch_against_shrinkage():
    """Half of the directions twice as long, the others as much shorter that the mean of the squares is one."""
    scales = torch.tensor([1.5, 0.5]).repeat_interleave(20).sqrt()
    z = torch.from_numpy(normalized(random_rows(2_000, 40)))
    torch.manual_seed(0)
    assert isometry_loss(lambda rows: rows * scales, z).item() == pytest.approx(0.25, rel=0.02)


def test_gradients_are_finite_and_reach_every_weight_but_the_skip():
    torch.manual_seed(0)
    module = Projection(8, 16, 5, skip=linear(orthogonal(8, 5)), dropout=0.5).train()
    torch.nn.init.normal_(module.output.weight, std=0.1)
    isometry_loss(module.before_normalising, torch.from_numpy(normalized(random_rows(20, 8)))).backward()
    for name, weight in module.named_parameters():
        if name.startswith("skip") or name == "output.bias":  # an offset moves no direction
            assert weight.grad is None
        else:
            assert weight.grad.isfinite().all()
            assert weight.grad.abs().max() > 0


# In XBT


def stretched(rows=600, d_old=16):
    """The old model sees some directions of the new one larger than others, and bends them."""
    generator = np.random.default_rng(0)
    new = normalized(generator.normal(size=(rows, 24)).astype(np.float32))
    seen = (new @ orthogonal(24, d_old)) * np.geomspace(0.2, 3.0, d_old, dtype=np.float32)
    old = normalized(np.tanh(6 * seen).astype(np.float32))
    return Pairs(Embeddings.of(new, Space("new", "1", 24)), Embeddings.of(old, Space("old", "1", d_old)))


TRAINED = {
    "hidden_width": 64,
    "training": Training(min_steps=150, batch_size=128, patience=20),
    "precision": "float32",
    "caution": 0.0,
    "closed_form": "procrustes",
}


def spread(figures):
    values = figures["singular_values_relative"]
    return values["q95"] - values["q05"]


@pytest.mark.slow
def test_figures_of_a_closed_form_and_of_a_trained_map(make_pairs):
    closed = XBT(hidden_width=0, closed_form="procrustes", center=False).fit(make_pairs()).provenance.figures
    assert spread(closed) < 1e-3
    assert closed["singular_values"]["min"] > 1  # 24 dimensions into 16: what is left is wider
    trained = XBT(**TRAINED).fit(stretched()).provenance.figures
    assert trained["best_step"] > 0
    assert spread(trained) > 0.3


@pytest.mark.slow
def test_a_larger_weight_keeps_the_map_nearer_to_an_isometry():
    spreads = []
    for weight in (0.0, 1.0, 10.0):
        figures = XBT(**TRAINED, isometry_weight=weight).fit(stretched()).provenance.figures
        assert figures["best_step"] > 0
        spreads.append(spread(figures))
    assert spreads[0] > 1.2 * spreads[1]
    assert spreads[1] > 1.2 * spreads[2]


def test_one_pair_has_figures_too():
    with pytest.warns(UserWarning, match="1 pairs"):
        figures = XBT(hidden_width=0).fit(stretched(rows=1)).provenance.figures
    assert spread(figures) < 1e-3
