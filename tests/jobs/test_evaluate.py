import json
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SettingsError
from embridge.evaluation import Side, load_report, load_summary
from embridge.jobs._spread import spread_side, spreading_beside
from embridge.jobs.evaluate import evaluate_upgrade
from embridge.jobs.fit import fit_upgrade
from embridge.progress import silent
from embridge.scale import SerialEngine
from embridge.settings import load_settings
from embridge.space import Space
from embridge.vector_files import read_vectors, write_vectors

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


@pytest.mark.slow
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


@pytest.mark.slow
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


def without_ids(project, first):
    """The same vectors as bare files, and judgements by number that count from ``first``."""
    for model in ("old", "new"):
        for part in ("queries", "gallery"):
            np.save(project / f"{model}-{part}.npy", np.load(project / f"{model}-{part}.npy"))
            (project / f"{model}-{part}.npy.json").unlink()
    (project / "judged.trec").write_text("".join(f"{first + i} 0 {first + i} 1\n" for i in range(20)))
    sides = {m: {part: f"{m}-{part}.npy" for part in ("captions", "queries", "gallery")} for m in ("old", "new")}
    return {m: sides[m] | {"space": {"model": m, "revision": "1", "dim": 6}} for m in sides}


@pytest.mark.slow
def test_judgements_that_count_from_one_are_noticed_where_files_hold_no_ids(project):
    fit_upgrade(settings_of(project))
    with pytest.warns(UserWarning, match="judged") as caught:
        evaluate_upgrade(settings_of(project, **without_ids(project, 1)))
    for what, warning in zip(("queries", "items"), caught.list, strict=False):
        key = "queries" if what == "queries" else "gallery"
        assert str(warning.message) == (
            f"old-{key}.npy and new-{key}.npy hold no ids, so rows are asked for by row number, 0 to 19; 1 of 20 judged "
            f"{what} have no such row, and the judgements seem to count from 1. Write the vectors with their ids "
            "(embridge.write_vectors)"
        )


@pytest.mark.slow
def test_judgements_that_count_from_zero_are_those_of_the_rows(project):
    settings = settings_of(project, **without_ids(project, 0))
    fit_upgrade(settings)
    summary = evaluate_upgrade(settings)
    assert summary.about["ids"] == (
        "row numbers, from 0, where files hold none: new-gallery.npy, new-queries.npy, old-gallery.npy, old-queries.npy"
    )
    assert summary.figure("", "old/old", "recall_at_1").interval.value == 1


@pytest.mark.slow
def test_tables_are_read_by_the_names_that_the_settings_say(project):
    sides = {}
    for model in ("old", "new"):
        files = {part: f"{model}-{part}.npy" for part in ("captions", "queries", "gallery")}
        for part, name in (("queries", "key"), ("gallery", "doc_id")):
            rows = read_vectors(project / files[part])
            titles = [f"Shoe No. {i}" for i in rows.ids]
            table = pa.table({name: list(rows.ids), "embedding": list(rows.vectors), "title": titles})
            files[part] = f"{model}-{part}.parquet"
            pq.write_table(table, project / files[part])
        columns = {"id": "key", "vector": "embedding", "text": "title", "gallery": {"id": "doc_id"}}
        sides[model] = files | {"columns": columns, "space": {"model": model, "revision": "1", "dim": 6}}
    sides["new"]["columns"] = columns | {"queries": {"id": "doc_id"}}
    table = pq.read_table(project / "new-gallery.parquet")  # of the next item, so that queries are lost, and shown
    ids = pa.array([f"q{(i + 1) % 20}" for i in range(20)])
    pq.write_table(table.set_column(0, "doc_id", ids), project / "shifted.parquet")
    sides["new"]["queries"] = "shifted.parquet"
    settings = settings_of(project, **sides)
    fit_upgrade(settings)
    assert evaluate_upgrade(settings).figure("", "old/old", "recall_at_1").interval.value == 1
    page = settings.report.with_suffix(".html").read_text()
    assert "Shoe No. q1 (q1)" in page
    assert "Shoe No. g1 (g1)" in page


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"name": "title"}, "columns: there is no 'name'; there are id, vector, text, captions: {…}"),
        ({"id": "key"}, "columns are of tables of vectors .*, and there is none here"),
    ],
)
def test_columns_that_mean_nothing_are_refused(project, columns, message):
    old = {part: f"old-{part}.npy" for part in ("captions", "queries", "gallery")}
    with pytest.raises(SettingsError, match=message):
        settings_of(project, old=old | {"columns": columns})


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


@pytest.mark.slow
def test_workers_measure_what_one_process_measures(project):
    judged = {"qrels": "judged.trec", "metrics": ["recall_at_1", "ndcg_at_5"], "cells": ["fused/old"], "curve": True}
    fit_upgrade(settings_of(project))
    summaries = {}
    for name in (None, "local"):
        settings = settings_of(project, evaluate=judged, report=f"{name}.json", **({"engine": name} if name else {}))
        summaries[name] = evaluate_upgrade(settings).headline(), json.loads((project / f"{name}.json").read_text())
    assert summaries["local"][0] == summaries[None][0]
    values = [read["values"]["sha256"] for _, read in summaries.values()]
    assert values[0] == values[1]


def test_workers_hold_what_encoders_and_stores_give(project):
    rows = read_vectors(project / "old-gallery.npy")
    with SerialEngine() as engine, spreading_beside(project / "report.json", engine, silent) as workers:
        side = spread_side(Side(rows, rows, Side(rows, rows)), workers)
        np.testing.assert_array_equal(side.without_lora.gallery.vectors, rows.vectors)
        assert side.gallery.take([3]).ids == (rows.ids[3],)
    assert spread_side(side, None) is side


@pytest.mark.parametrize("name", ["local:0", "local:x", "ray:", "ray", "dask", ""])
def test_an_engine_that_is_none_is_refused_before_any_work(name, project):
    with pytest.raises(SettingsError, match=f"^.*settings.yaml: engine.* an engine is local for this .* came {name}$"):
        settings_of(project, engine=name)
