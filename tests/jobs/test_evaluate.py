import json
import warnings

import numpy as np
import pytest
import yaml

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.evaluation import load_report, load_summary
from embridge.jobs.evaluate import evaluate_upgrade
from embridge.jobs.fit import fit_upgrade
from embridge.settings import load_settings
from embridge.space import Space
from embridge.vector_files import write_vectors

OLD, NEW = Space("old", "1", 6), Space("new", "1", 6)


@pytest.fixture
def project(tmp_path):
    """Files of vectors: each query's right item is the one of its own number."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    gallery = rng.normal(size=(20, 6))
    parts = {"captions": rng.normal(size=(60, 6)), "gallery": gallery, "queries": gallery + rng.normal(0, 0.1, (20, 6))}
    for part, vectors in parts.items():
        for space, turned in ((OLD, vectors), (NEW, vectors @ turn)):
            ids = [f"{part[0]}{i}" for i in range(len(vectors))]
            write_vectors(Embeddings.of(turned.astype(np.float32), space, ids), tmp_path / f"{space.model}-{part}.npy")
    (tmp_path / "judged.trec").write_text("".join(f"q{i} 0 g{i} 1\n" for i in range(20)))
    return tmp_path


def settings_of(project, **changes):
    sides = {m: {part: f"{m}-{part}.npy" for part in ("captions", "queries", "gallery")} for m in ("old", "new")}
    judged = {"qrels": "judged.trec", "metrics": ["recall_at_1"], "cells": []}
    written = sides | {"fit": {"method": "procrustes"}, "evaluate": judged} | changes
    (project / "settings.yaml").write_text(yaml.safe_dump(written))
    return load_settings(project / "settings.yaml")


def test_it_touches_nothing_that_it_did_not_write(project):
    settings = settings_of(project, report="upgrade/report.json")
    fit_upgrade(settings)
    for name in ("bridge.onnx", "notes.txt"):
        (settings.upgrade / name).write_text("mine")
    for _ in range(2):
        evaluate_upgrade(settings)
        assert {p.name for p in settings.upgrade.iterdir()} == {
            "README.md", "bridge.onnx", "notes.txt", "report.html", "report.json", "report.parquet", "upgrade.json",
            "weights.safetensors",
        }  # fmt: skip
        assert load_report(settings.report).metrics == ("recall_at_1",)
        assert "recall@1" in (settings.upgrade / "README.md").read_text().lower()
    fit_upgrade(settings)  # another fit leaves the report: it says of which upgrade it is
    assert load_report(settings.report).metrics == ("recall_at_1",)


def test_what_cannot_be_written_is_refused_before_any_work(project):
    (project / "mine.json").write_text("[]")
    (project / "page.html").write_text("mine")
    fit_upgrade(settings_of(project))
    for report, message in {"mine": "mine.json is not a report", "page": "page.html is not a report's page"}.items():
        (project / "judged.trec").touch()
        with pytest.raises(InvalidInput, match=message):
            evaluate_upgrade(settings_of(project, report=f"{report}.json"), progress=working)
    for name in ("upgrade/upgrade.json", "old-gallery.json"):
        (project / "old-gallery.parquet").write_bytes((project / "old-gallery.npy").read_bytes())
        with pytest.raises(InvalidInput, match=r"is not (a report|of a report)"):
            evaluate_upgrade(settings_of(project, report=name), progress=working)


def working(done, total, what):
    raise AssertionError(f"{what}: it works before it looks")


def test_an_upgrade_that_was_fitted_meanwhile_stays(project):
    settings = settings_of(project)
    fit_upgrade(settings)
    later = []

    def progress(done, total, what):
        if not later:
            later.append(fit_upgrade(settings.with_fit(method="ridge")))

    with pytest.warns(UserWarning, match="upgrade holds another upgrade by now; .*report.json is of the one that was"):
        evaluate_upgrade(settings, progress=progress)
    assert json.loads((settings.upgrade / "upgrade.json").read_text())["provenance"]["method"] == "ridge"
    assert not (settings.upgrade / "report.json").exists()
    assert load_summary(settings.report).about["upgrade"] == "procrustes"


def test_a_link_to_a_folder_is_followed(project):
    (project / "elsewhere").mkdir()
    (project / "upgrade").symlink_to(project / "elsewhere")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settings = settings_of(project)
        fit_upgrade(settings)
        evaluate_upgrade(settings)
    assert (project / "upgrade").is_symlink()
    assert {p.name for p in (project / "elsewhere").iterdir()} >= {"upgrade.json", "report.json"}
