import math

import pytest
import torch
import torch.nn.functional as F
from planted_classes import CLASSES, DIM, ROWS, dot, loss_of, planted, unit

from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.bt2 import BT2, BT2Settings

NEW = 6
PARAGON = F.normalize(torch.randn(ROWS, NEW, generator=torch.Generator().manual_seed(5), dtype=torch.float64), dim=1)


def features_for(data, dim):
    return 3 * torch.randn(len(data.index), dim, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


def build(data, paragon=PARAGON, **settings):
    torch.manual_seed(0)
    return BT2(data.old, CLASSES, BT2Settings(**{"extra": 2} | settings), paragon=paragon).double()


def apply(matrix, x):
    return [dot(row, x) for row in matrix.tolist()]


def naive_embedding(objective, f, extra, emphasis):
    """Steps 1 to 6 of one row."""
    mixed = []
    if extra:
        hidden = apply(objective.old_head.weight, [max(v, 0) for v in f])
        mixed = unit([a + b for a, b in zip(hidden, objective.old_head.bias.tolist(), strict=True)])
    v = unit(f[: objective.dim])
    mixed = mixed + apply(objective.new_basis.weight, [emphasis * x for x in v])
    return apply(objective.old_basis.weight, mixed[:DIM]) + mixed[DIM:], v


def cross_entropy(scores, y):
    return math.log(sum(math.exp(s) for s in scores.values())) - scores[y]


@pytest.mark.parametrize("extra", [0, 1, DIM])
@pytest.mark.parametrize("emphasis", [2.0, 0.5])
def test_the_embedding_is_its_steps(extra, emphasis):
    data = planted()
    objective = build(data, extra=extra, emphasis=emphasis)
    features = features_for(data, NEW + DIM)
    result = objective.embed(features)
    assert result.shape == (9, NEW + extra)
    for row, f in zip(result.tolist(), features.tolist(), strict=True):
        assert row == pytest.approx(naive_embedding(objective, f, extra, emphasis)[0], rel=1e-9)


@pytest.mark.parametrize("unseen", ["using_old", "null"])
def test_the_terms_are_their_formulas(unseen):
    data = planted()
    objective = build(data, scale=2.0, prototype_scale=4.0, unseen=unseen)
    features, counted = features_for(data, NEW + DIM), range(4 if unseen == "using_old" else 3)
    prototypes, classifier = data.old.prototypes.tolist(), objective.classifier.weight.tolist()
    losses = {"classification": [], "paragon": [], "compatibility": [], "alignment": []}
    for f, i in zip(features.tolist(), data.index, strict=True):
        y, (row, v) = int(data.labels[i]), naive_embedding(objective, f, 2, 2.0)
        b = unit(row[:DIM])
        losses["classification"].append(cross_entropy({c: 2 * dot(classifier[c], v) for c in range(4)}, y))
        losses["paragon"].append(1 - dot(v, unit(PARAGON[i].tolist())))
        losses["alignment"].append(5 * (1 - dot(b, unit(data.rows[i].tolist()))))
        if y in counted:
            losses["compatibility"].append(10 * cross_entropy({c: 4 * dot(b, prototypes[c]) for c in counted}, y))
    terms = loss_of(objective, data, features=features)
    assert terms == pytest.approx({name: sum(values) / len(values) for name, values in losses.items()}, rel=1e-9)


@pytest.mark.parametrize(("extra", "emphasis"), [(1, 2.0), (DIM, 2.0), (2, 0.5), (0, 2.0)])
def test_every_embedding_has_one_length(extra, emphasis):
    data = planted()
    objective = build(data, extra=extra, emphasis=emphasis)
    lengths = objective.embed(features_for(data, NEW + DIM)).norm(dim=1)
    expected = math.sqrt((extra > 0) + emphasis**2)
    torch.testing.assert_close(lengths, torch.full((9,), expected, dtype=torch.float64))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cayley", "matrix_exp", "householder"])
def test_nothing_that_the_new_head_knows_is_lost(name):
    """v comes back out of the embedding, after training too: both basis changes stay orthogonal."""
    data = planted()
    objective = build(data, orthogonal_map=name)
    features = features_for(data, NEW + DIM)
    optimiser = torch.optim.Adam(objective.parameters(), lr=0.05, weight_decay=0.01)
    for _ in range(15):
        optimiser.zero_grad()
        sum(objective(features, data.labels[data.index], data.index).values()).backward()
        optimiser.step()
    p, q = objective.new_basis.weight.detach(), objective.old_basis.weight.detach()
    torch.testing.assert_close(p.T @ p, torch.eye(NEW, dtype=torch.float64))
    torch.testing.assert_close(q.T @ q, torch.eye(DIM, dtype=torch.float64))
    row = objective.embed(features)
    mixed = torch.cat([row[:, :DIM] @ q, row[:, DIM:]], dim=1)
    torch.testing.assert_close(mixed[:, 2:] @ p / 2, F.normalize(features[:, :NEW], dim=1))


def test_without_extra_dims_and_of_the_old_length_it_is_a_rotation_of_the_new_head():
    data = planted()
    paragon = PARAGON[:, :DIM]
    objective = build(data, paragon, extra=0, weights=(1.0, 1.0, 0.0, 0.0))
    features = features_for(data, 2 * DIM)
    result, v = objective.embed(features), objective.new_head(features)
    assert result.shape == (9, DIM)
    torch.testing.assert_close(result @ result.T, 4 * v @ v.T)
    turn = objective.old_basis.weight @ objective.new_basis.weight
    torch.testing.assert_close(result, 2 * v @ turn.T)
    terms = loss_of(objective, data, features=features)
    assert terms["compatibility"] == terms["alignment"] == 0


def test_the_rest_after_the_old_dims_may_be_empty():
    """d + e = d_old: nothing is left behind the front, and not all of it."""
    data = planted()
    objective = build(data, PARAGON[:, :3], extra=2)
    features = features_for(data, 3 + DIM)
    embeddings = objective.embed(features)
    assert embeddings.shape == (9, DIM)
    torch.testing.assert_close(objective.comparable(embeddings), embeddings / math.sqrt(5))


def test_a_chain_keeps_the_whole_of_the_model_before():
    data = planted()
    first = build(data)
    rows = F.normalize(torch.randn(ROWS, first.embedding_dim), dim=1)
    old = OldModel(rows[:CLASSES], torch.ones(CLASSES, dtype=torch.bool), rows)
    second = BT2(old, CLASSES, BT2Settings(extra=3), paragon=torch.ones(ROWS, 7))
    assert second.old_dim == first.embedding_dim == NEW + 2
    assert (second.feature_dim, second.embedding_dim) == (7 + NEW + 2, 10)


def test_what_cannot_be_is_refused():
    data = planted()
    with pytest.raises(
        SettingsError, match=r"expected extra <= old dim <= dim \+ extra, came extra=6, an old dim of 5"
    ):
        build(data, extra=6)
    with pytest.raises(SettingsError, match=r"expected extra <= old dim <= dim \+ extra, came extra=1, .* dim=3"):
        build(data, PARAGON[:, :3], extra=1)
    with pytest.raises(InvalidInput, match=r"paragon vectors \[24, d\], a row for each old embedding, came \[24\]"):
        build(data, PARAGON[:, 0])
    with pytest.raises(InvalidInput, match=r"paragon vectors \[24, d\], a row for each old embedding, came \[23, 6\]"):
        build(data, PARAGON[:23])
    with pytest.raises(InvalidInput, match="bt2: expected finite paragon vectors"):
        build(data, PARAGON.masked_fill(PARAGON > 0.5, math.nan))
    with pytest.raises(InvalidInput, match="bt2 uses the old embeddings of the training rows"):
        BT2(OldModel(data.old.prototypes, data.old.known), CLASSES, paragon=PARAGON)
    with pytest.raises(SettingsError, match="bt2: emphasis is above 0, came 0"):
        build(data, emphasis=0.0)
