import pytest

from embridge.errors import InvalidInput
from embridge.pipeline import fit_upgrade
from embridge.settings import load_settings


def test_a_folder_of_other_things_is_refused_before_any_work(tmp_path):
    (tmp_path / "upgrade").mkdir()
    (tmp_path / "upgrade" / "notes.txt").write_text("mine")
    (tmp_path / "settings.yaml").write_text("old: {captions: missing.npy}\nnew: {captions: missing.npy}\n")
    with pytest.raises(InvalidInput, match=r"upgrade holds other things \(no upgrade\.json in it\)"):
        fit_upgrade(load_settings(tmp_path / "settings.yaml"))
    assert (tmp_path / "upgrade" / "notes.txt").read_text() == "mine"
