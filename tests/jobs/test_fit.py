import warnings

import numpy as np
import pytest

from embridge.errors import InvalidInput, SettingsError
from embridge.jobs.evaluate import evaluate_upgrade
from embridge.jobs.fit import fit_upgrade
from embridge.settings import load_settings


def test_a_folder_of_other_things_is_refused_before_any_work(tmp_path):
    (tmp_path / "upgrade").mkdir()
    (tmp_path / "upgrade" / "notes.txt").write_text("mine")
    (tmp_path / "settings.yaml").write_text("old: {captions: missing.npy}\nnew: {captions: missing.npy}\n")
    with pytest.raises(InvalidInput, match=r"upgrade holds other things \(no upgrade\.json in it\)"):
        fit_upgrade(load_settings(tmp_path / "settings.yaml"))
    assert (tmp_path / "upgrade" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("old: {captions: a.npy}", r"new\.captions: .*gone\.npy does not exist"),
        ("old: {captions: a.npy}\nfit: {judged: none.csv}", r"fit\.judged: .*none\.csv does not exist"),
    ],
)
def test_files_that_are_named_and_missing_are_mistakes_of_the_settings(line, message, tmp_path):
    (tmp_path / "a.npy").touch()
    (tmp_path / "settings.yaml").write_text(f"{line}\nnew: {{captions: gone.npy}}\n")
    with pytest.raises(SettingsError, match=message):
        fit_upgrade(load_settings(tmp_path / "settings.yaml"))


def test_orders_and_vectors_that_are_missing_are_noticed_before_any_work(tmp_path):
    (tmp_path / "a.npy").touch()
    sides = "\n".join(f"{side}: {{queries: a.npy, gallery: {side}.npy}}" for side in ("old", "new"))
    (tmp_path / "settings.yaml").write_text(f"{sides}\nevaluate: {{neighbours: 3, orders: {{first: order.txt}}}}\n")
    with pytest.raises(SettingsError, match=r"evaluate\.orders: .*order\.txt does not exist"):
        evaluate_upgrade(load_settings(tmp_path / "settings.yaml"))
    (tmp_path / "order.txt").touch()
    with pytest.raises(SettingsError, match=r"old\.gallery: .*old\.npy does not exist"):
        evaluate_upgrade(load_settings(tmp_path / "settings.yaml"))


def test_an_error_about_vectors_names_their_file(tmp_path):
    rows = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    np.save(tmp_path / "a.npy", rows)
    np.save(tmp_path / "b.npy", rows[:290])

    def settings(dim):
        space = f"space: {{model: m, dim: {dim}}}"
        path = tmp_path / "settings.yaml"
        path.write_text(f"old: {{captions: a.npy, {space}}}\nnew: {{captions: b.npy, space: {{model: n, dim: 8}}}}\n")
        return load_settings(path)

    with pytest.raises(InvalidInput, match=r"a\.npy: vectors of m: expected shape \[n, 5\], came \[300, 8\]"):
        fit_upgrade(settings(5))
    with pytest.raises(InvalidInput, match=r"b\.npy and .*a\.npy: pairs: 290 new and 300 old vectors"):
        fit_upgrade(settings(8))


@pytest.mark.parametrize("moved", ["old", "new", "both", "neither"])
def test_captions_of_another_prompt_than_the_gallery_are_named(moved, tmp_path):
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(200, 24)).astype(np.float32)
    lines = []
    for side in ("old", "new"):
        plain = rows @ np.linalg.qr(draw.normal(size=(24, 24)))[0].astype(np.float32)
        np.save(tmp_path / f"{side}_captions.npy", plain + np.float32(0.8 * (moved in (side, "both"))))
        np.save(tmp_path / f"{side}_gallery.npy", plain)
        lines.append(
            f"{side}: {{captions: {side}_captions.npy, gallery: {side}_gallery.npy, space: {{model: {side}, dim: 24}}}}"
        )
    (tmp_path / "settings.yaml").write_text("\n".join([*lines, "fit: {method: procrustes}\n"]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit_upgrade(load_settings(tmp_path / "settings.yaml"))
    expected = f"{moved}.captions looks as if it were encoded with another prefix or prompt than {moved}.gallery"
    assert [str(one.message).partition(":")[0] for one in caught] == ([expected] if moved in ("old", "new") else [])
