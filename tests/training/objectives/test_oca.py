import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planted_classes import CLASSES, DIM, dot, loss_of, planted, unit

from embridge import Space
from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.oca import OCA, OCASettings

EXTRA = 2


def features_for(data, dim):
    return 3 * torch.randn(len(data.index), dim, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


def build(data, **settings):
    """With a bias in its layer, which starts at zero."""
    torch.manual_seed(0)
    objective = OCA(data.old, CLASSES, OCASettings(**{"extra": EXTRA} | settings)).double()
    torch.nn.init.normal_(objective.turn.bias)
    return objective


def smoothed(scores, y, smoothing):
    level = math.log(sum(math.exp(s) for s in scores.values()))
    return sum(((1 - smoothing) * (c == y) + smoothing / len(scores)) * (level - s) for c, s in scores.items())


@pytest.mark.parametrize("unseen", ["using_old", "null"])
def test_the_terms_are_their_formulas(unseen):
    data = planted()
    objective = build(data, scale=2.0, prototype_scale=4.0, unseen=unseen)
    turn, bias = objective.turn.weight.tolist(), objective.turn.bias.tolist()
    classifier, prototypes = objective.classifier.weight.tolist(), data.old.prototypes.tolist()
    counted, features = range(4 if unseen == "using_old" else 3), features_for(data, DIM + EXTRA)
    losses = [[], [], []]
    for row, i in zip(features.tolist(), data.index, strict=True):
        y, h = int(data.labels[i]), unit(row)
        turned = [dot(t, h) + b for t, b in zip(turn, bias, strict=True)]
        losses[0].append(smoothed({c: 2 * dot(classifier[c], turned) for c in range(4)}, y, 0.1))
        if y in counted:
            front = unit(h[:DIM])
            losses[1].append(smoothed({c: 4 * dot(front, prototypes[c]) for c in counted}, y, 0.1))
            losses[2].append(1 - dot(front, unit(prototypes[y])))
    terms = loss_of(objective, data, features=features)
    means = [sum(values) / len(values) for values in losses]
    assert terms["classification"] == pytest.approx(5 * means[0], rel=1e-9)
    assert terms["compatibility"] == pytest.approx(10 * means[1], rel=1e-9)
    assert terms["alignment"] == pytest.approx(5 * means[2], rel=1e-9)


def test_held_to_rows_the_third_term_is_of_each_row_and_its_own_old_embedding():
    data = planted()
    weights = (5.0, 10.0, 5.0)
    published, objective = (build(data, weights=weights, aligned_to=to) for to in ("prototypes", "rows"))
    features = features_for(data, DIM + EXTRA)
    old = data.old.embeddings.tolist()
    apart = [
        1 - dot(unit(unit(row)[:DIM]), unit(old[i]))
        for row, i in zip(features.tolist(), data.index.tolist(), strict=True)
    ]
    terms, others = (loss_of(each, data, features=features) for each in (objective, published))
    assert terms["alignment"] == pytest.approx(5 * sum(apart) / len(apart), rel=1e-9)
    assert terms["alignment"] != pytest.approx(others["alignment"], rel=1e-3)
    assert all(terms[name] == pytest.approx(others[name], rel=1e-12) for name in ("classification", "compatibility"))


def test_held_to_rows_classes_that_the_old_model_does_not_know_count_too():
    data = planted()
    features = features_for(data, DIM + EXTRA)
    one, two = (build(data, aligned_to="rows", unseen=unseen) for unseen in ("using_old", "null"))
    alike = [loss_of(each, data, features=features)["alignment"] for each in (one, two)]
    assert alike[0] == pytest.approx(alike[1], rel=1e-12)


def test_old_embeddings_are_no_part_of_what_is_saved():
    assert not any("old_embeddings" in name for name in build(planted(), aligned_to="rows").state_dict())


def test_the_prefix_is_renormalised_after_the_cut():
    data = planted()
    objective = build(data)
    embeddings = objective.embed(features_for(data, DIM + EXTRA))
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(9, dtype=torch.float64))
    cut = embeddings[:, :DIM].norm(dim=1)
    assert cut.max() - cut.min() > 0.1
    torch.testing.assert_close(objective.comparable(embeddings).norm(dim=1), torch.ones(9, dtype=torch.float64))
    bridge = objective.bridge(Space("new", "1", DIM + EXTRA), Space("old", "1", DIM))
    rows = bridge.apply(embeddings.float().numpy())
    np.testing.assert_allclose(rows, objective.comparable(embeddings).numpy(), atol=1e-6)


