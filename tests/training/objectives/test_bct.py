import math

import pytest
import torch
from planted_classes import CLASSES, dot, loss_of, planted, unit

from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.bct import BCT, BCTSettings


def cross_entropy(scores, y, smoothing=0.0):
    level = math.log(sum(math.exp(s) for s in scores.values()))
    return (1 - smoothing) * (level - scores[y]) + smoothing * (level - sum(scores.values()) / len(scores))


@pytest.mark.parametrize(("targets", "smoothing"), [("prototypes", 0.0), ("classifier", 0.0), ("prototypes", 0.1)])
def test_the_terms_are_their_formulas(targets, smoothing):
    data = planted()
    unseen = "null" if targets == "classifier" else "using_old"
    scales = {"weight": 3.0, "scale": 2.0, "prototype_scale": 5.0}
    settings = BCTSettings(targets=targets, unseen=unseen, label_smoothing=smoothing, **scales)
    objective = BCT(data.old, CLASSES, settings).double()
    own = objective.classifier.weight.tolist()
    expected = (data.old.classifier if targets == "classifier" else data.old.prototypes).tolist()
    counted = range(3 if targets == "classifier" else 4)
    first, second = [], []
    for row, i in zip(data.features.tolist(), data.index, strict=True):
        y = int(data.labels[i])
        first.append(cross_entropy({c: 2 * dot(row, own[c]) for c in range(4)}, y, smoothing))
        if y in counted:
            second.append(cross_entropy({c: 5 * dot(unit(row), expected[c]) for c in counted}, y, smoothing))
    terms = loss_of(objective, data)
    assert terms["classification"] == pytest.approx(sum(first) / len(first), rel=1e-9)
    assert terms["compatibility"] == pytest.approx(3 * sum(second) / len(second), rel=1e-9)


def test_the_old_model_is_asked_for_nothing_but_prototypes():
    data = planted()
    alone = OldModel(data.old.prototypes, data.old.known)
    torch.manual_seed(0)
    one = BCT(data.old, CLASSES)
    torch.manual_seed(0)
    other = BCT(alone, CLASSES)
    assert loss_of(one, data) == loss_of(other, data)


def test_means_of_the_new_model_are_used_where_they_are_asked_for():
    data = planted()
    objective = BCT(data.old, CLASSES, BCTSettings(unseen="using_new")).double()
    before = loss_of(objective, data)["compatibility"]
    objective.begin_epoch(1, 2, lambda: (data.rows.flip(1), data.labels))
    assert loss_of(objective, data)["compatibility"] != before


@pytest.mark.usefixtures("as_in_production")
def test_targets_that_cannot_be_had_are_refused():
    data = planted()
    with pytest.raises(SettingsError, match="set unseen='null' beside targets='classifier', came unseen='using_old'"):
        BCT(data.old, CLASSES, BCTSettings(targets="classifier"))
    with pytest.raises(SettingsError, match="bct: targets is prototypes or classifier, came 'means'"):
        BCT(data.old, CLASSES, BCTSettings(targets="means", unseen="null"))
    with pytest.raises(InvalidInput, match=r"uses the old classifier; give OldModel\(..., classifier=\[c, d_old\]\)"):
        BCT(OldModel(data.old.prototypes, data.old.known), CLASSES, BCTSettings(targets="classifier", unseen="null"))
    with pytest.raises(InvalidInput, match="bct trains beside an old model; give an OldModel in the place of None"):
        BCT(None, CLASSES)
    with pytest.raises(InvalidInput, match="bct: the old model has 4 prototypes, one for each class; classes=5"):
        BCT(data.old, 5)
