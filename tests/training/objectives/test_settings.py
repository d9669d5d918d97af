"""Settings say in their types what they may be, and are refused where they are something else."""

import math
from dataclasses import FrozenInstanceError, fields
from importlib import import_module

import pytest

from embridge.errors import SettingsError
from embridge.training.objectives import OBJECTIVES, objective_settings
from embridge.training.objectives.bct import BCTSettings
from embridge.training.objectives.independent import IndependentSettings
from embridge.training.objectives.mixbct import MixBCTSettings
from embridge.training.objectives.oca import OCASettings
from embridge.training.objectives.odpp import ODPPSettings
from embridge.training.objectives.settings import Settings
from embridge.training.objectives.unibct import UniBCTSettings

pytestmark = pytest.mark.usefixtures("as_in_production")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_has_settings_of_its_own_name_that_cannot_be_changed(name):
    settings = objective_settings(name, {})
    assert isinstance(settings, Settings)
    assert type(settings) is getattr(import_module(OBJECTIVES[name].module), f"{OBJECTIVES[name].attribute}Settings")
    with pytest.raises(FrozenInstanceError):
        settings.scale = 2.0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_setting_is_explained(name):
    kind = type(objective_settings(name, {}))
    text = "".join(base.__doc__ for base in kind.__mro__ if issubclass(base, Settings))
    assert {field.name for field in fields(kind) if f"\n        {field.name}: " not in text} == set()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (BCTSettings, {"weight": -1.0}, "bct: weight is 0 or more, came -1.0"),
        (BCTSettings, {"scale": 0.0}, "bct: scale is above 0, came 0.0"),
        (BCTSettings, {"scale": math.nan}, "bct: scale is above 0, came nan"),
        (BCTSettings, {"scale": math.inf}, "bct: scale is above 0, came inf"),
        (BCTSettings, {"unseen": "new"}, "bct: unseen is using_old, null or using_new, came 'new'"),
        (OCASettings, {"extra": -1}, "oca: extra is 0 or more, came -1"),
        (OCASettings, {"label_smoothing": 1.0}, "oca: label_smoothing is at least 0 and below 1, came 1.0"),
        (OCASettings, {"weights": (1.0, -1.0, 1.0)}, r"oca: weights\[1\] is 0 or more, came -1.0"),
        (OCASettings, {"weights": (1.0, 1.0)}, "oca: weights are 3 numbers, came "),
        (OCASettings, {"orthogonal_map": "qr"}, "oca: orthogonal_map is cayley, matrix_exp or householder, came 'qr'"),
        (ODPPSettings, {"steps": (1, -1)}, r"odpp: steps\[1\] is 0 or more, came -1"),
        (ODPPSettings, {"temperature": 0.0}, "odpp: temperature is above 0, came 0.0"),
        (MixBCTSettings, {"mixed": 1.5}, "mixbct: mixed is 0 to 1, came 1.5"),
        (MixBCTSettings, {"unseen": "using_new"}, "mixbct: unseen is using_old or null, came 'using_new'"),
        (UniBCTSettings, {"refresh_epochs": (3, 5, -1)}, r"unibct: refresh_epochs\[2\] is 0 or more, came -1"),
        (IndependentSettings, {"dim": 0}, "independent: dim is a whole number of at least 1, came 0"),
        (IndependentSettings, {"dim": 2.5}, "independent: dim is a whole number of at least 1, came 2.5"),
    ],
)
def test_what_is_out_of_range_is_refused(kind, settings, message):
    with pytest.raises(SettingsError, match=f"^{message}"):
        kind(**settings)


def test_ends_of_the_ranges_are_in_them():
    assert IndependentSettings(dim=None).dim is None
    assert UniBCTSettings(refresh_epochs=(), weight=0.0).refresh_epochs == ()
    assert MixBCTSettings(mixed=1.0, credible=0.0, seed=0).mixed == 1.0


def test_a_file_has_lists_for_tuples_and_whole_numbers_for_others():
    assert objective_settings("oca", {"weights": [5, 10.0, 0.0]}) == OCASettings(weights=(5.0, 10.0, 0.0))
    with pytest.raises(SettingsError, match="oca has no setting paragon; it has "):
        objective_settings("oca", {"paragon": 1})
    with pytest.raises(SettingsError, match="bt2 has no setting dim; it has "):
        objective_settings("bt2", {"dim": 8})