def test_extra_dims_take_no_part_in_compatibility():
    data = planted()
    objective, features = build(data), features_for(data, DIM + EXTRA)
    other = features.clone()
    other[:, DIM:] *= -4
    one, two = (loss_of(objective, data, features=x) for x in (features, other))
    assert one["compatibility"] == pytest.approx(two["compatibility"], rel=1e-12)
    assert one["alignment"] == pytest.approx(two["alignment"], rel=1e-12)
    assert one["classification"] != pytest.approx(two["classification"], rel=1e-3)


def test_the_layer_changes_no_distance():
    data = planted()
    objective = build(data)
    h = objective.embed(features_for(data, DIM + EXTRA))
    torch.testing.assert_close(torch.cdist(objective.turn(h), objective.turn(h)), torch.cdist(h, h))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["matrix_exp", "householder"])
def test_the_maps_train_to_the_same_loss(name):
    """Three parametrisations of one layer, from the same start: only the path differs."""
    assert trained(name) == pytest.approx(trained("cayley"), rel=0.03)


@cache
def trained(orthogonal_map):
    torch.manual_seed(0)
    data = planted(batch=24)
    objective = OCA(
        data.old, CLASSES, OCASettings(extra=EXTRA, orthogonal_map=orthogonal_map, prototype_scale=10.0)
    ).double()
    backbone = torch.nn.Linear(DIM, DIM + EXTRA).double()
    optimiser = torch.optim.Adam([*backbone.parameters(), *objective.parameters()], lr=0.03)
    for _ in range(150):
        optimiser.zero_grad()
        loss = sum(objective(backbone(data.features), data.labels[data.index], data.index).values())
        loss.backward()
        optimiser.step()
    return loss.item()


def test_a_chain_keeps_the_whole_of_the_model_before():
    """The next model's prefix is all of this one's embedding."""
    data = planted()
    first = build(data)
    generator = torch.Generator().manual_seed(1)
    embeddings = F.normalize(torch.randn(4, first.embedding_dim, generator=generator), dim=1)
    second = OCA(OldModel(embeddings, torch.ones(4, dtype=torch.bool)), CLASSES, OCASettings(extra=3))
    assert second.feature_dim == second.embedding_dim == DIM + EXTRA + 3
    assert second.old_dim == DIM + EXTRA


def test_without_extra_dims_all_of_the_embedding_is_the_prefix():
    data = planted()
    objective = build(data, extra=0)
    rows = objective.embed(data.features)
    torch.testing.assert_close(objective.comparable(rows), rows)


@pytest.mark.usefixtures("as_in_production")
def test_what_cannot_be_is_refused():
    data = planted()
    with pytest.raises(SettingsError, match="oca: extra is 0 or more, came -1"):
        OCA(data.old, CLASSES, OCASettings(extra=-1))
    with pytest.raises(SettingsError, match=r"oca: weights\[1\] is 0 or more, came -10"):
        OCA(data.old, CLASSES, OCASettings(weights=(5.0, -10.0, 5.0)))
    with pytest.raises(InvalidInput, match="oca: the old model has 4 prototypes, one for each class; classes=3"):
        OCA(data.old, 3)
    with pytest.raises(SettingsError, match="oca: aligned_to is prototypes or rows, came 'images'"):
        OCA(data.old, CLASSES, OCASettings(aligned_to="images"))
    with pytest.raises(InvalidInput, match="oca with aligned_to='rows' uses the old embeddings of the training rows"):
        OCA(replace(data.old, embeddings=None), CLASSES, OCASettings(aligned_to="rows"))
    with pytest.raises(InvalidInput, match="oca trains beside an old model"):
        OCA(None, CLASSES)
