import sys

import pytest
import torch

from embridge.errors import SettingsError
from embridge.training.compatible.augment import Augment

IMAGES = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def augmented(settings, seed=0):
    torch.manual_seed(seed)
    return settings.make(8)(IMAGES)


def test_a_crop_is_a_window_of_the_padded_image():
    """Each is found at one of the places it can be cut from, and not all at one place."""
    padded = torch.nn.functional.pad(IMAGES, (2, 2, 2, 2))
    windows = {(y, x): padded[:, :, y : y + 8, x : x + 8] for y in range(5) for x in range(5)}
    places = []
    for row, image in enumerate(augmented(Augment(crop_padding=2, flip=0.0))):
        found = [place for place, window in windows.items() if torch.equal(window[row], image)]
        assert len(found) == 1
        places += found
    assert len(set(places)) > 10


def test_a_flip_turns_left_and_right_around():
    flipped = augmented(Augment(crop_padding=0, flip=0.5))
    same = [torch.equal(a, b) for a, b in zip(flipped, IMAGES, strict=True)]
    turned = [torch.equal(a, b.flip(2)) for a, b in zip(flipped, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(same, turned, strict=True))
    assert 8 < sum(turned) < 32
    assert torch.equal(augmented(Augment(crop_padding=0, flip=1.0)), IMAGES.flip(3))


def test_reflection_leaves_no_black():
    ones = torch.ones(40, 3, 8, 8)
    torch.manual_seed(0)
    assert torch.equal(Augment(crop_padding=3, flip=0.0, padding_mode="reflect").make(8)(ones), ones)
    assert not torch.equal(Augment(crop_padding=3, flip=0.0).make(8)(ones), ones)


def test_the_same_seed_gives_the_same_images():
    assert torch.equal(augmented(Augment()), augmented(Augment()))
    assert not torch.equal(augmented(Augment()), augmented(Augment(), seed=1))


def test_nothing_to_do_needs_no_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "kornia.augmentation", None)
    assert torch.equal(augmented(Augment(crop_padding=0, flip=0.0)), IMAGES)
    with pytest.raises(ImportError, match=r"kornia.augmentation is needed here .*pip install 'embridge\[train\]'"):
        Augment().make(8)


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize("settings", [{"crop_padding": -1}, {"flip": 1.5}, {"padding_mode": "wrap"}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(SettingsError, match="augment: crop_padding is 0 or more"):
        Augment(**settings)
