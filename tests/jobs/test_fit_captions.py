"""`embridge fit` from captions to bridge: every kind of file, encoded once, by models here and behind HTTP."""

import csv
import unicodedata

import numpy as np
import pytest
import yaml
from embedding_service import serving

from embridge import Upgrade
from embridge.adapters.base import normalized
from embridge.datasets import glyph_models
from embridge.encoders import load
from embridge.encoders.caption_cache import needed_bytes
from embridge.errors import ServiceError, SettingsError
from embridge.jobs.fit import fit_upgrade
from embridge.settings import load_settings

NAMES = [name.lower() for c in range(0x20, 0x3000, 24) if (name := unicodedata.name(chr(c), ""))]
KEY = "sk-very-secret-123"


def write_folder(folder):
    """The names in two files, with a third of them twice."""
    folder.mkdir()
    for file, part in (("a.csv", NAMES[:300]), ("b.csv", [*NAMES[300:], "", *NAMES[::3]])):
        with (folder / file).open("w", newline="") as opened:
            csv.writer(opened).writerows([("id", "title"), *enumerate(part)])


def settings_of(folder, **changes):
    models = {side: f"clip:{glyph_models.folder(side)}" for side in ("old", "new")}
    fit = {"captions": "shop", "column": "title", "method": "procrustes"}
    (folder / "settings.yaml").write_text(yaml.safe_dump(models | {"fit": fit} | changes))
    return load_settings(folder / "settings.yaml")


@pytest.mark.slow
def test_a_model_behind_http_fits_as_it_does_here_and_what_was_encoded_is_kept(tmp_path, monkeypatch):
    write_folder(tmp_path / "shop")
    here = fit_upgrade(settings_of(tmp_path, upgrade="here/upgrade"))
    monkeypatch.setenv("TOWER_KEY", KEY)
    with serving(load(f"clip:{glyph_models.folder('new')}")) as service:
        service.key = "another"
        new = {"encoder": f"http:tower@{service.url}", "key_variable": "TOWER_KEY", "dim": 128, "revision": "7"}
        settings = settings_of(tmp_path, new=new, upgrade="behind/upgrade")
        with pytest.raises(ServiceError, match="came status 401"):
            fit_upgrade(settings)
        (kept,) = (tmp_path / "behind" / ".embridge-cache").glob("*/vectors.f16")
        written = kept.stat()
        assert written.st_size == needed_bytes(len(NAMES), 64)
        service.key = KEY
        behind = fit_upgrade(settings)
        assert kept.stat().st_mtime_ns == written.st_mtime_ns
        asked = len(service.seen)
        again = fit_upgrade(settings)
        assert len(service.seen) == asked
    assert (behind.upgrade.new_space.model, behind.upgrade.new_space.revision) == ("tower", "7")
    texts = load(f"clip:{glyph_models.folder('new')}").encode(NAMES, modality="text")
    mapped = [normalized(made.upgrade.bridge.apply(texts)) for made in (here, behind, again)]
    assert (mapped[0] * mapped[1]).sum(axis=1).mean() > 0.99
    np.testing.assert_array_equal(mapped[1], mapped[2])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.slow
def test_what_was_dropped_is_said(tmp_path):
    write_folder(tmp_path / "shop")
    made = fit_upgrade(settings_of(tmp_path))
    repeats = len(NAMES[::3])
    assert made.sentence.endswith(f"; {len(NAMES)} captions in 2 files; {repeats} repeats and 1 blanks dropped")
    assert made.to_dict()["captions"] == {"kept": len(NAMES), "repeats": repeats, "blanks": 1, "files": 2}
    assert Upgrade.load(tmp_path / "upgrade").provenance.data.startswith(f"{len(NAMES)} pairs")


@pytest.mark.slow
def test_the_cache_may_lie_elsewhere_and_another_method_encodes_nothing(tmp_path):
    write_folder(tmp_path / "shop")
    fit = {"captions": "shop", "column": "title", "cache": "elsewhere"}
    told = []
    for method in ("procrustes", "ridge"):
        settings = settings_of(tmp_path, fit=fit | {"method": method})
        fit_upgrade(settings, progress=lambda *said: told.append(said))
    assert not (tmp_path / ".embridge-cache").exists()
    assert len(list((tmp_path / "elsewhere").iterdir())) == 2
    count = len(NAMES)
    for model in ("old", "new"):
        done = [done for done, total, what in told if what == f"{model}: captions (0.00 GB on disk)"]
        assert (done[0], done[-2:]) == (0, [count, count])
        assert done == sorted(done)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"encoder": "clip:x", "key_variable": "K"}, "key_variable is of a model behind HTTP, not of clip:x"),
        ({"encoder": "clip:x", "dim": 3}, "dim is of a model behind HTTP, not of clip:x"),
        ({"encoder": "http:a@https://b.example/v1", "pooling": "cls"}, "pooling is of a sentence model, not of http:"),
        ({"captions": "x.npy", "revision": "3"}, "that of vectors in files stands under space"),
        ({"encoder": "http:m@https://host/v1", "dim": 0}, r"old\.dim: Input should be greater than or equal to 1"),
    ],
)
def test_settings_of_another_kind_of_model_are_refused(tmp_path, model, message):
    with pytest.raises(SettingsError, match=message):
        settings_of(tmp_path, old=model)


def test_a_service_is_not_taken_for_a_folder(tmp_path):
    (tmp_path / "BAAI").mkdir()
    name = "http:BAAI/bge-m3@http://localhost:8080/v1"
    assert settings_of(tmp_path, new=name).new.encoder == name
