from dataclasses import replace

import numpy as np
import pytest

from embridge import Embeddings, Space
from embridge.errors import InvalidInput, SettingsError
from embridge.methods import METHODS, Method, Pairs, Training, make


def test_pairs_hold_the_same_items_in_the_same_order(make_pairs):
    pairs = make_pairs()
    with pytest.raises(InvalidInput, match="differ from row 0 on"):
        Pairs(pairs.new, pairs.old.take(np.arange(len(pairs))[::-1]))
    with pytest.raises(InvalidInput, match="299 new and 300 old vectors whose ids differ from row 299"):
        Pairs(pairs.new.take(np.arange(299)), pairs.old)


def test_no_pairs_are_refused():
    a, b = Space("new", "", 3), Space("old", "", 2)
    empty = [Embeddings((), np.empty((0, s.dim), np.float32), s) for s in (a, b)]
    with pytest.raises(InvalidInput, match="expected at least one, came 0 new and 0 old"):
        Pairs(*empty)


def test_two_sides_of_one_space_are_refused(make_pairs):
    new = make_pairs().new
    with pytest.raises(InvalidInput, match="there is nothing to bridge"):
        Pairs(new, new)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["dot", "l2"])
@pytest.mark.parametrize("name", METHODS)
def test_lengths_that_the_metric_needs_are_not_thrown_away(make_pairs, metric, name):
    pairs = make_pairs()
    space = replace(pairs.old.space, metric=metric)
    long = Embeddings(pairs.old.ids, pairs.old.vectors * np.float32(3), space)
    with pytest.raises(InvalidInput, match=rf"{name} fits directions.*compares by {metric} vectors whose lengths vary"):
        make(name).fit(Pairs(pairs.new, long))


def test_hold_out_splits_without_overlap(make_pairs):
    pairs = make_pairs(rows=101)
    train, held_out = pairs.hold_out(0.2, seed=1)
    assert (len(train), len(held_out)) == (81, 20)
    assert set(train.new.ids) | set(held_out.new.ids) == set(pairs.new.ids)
    assert train.new.ids == train.old.ids
    assert pairs.hold_out(0.2, seed=2)[1].new.ids != held_out.new.ids
    with pytest.raises(InvalidInput, match="fraction in"):
        pairs.hold_out(1.0, seed=0)


def test_the_fingerprint_says_which_data(make_pairs):
    pairs = make_pairs()
    assert pairs.fingerprint == make_pairs().fingerprint
    assert pairs.fingerprint != make_pairs(seed=1).fingerprint
    assert pairs.fingerprint != pairs.take(np.arange(299)).fingerprint


def test_every_name_makes_a_method_and_others_are_refused():
    for name in METHODS:
        assert isinstance(make(name), Method)
        assert make(name).paper
    with pytest.raises(SettingsError, match=r"one of .*procrustes, .*; came 'magic'"):
        make("magic")
    with pytest.raises(SettingsError, match="procrustes has no setting sigma; it has"):
        make("procrustes", {"sigma": 1})


@pytest.mark.parametrize(
    "settings",
    [{"skip": "false"}, {"training": 5}, {"noise": "much"}, {"center": 1}, {"precision": "float16"}, {"device": None}],
)
def test_settings_of_another_type_are_refused(settings):
    (name,) = settings
    with pytest.raises(SettingsError, match=rf"xbt: {name}: .*, came"):
        make("xbt", settings)


def test_whole_numbers_and_none_are_taken_where_they_fit():
    assert make("xbt", {"noise": 1, "center": None}).noise == 1


# Settings within settings


def test_settings_within_settings_keep_the_defaults_of_the_method():
    method = make("lambda-orthogonal", {"training": {"epochs": 5}})
    assert method.training == Training(epochs=5, weight_decay=0.0)
    assert make("xbt", {"training": {"epochs": 5}}).training == Training(epochs=5, min_steps=600)
    assert make("xbt", {"training": Training(epochs=5, min_steps=600)}) == make("xbt", {"training": {"epochs": 5}})


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"epochs": 2.5}, r"xbt\.training: epochs: .*, came 2.5"),
        ({"tempo": 3}, r"xbt\.training has no setting tempo; it has \['learning_rate', "),
    ],
)
def test_settings_within_settings_are_checked(training, message):
    with pytest.raises(SettingsError, match=message):
        make("xbt", {"training": training})


@pytest.mark.parametrize("name", [name for name, record in METHODS.items() if record.extra == "train"])
def test_a_setting_of_the_training_in_the_wrong_place_is_told_the_right_one(name):
    with pytest.raises(SettingsError, match=rf"{name}: epochs is a setting of training: write training: {{epochs: 5}}"):
        make(name, {"epochs": 5})
