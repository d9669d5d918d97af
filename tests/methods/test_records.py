"""What the table says of each method holds of the method."""

import subprocess
import sys
from dataclasses import fields, replace
from importlib import import_module

import numpy as np
import pytest

from embridge import Embeddings, Space
from embridge.adapters import MLP, Linear
from embridge.errors import InvalidInput, SettingsError
from embridge.export._affine import affine_stages
from embridge.methods import METHODS, Pairs, make, record_of
from embridge.methods.real_pairs import RealPairs

MAPS = [name for name in METHODS if name != "choose"]
SHORT = {"epochs": 1, "min_steps": 40, "batch_size": 64, "learning_rate": 0.01}
QUICK = {"hidden_width": 16, "skip": False, "training": SHORT}
NEW, OLD = Space("new", "1", 12), Space("old", "1", 12)


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def bent():
    """Pairs with labels that no linear map explains, so that what is trained leaves the closed form."""
    generator = np.random.default_rng(0)
    new = unit(generator.normal(size=(400, NEW.dim)))
    basis = np.linalg.qr(generator.normal(size=(NEW.dim, NEW.dim)))[0]
    old = unit(np.abs(new @ basis) + 0.3 * new)
    labels = (new[:, 0] > 0).astype(np.int64)
    return Pairs(Embeddings.of(new, NEW), Embeddings.of(old, OLD), labels=labels)


def settings_of(name):
    if METHODS[name].cost == "closed form":
        return {}
    if name == "choose":
        return {"candidates": ["procrustes"]}
    known = {field.name for field in fields(type(make(name)))}
    return {key: value for key, value in QUICK.items() if key in known}


def fitted(name, pairs, **settings):
    return make(name, settings_of(name) | settings).fit(pairs, seed=3)


def weights(upgrade):
    parts = [upgrade.bridge, *([upgrade.uncertainty] if upgrade.uncertainty else [])]
    return [array.tobytes() for part in parts for array in part.weights().values()]


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPS)
def test_linear_and_finetunable_are_so(bent, name):
    bridge = fitted(name, bent).bridge
    try:
        affine_stages(bridge)
        linear = True
    except SettingsError:
        linear = False
    assert record_of(name).linear is linear
    takes_lora = isinstance(bridge, (Linear, MLP)) and record_of(name).directions[0] == "backward"
    assert record_of(name).finetunable is takes_lora


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_directions_are_those_it_makes_the_default_first(bent, name):
    record = record_of(name)
    assert fitted(name, bent).direction == record.directions[0]
    if name == "choose":  # takes the direction of what is chosen
        assert (
            fitted(
                name, bent, candidates=["fct"], settings={"fct": {"training": {"min_steps": 5, "epochs": 1}}}
            ).direction
            == "forward"
        )
    elif len(record.directions) > 1:
        for direction in record.directions:
            assert fitted(name, bent, direction=direction).direction == direction
    else:
        with pytest.raises(SettingsError, match="has no setting direction"):
            make(name, {"direction": "forward"})


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPS)
def test_labels_and_real_pairs_matter_where_they_are_used(bent, name):
    plain = fitted(name, replace(bent, labels=None))
    assert (weights(fitted(name, bent)) != weights(plain)) is ("labels" in record_of(name).uses)
    few = bent.take(np.arange(120))
    judged = fitted(name, replace(bent, labels=None, judged_by=RealPairs(few.new, few.new, few.old)))
    used = judged.provenance.figures.get("judged_by", "") != plain.provenance.figures.get("judged_by", "")
    assert used is ("real pairs" in record_of(name).uses)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPS)
def test_needs_are_refused_when_they_are_missing(bent, name):
    narrow = Pairs(bent.new, Embeddings(bent.old.ids, unit(bent.old.vectors[:, :8]), replace(OLD, dim=8)))
    if "one dim" in record_of(name).needs:
        with pytest.raises(InvalidInput, match="both spaces need one dim"):
            fitted(name, narrow)
    else:
        assert fitted(name, narrow).old_space.dim == 8
    assert "pairs" in record_of(name).needs


@pytest.mark.slow
def test_what_needs_no_extra_imports_no_torch():
    free = [record.module for record in METHODS.values() if record.extra is None]
    code = f"import sys; from importlib import import_module; [import_module(m) for m in {free}]; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("name", METHODS)
def test_what_is_trained_needs_torch_and_what_is_not_has_no_such_settings(name):
    record = record_of(name)
    assert hasattr(import_module(record.module), "torch") is (record.extra == "train")
    known = {field.name for field in fields(type(make(name)))}
    assert ("training" in known) is (record.extra == "train")
    assert record.extra is None or record.cost == "trained"


@pytest.mark.parametrize("name", METHODS)
def test_what_is_fitted_on_text_alone_can_be_judged_by_real_images(name):
    record = record_of(name)
    assert {"text"} <= record.fitted_on <= {"text", "image"}
    assert (record.fitted_on == {"text"}) is ("real pairs" in record.uses)


def test_an_unknown_name_is_refused():
    with pytest.raises(SettingsError, match=r"one of .*procrustes, .*; came 'magic'"):
        record_of("magic")
