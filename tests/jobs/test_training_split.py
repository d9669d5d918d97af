"""What is trained on, looked at and judged; and when weights are found."""

import numpy as np
import pytest

from embridge.errors import SettingsError
from embridge.jobs._training_parts import trainer_of
from embridge.jobs._training_split import TrainingSplit
from embridge.settings.training import TrainingSettings
from embridge.training.compatible.labelled import LabelledVectors

DATA = LabelledVectors(np.ones((600, 2), np.float32), np.arange(600) % 6)


def settings(objective="oca", **changes):
    data = {"vectors": "a.npy", "labels": "l.npy", "held_out": 0.1}
    given = {"data": data, "objective": objective, "old": {"vectors": "o.npy"}, "compatibility": "auto"}
    return TrainingSettings.model_validate(given | changes)


def test_what_is_looked_at_is_neither_trained_on_nor_judged():
    split = TrainingSplit.of(settings(), DATA)
    parts = split.train.rows, split.watched.rows, split.judged.rows
    assert np.sort(np.concatenate(parts)).tolist() == list(range(600))
    assert len(split.watched) == 54
    assert np.sort(np.concatenate(parts[:2])).tolist() == split.alone.rows.tolist()
    assert trainer_of(settings(), split).compatibility == "auto"


@pytest.mark.parametrize(
    "changes",
    [
        {"compatibility": "fixed"},
        {"objective": "independent", "old": None},
        {"training": {"batch_size": 500}},
    ],
)
def test_fixed_weights_leave_all_items_to_train_on(changes):
    split = TrainingSplit.of(settings(**changes), DATA)
    assert split.watched is None
    assert split.train is split.alone
    assert trainer_of(settings(**changes), split).compatibility == "fixed"


def test_a_weight_beside_weights_that_are_found_is_refused():
    with pytest.raises(ValueError, match=r"names boundary_weight; leave that out, or write compatibility: fixed"):
        settings({"name": "lce", "settings": {"boundary_weight": 2.0}})
    wrong = settings(training={"compatibility": "auto"})
    with pytest.raises(SettingsError, match="write it beside training, not in it"):
        trainer_of(wrong, TrainingSplit.of(wrong, DATA))
