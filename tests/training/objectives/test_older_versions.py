"""OCA and BT2 beside a row of older versions: each is met by its own cut of the new vector."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from planted_classes import CLASSES, DIM, ROWS, dot, loss_of, planted, unit

from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.bct import BCT
from embridge.training.objectives.bt2 import BT2, BT2Settings
from embridge.training.objectives.l2 import L2
from embridge.training.objectives.ndpp import NDPP
from embridge.training.objectives.oca import OCA, OCASettings
from embridge.training.objectives.prototypes import class_means
from embridge.training.objectives.ract import RACT

PARAGON = F.normalize(torch.randn(ROWS, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64), dim=1)
MAKERS = {
    "oca": lambda old, **settings: OCA(old, CLASSES, OCASettings(extra=2, **settings)),
    "oca, held to rows": lambda old, **settings: OCA(old, CLASSES, OCASettings(extra=2, aligned_to="rows", **settings)),
    "bt2": lambda old, **settings: BT2(old, CLASSES, BT2Settings(extra=2, **settings), paragon=PARAGON),
}


def version(data, dim, seed, known=CLASSES):
    """An older one of so many dims, unlike the front of the old one."""
    generator = torch.Generator().manual_seed(seed)
    rows = F.normalize(torch.randn(ROWS, dim, generator=generator, dtype=torch.float64), dim=1)
    means = class_means([(rows, data.labels)], classes=CLASSES).means
    return OldModel(means.double(), torch.arange(CLASSES) < known, rows)


def ancestors(data):
    return [version(data, 2, 1, known=2), version(data, 3, 2, known=3)]


def build(name, data, **settings):
    torch.manual_seed(0)
    return MAKERS[name](replace(data.old, ancestors=settings.pop("ancestors", ())), **settings).double()


def features_for(objective, rows=9):
    generator = torch.Generator().manual_seed(8)
    return 3 * torch.randn(rows, objective.feature_dim, generator=generator, dtype=torch.float64)


def cross_entropy(scores, y, smoothing):
    level = math.log(sum(math.exp(s) for s in scores.values()))
    return sum(((1 - smoothing) * (c == y) + smoothing / len(scores)) * (level - s) for c, s in scores.items())


@pytest.mark.parametrize("unseen", ["using_old", "null"])
@pytest.mark.parametrize("name", MAKERS)
def test_the_old_model_counts_for_two_thirds_and_those_before_it_for_the_rest(name, unseen):
    data = planted()
    objective = build(name, data, ancestors=ancestors(data), prototype_scale=4.0, unseen=unseen)
    features = features_for(objective)
    smoothing = 0.0 if name == "bt2" else 0.1
    confusion, apart = [], []
    for old in (*ancestors(data), data.old):
        counted = [c for c in range(CLASSES) if unseen == "using_old" or old.known[c]]
        prototypes, found, away = old.prototypes.tolist(), [], []
        for row, i in zip(objective.embed(features).tolist(), data.index.tolist(), strict=True):
            front, y = unit(row[: old.dim]), int(data.labels[i])
            if y in counted:
                found.append(cross_entropy({c: 4 * dot(front, prototypes[c]) for c in counted}, y, smoothing))
            if name != "oca":
                away.append(1 - dot(front, unit(old.embeddings[i].tolist())))
            elif y in counted:
                away.append(1 - dot(front, unit(prototypes[y])))
        confusion.append(sum(found) / len(found))
        apart.append(sum(away) / len(away))
    terms = loss_of(objective, data, features=features)
    for term, weight, (first, second, old) in (("compatibility", 10, confusion), ("alignment", 5, apart)):
        assert terms[term] == pytest.approx(weight * (2 * old + (first + second) / 2) / 3, rel=1e-9)


@pytest.mark.parametrize("name", MAKERS)
def test_the_other_terms_are_as_without_ancestors(name):
    data = planted()
    beside, alone = build(name, data, ancestors=ancestors(data)), build(name, data)
    one, two = (loss_of(each, data, features=features_for(each)) for each in (beside, alone))
    differ = {term for term in one if one[term] != pytest.approx(two[term], rel=1e-12)}
    assert differ == {"compatibility", "alignment"}
    assert alone.old_dim == beside.old_dim == DIM


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_the_first_version_is_met_better_where_it_is_held_to(name):
    """The front of the old model is not quite the first version: held to the old one alone, a new model goes the same way."""
    data = planted(batch=ROWS)
    first = version(data, 3, 4)
    front = F.normalize(first.embeddings + 0.6 * version(data, 3, 5).embeddings, dim=1)
    rows = F.normalize(torch.cat([front, 0.5 * version(data, 2, 6).embeddings], dim=1), dim=1)
    means = class_means([(rows, data.labels)], classes=CLASSES).means.double()
    data.old = OldModel(means, data.old.known, rows)

    def met(**settings):
        objective = build(name, data, **settings)
        features = features_for(objective, ROWS).requires_grad_()
        optimiser = torch.optim.Adam([features, *objective.parameters()], lr=0.03)
        for _ in range(200):
            optimiser.zero_grad()
            sum(objective(features, data.labels, torch.arange(ROWS)).values()).backward()
            optimiser.step()
        expected = first.prototypes[data.labels] if name == "oca" else first.embeddings
        with torch.no_grad():
            return F.cosine_similarity(objective.embed(features)[:, :3], expected).mean().item()

    assert met(ancestors=[first]) > met() + 0.03


def test_means_of_the_new_model_are_taken_once_for_all_versions():
    data = planted()
    old = [replace(each, known=torch.tensor([True, True, True, False])) for each in (*ancestors(data), data.old)]
    objective = OCA(replace(old[-1], ancestors=old[:-1]), CLASSES, OCASettings(extra=2, unseen="using_new")).double()
    calls, rows = [], objective.embed(features_for(objective, ROWS))

    def embedded():
        calls.append(1)
        return rows, data.labels

    objective.begin_epoch(0, 2, embedded)
    assert calls == []
    objective.begin_epoch(1, 2, embedded)
    assert len(calls) == 1
    for each, loss in zip(old, objective.held.to_prototypes, strict=True):
        cut = F.normalize(rows[data.labels == 3][:, : each.dim], dim=1).mean(0)
        torch.testing.assert_close(loss.prototypes[3], cut)
        torch.testing.assert_close(loss.prototypes[:3], each.prototypes[:3])


def test_ancestors_that_are_none_are_refused():
    old = planted().old
    first, second = ancestors(planted())
    with pytest.raises(InvalidInput, match=r"oldest first .*came \[3, 2, 5\], the last of the old model"):
        replace(old, ancestors=[second, first])
    with pytest.raises(InvalidInput, match=r"came \[6, 5\]"):
        replace(old, ancestors=[version(planted(), 6, 1)])
    with pytest.raises(InvalidInput, match=r"embeddings of the same training rows, came \[23, 24\] rows"):
        replace(old, ancestors=[replace(first, embeddings=first.embeddings[:-1])])
    with pytest.raises(InvalidInput, match=r"prototypes of the same classes, came \[3, 4\] rows"):
        replace(old, ancestors=[OldModel(torch.eye(3, 2), torch.ones(3, dtype=torch.bool))])


@pytest.mark.parametrize("name", MAKERS)
def test_rows_of_ancestors_are_needed_where_each_item_is_held_to_its_own(name):
    data = planted()
    without = [replace(ancestors(data)[0], embeddings=None)]
    if name == "oca":
        assert build(name, data, ancestors=without).held.dims == (2, DIM)
        return
    with pytest.raises(InvalidInput, match=rf"^{name.split(',')[0]}\b.* uses the old embeddings of the training rows"):
        build(name, data, ancestors=without)


@pytest.mark.parametrize("make", [BCT, L2, NDPP, RACT], ids=lambda make: make.__name__)
def test_objectives_that_make_nothing_of_ancestors_say_so(make):
    data = planted()
    with pytest.raises(SettingsError, match="holds a new model to the old one alone; leave its ancestors out"):
        make(replace(data.old, ancestors=ancestors(data)), CLASSES)
