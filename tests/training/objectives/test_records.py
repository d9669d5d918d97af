"""What the table says of each objective holds of the objective."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from planted_classes import CLASSES, DIM, ROWS, planted

from embridge.adapters import Linear, Prefix
from embridge.backbones.embedding import AsGiven, UnitLength
from embridge.errors import InvalidInput, SettingsError
from embridge.space import Space
from embridge.training.objectives import OBJECTIVES, make_objective, name_of, record_of
from embridge.training.objectives.base import Objective, OldModel

PARAGON = torch.ones(ROWS, 7)
SETTINGS = {"oca": {"extra": 2}, "bt2": {"extra": 2}, "odpp": {"steps": (2, 1)}}
ALONE = {"independent": {"dim": DIM}, "hoc": {"dim": DIM}}
USING = {
    ("oca", "old embeddings"): {"aligned_to": "rows"},
    ("bct", "old classifier"): {"targets": "classifier", "unseen": "null"},
    ("hoc", "old embeddings"): {},
}
"""The settings under which an objective takes what it else does without."""


def make(name, old, **settings):
    torch.manual_seed(0)
    arguments = {"labels": planted().labels, "paragon": PARAGON}
    return make_objective(name, old, CLASSES, SETTINGS.get(name, {}) | settings, **arguments)


def without(old, needs):
    """The old model, with nothing that an objective does not need."""
    return replace(
        old,
        embeddings=old.embeddings if "old embeddings" in needs else None,
        classifier=old.classifier if "old classifier" in needs else None,
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_record_names_a_class_of_its_own(name):
    objective = make(name, planted().old)
    assert isinstance(objective, Objective)
    assert type(objective).__name__ == record_of(name).attribute
    assert name_of(type(objective)) == name
    assert record_of(name).needs.isdisjoint(record_of(name).uses)
    assert sum(type(objective).__name__ == record.attribute for record in OBJECTIVES.values()) == 1


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_is_needed_is_enough(name):
    data, needs = planted(), record_of(name).needs
    old = without(data.old, needs) if "old model" in needs else None
    objective = make(name, old, **ALONE.get(name, {})).double()
    features = torch.randn(len(data.index), objective.feature_dim, dtype=torch.float64)
    assert all(term.isfinite() for term in objective(features, data.labels[data.index], data.index).values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "need"), [(n, need) for n, record in OBJECTIVES.items() for need in sorted(record.needs)]
)
def test_what_is_needed_cannot_be_left_out(name, need):
    data = planted()
    if need in ("labels", "paragon"):
        arguments = {"labels": data.labels, "paragon": PARAGON}
        del arguments[need]
        with pytest.raises(InvalidInput, match=f"{name} needs {need}"):
            make_objective(name, data.old, CLASSES, SETTINGS.get(name, {}), **arguments)
        return
    old = None if need == "old model" else without(data.old, record_of(name).needs - {need})
    with pytest.raises(InvalidInput, match=f"^{name} .*(old model|old embeddings|old classifier)"):
        make(name, old)


@pytest.mark.parametrize(("name", "use"), [(n, use) for n, record in OBJECTIVES.items() for use in sorted(record.uses)])
def test_what_is_used_is_asked_for_by_some_setting_alone(name, use):
    data, record = planted(), record_of(name)
    if use == "old model":
        assert make(name, None, **ALONE[name]).old_dim == make(name, data.old).old_dim == DIM
        return
    make(name, without(data.old, record.needs | {use}), **USING[name, use])
    with pytest.raises(InvalidInput, match=use):
        make(name, without(data.old, record.needs), **USING[name, use])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_ancestors_are_taken_or_refused(name):
    data = planted()
    before = OldModel(data.old.prototypes[:, :3], data.old.known, data.old.embeddings[:, :3])
    old = replace(data.old, ancestors=[before])
    if record_of(name).ancestors:
        make(name, old)
    else:
        with pytest.raises(SettingsError, match="leave its ancestors out"):
            make(name, old)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_bridge_and_length(name):
    record = record_of(name)
    settings = {"dim": 9} if record.length == "any" else {}
    objective = make(name, planted().old, **settings)
    lengths = {"old": DIM, "old + extra": DIM + 2, "paragon + extra": PARAGON.shape[1] + 2, "any": 9}
    assert objective.embedding_dim == lengths[record.length]
    assert objective.old_dim == DIM
    bridge = objective.bridge(Space("new", "1", objective.embedding_dim), Space("old", "1", DIM))
    assert isinstance(bridge, Linear if record.bridge == "backward map" else Prefix)
    if record.bridge == "identity":
        rows = F.normalize(torch.randn(3, objective.embedding_dim), dim=1).numpy()
        assert (bridge.apply(rows) == rows).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_can_be_trained_on_vectors_leaves_the_features_to_the_head(name):
    """An upgrade of vectors has the trained head as an adapter, which ends in unit rows and nothing else."""
    embedding = make(name, planted().old).embedding()
    assert ("vectors" in record_of(name).trained_on) == isinstance(embedding, (AsGiven, UnitLength))
    assert "images" in record_of(name).trained_on


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_cost(name):
    data, passes = planted(), []

    def embedded():
        passes.append(epoch)
        return objective.embed(torch.randn(ROWS, objective.feature_dim)), data.labels

    old = OldModel(data.old.prototypes.float(), data.old.known, data.rows.float(), data.old.classifier.float())
    objective = make(name, old)
    for epoch in range(21):
        objective.begin_epoch(epoch, 21, embedded)
    assert (record_of(name).cost == "refresh") == bool(passes)
