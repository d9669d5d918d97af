"""What a settings file has to name, for each objective, is what its record says."""

import re

import pytest

from embridge.errors import SettingsError
from embridge.jobs._training_checks import require_fitting
from embridge.settings.training import TrainingSettings
from embridge.training.objectives import OBJECTIVES

OTHER = {"vectors": "other.npy"}


def settings_for(name, **changed):
    """All that the objective needs, on images."""
    needs = OBJECTIVES[name].needs
    settings = {"data": {"images": "images"}, "objective": name}
    if "old model" in needs:
        settings["old"] = {"vectors": "old.npy"} | ({"classifier": "heads.npy"} if "old classifier" in needs else {})
    if "paragon" in needs:
        settings["paragon"] = OTHER
    return TrainingSettings.model_validate({k: v for k, v in (settings | changed).items() if v is not None})


def refused(settings, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        require_fitting(settings)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_it_needs_is_enough(name):
    require_fitting(settings_for(name))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_old_model_is_needed_or_may_be_left_out(name):
    if "old model" in OBJECTIVES[name].needs:
        refused(settings_for(name, old=None), f"objective: {name} trains beside an old model; name it under old")
    else:
        require_fitting(settings_for(name, old=OTHER))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_paragon_is_needed_or_refused(name):
    if "paragon" in OBJECTIVES[name].needs:
        refused(
            settings_for(name, paragon=None), f"objective: {name} asks for the vectors of the same model trained alone"
        )
    else:
        refused(settings_for(name, paragon=OTHER), f"paragon: {name} has no use for one; leave it out")


@pytest.mark.parametrize("name", [n for n, record in OBJECTIVES.items() if "old classifier" in record.needs])
def test_an_old_classifier_is_needed(name):
    refused(settings_for(name, old=OTHER), f"objective: {name} uses the weights of the old classifier; name them under")
    clustered = settings_for(name, old=OTHER, data={"images": "images", "clusters": 4})
    refused(clustered, f"objective: {name} uses an old classifier, which is of classes, and clusters are none")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_vectors_are_trained_on_or_refused(name):
    settings = settings_for(name, data={"vectors": "frozen.npy", "labels": "labels.npy"})
    if "vectors" in OBJECTIVES[name].trained_on:
        require_fitting(settings)
    else:
        refused(settings, f"objective: {name} on vectors ends in no upgrade; train it on images")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_ancestors_are_taken_or_refused(name):
    settings = settings_for(
        name, ancestors=[OTHER], **({} if "old model" in OBJECTIVES[name].needs else {"old": OTHER})
    )
    if OBJECTIVES[name].ancestors:
        require_fitting(settings)
    else:
        refused(settings, "leave its ancestors out, or take oca or bt2")
