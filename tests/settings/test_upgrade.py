"""Settings that would fail only after hours of encoding are refused when they are read."""

import pytest

from embridge.errors import SettingsError
from embridge.settings import load_settings, load_training_settings


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("precisions: [0.5, 2]", r"evaluate\.precisions\.1: Input should be less than or equal to 1"),
        ("precisions: [0]", r"evaluate\.precisions\.0: Input should be greater than 0"),
        ("thresholds: [.nan]", r"evaluate\.thresholds\.0: Input should be a finite number"),
        ("thresholds: [.inf]", r"evaluate\.thresholds\.0: Input should be a finite number"),
        ("gates: [recall_at_20 >= 0.5]", "hits are kept down to 10, the largest k of metrics; put recall_at_20 into"),
        ("gates: [map >= 0.5]", "gate 'map >= 0.5': it is not measured; put map into metrics, before the last"),
        ("gates: [recall_at_5 new/odl >= 0.5]", "there is no cell 'new/odl'; there are old/old, new/old, new/new"),
        ("gates: [recall_at_5 >= slerp/old]", "there is no cell 'slerp/old'"),
    ],
)
def test_impossible_precisions_and_thresholds_are_refused(line, message, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(f"old: clip:old\nnew: clip:new\nevaluate:\n  judged: judged.csv\n  {line}\n")
    with pytest.raises(SettingsError, match=message):
        load_settings(path)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    """The last would be kept, and a gate could vanish."""
    path = tmp_path / "settings.yaml"
    text = (
        "old: clip:old\nnew: clip:new\nevaluate:\n  judged: judged.csv\n  gates: [recall_at_10 >= 0.9]\n  gates: []\n"
    )
    path.write_text(text)
    with pytest.raises(SettingsError, match="line 6: the key 'gates' stands there twice"):
        load_settings(path)


@pytest.mark.parametrize("model", ["./modles/old", "/nowhere/old", "a/b/c", "models/odl"])
def test_a_mistyped_folder_of_a_model_is_not_taken_for_a_hub_id(model, tmp_path):
    (tmp_path / "models" / "old").mkdir(parents=True)
    path = tmp_path / "settings.yaml"
    path.write_text(f"old: clip:{model}\nnew: clip:openai/clip-vit-base-patch32\n")
    with pytest.raises(SettingsError, match=f"clip:{model}: there is no folder .*, and that is no id of the hub"):
        load_settings(path)
    path.write_text("old: clip:models/old\nnew: clip:openai/clip-vit-base-patch32\n")
    settings = load_settings(path)
    assert settings.old.encoder == f"clip:{tmp_path / 'models' / 'old'}"
    assert settings.new.encoder == "clip:openai/clip-vit-base-patch32"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fit: {pairs: p.csv}", "fit.pairs: this key is called finetune_pairs now"),
        ("evaluate: {pairs: p.csv}", "evaluate.pairs: this key is called judged now"),
        ("native: {queries: q.npy, gallery: g.npy}", "native: this key is called new_without_lora now"),
    ],
)
def test_a_key_of_an_earlier_version_names_the_one_of_today(tmp_path, text, message):
    path = tmp_path / "settings.yaml"
    path.write_text(f"old: clip:old\nnew: clip:new\n{text}\n")
    with pytest.raises(SettingsError, match=message):
        load_settings(path)


def test_a_key_of_an_earlier_version_of_a_training_names_the_one_of_today(tmp_path):
    path = tmp_path / "train.yaml"
    path.write_text("data: {images: images, cells: 8}\nobjective: bct\n")
    with pytest.raises(SettingsError, match=r"data\.cells: this key is called clusters now"):
        load_training_settings(path)
