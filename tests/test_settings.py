"""Settings that would fail only after hours of encoding are refused when they are read."""

import pytest

from embridge.errors import SettingsError
from embridge.settings import load_settings


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("precisions: [0.5, 2]", r"evaluate\.precisions\.1: Input should be less than or equal to 1"),
        ("precisions: [0]", r"evaluate\.precisions\.0: Input should be greater than 0"),
        ("thresholds: [.nan]", r"evaluate\.thresholds\.0: Input should be a finite number"),
        ("thresholds: [.inf]", r"evaluate\.thresholds\.0: Input should be a finite number"),
    ],
)
def test_impossible_precisions_and_thresholds_are_refused(line, message, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(f"old: clip:old\nnew: clip:new\nevaluate:\n  pairs: judged.csv\n  {line}\n")
    with pytest.raises(SettingsError, match=message):
        load_settings(path)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    """The last would be kept, and a gate could vanish."""
    path = tmp_path / "settings.yaml"
    text = "old: clip:old\nnew: clip:new\nevaluate:\n  pairs: judged.csv\n  gates: [recall_at_10 >= 0.9]\n  gates: []\n"
    path.write_text(text)
    with pytest.raises(SettingsError, match="line 6: the key 'gates' stands there twice"):
        load_settings(path)
