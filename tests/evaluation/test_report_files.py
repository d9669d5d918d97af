import hashlib
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kills import killed

from embridge.errors import ArtefactError, InvalidInput
from embridge.evaluation import (
    Cell,
    LabelRelevance,
    Relevance,
    Report,
    Scope,
    Task,
    evaluate,
    load_report,
    load_summary,
    save_report,
    summarise,
)
from embridge.evaluation.render.html import save_html


@pytest.fixture(scope="module")
def saved(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.json"
    return path, save_report(report, path, gates=["negative_flip_rate <= 0.03"])


@pytest.mark.slow
def test_a_report_is_read_back_whole(report, saved):
    again = load_report(saved[0])
    assert again.metrics == report.metrics
    assert again.about == report.about
    for mine, theirs in zip(report.tasks, again.tasks, strict=True):
        assert (mine.direction, mine.query_ids, mine.gallery, mine.source) == (
            theirs.direction, theirs.query_ids, theirs.gallery, theirs.source,
        )  # fmt: skip
        np.testing.assert_array_equal(mine.relevant, theirs.relevant)
        np.testing.assert_array_equal(mine.ideal, theirs.ideal)
    for mine, theirs in zip(report.cells, again.cells, strict=True):
        assert (mine.direction, mine.name) == (theirs.direction, theirs.name)
        names, other = (r.task(mine.direction).gallery_ids for r in (report, again))
        np.testing.assert_array_equal(np.array(names)[mine.rows], np.array(other)[theirs.rows])
        for field in ("scores", "gains"):
            np.testing.assert_array_equal(getattr(mine, field), getattr(theirs, field))


@pytest.mark.slow
def test_a_report_of_before_its_names_were_settled_is_read(report, saved, tmp_path):
    """It said ``truth`` for who says what is right, and ``native`` for the new model without its LoRA."""
    path = tmp_path / "old.json"
    shutil.copy(saved[0].with_suffix(".parquet"), tmp_path / saved[0].with_suffix(".parquet").name)
    written = json.loads(saved[0].read_text())
    for asked in written["asked"]:
        asked["truth"] = asked.pop("source")
    written["about"] |= {"native": "new@1", "data": written["about"]["data"] | {"native": "0123"}}
    path.write_text(json.dumps(written))
    for about in (load_summary(path).about, load_report(path).about):
        assert about["new_without_lora"] == "new@1"
        assert about["data"] == report.about["data"] | {"new_without_lora": "0123"}
    assert [task.source for task in load_report(path).tasks] == [task.source for task in report.tasks]
    assert load_summary(path).asked == saved[1].asked


@pytest.mark.slow
def test_every_figure_is_computed_again_from_the_file(saved):
    path, summary = saved
    assert summarise(load_report(path), gates=["negative_flip_rate <= 0.03"]) == summary
    assert load_summary(path) == summary


@pytest.mark.slow
def test_pandas_computes_a_figure_from_the_parquet_alone(saved):
    table = pq.read_table(saved[0].with_suffix(".parquet")).to_pylist()
    own = [row for row in table if (row["direction"], row["cell"]) == ("i2t", "new/old")]
    recall = np.mean([any(gain > 0 for gain in row["gains"][:5]) for row in own])
    assert saved[1].figure("i2t", "new/old", "recall_at_5").interval.value == pytest.approx(recall)
    assert all(len(row["items"]) == len(row["scores"]) == 10 for row in own)
    assert {row["slice.half"] for row in table if row["direction"] == "t2i"} == {"first", "second"}


@pytest.mark.slow
@pytest.mark.parametrize("relevance", ["labels", "grades", "log"])
def test_graded_weighted_and_whole_rankings_come_back(world, relevance, tmp_path):
    old, new, upgrade, pairs = world
    triples = [(q, i, 1.0 + int(q.split()[1]) % 3) for q, items in pairs.gains.items() for i in items]
    relevance = {
        "labels": LabelRelevance({q: i for q, i, _ in triples}, {i: i for _, i, _ in triples}),
        "grades": Relevance.from_grades(triples),
        "log": Relevance.from_log(triples),
    }[relevance]
    made = evaluate(old, new, upgrade, relevance, scope=Scope(metrics=("map", "ndcg_at_5", "recall_at_1")))
    summary = save_report(made, tmp_path / "r.json")
    assert summarise(load_report(tmp_path / "r.json")) == summary


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a whole report"),
        ("[1, 2]", "expected schema embridge.report/2, came 'list'"),
        ('{"schema": "embridge.report/1"}', "expected schema embridge.report/2, came 'embridge.report/1'"),
        ('{"schema": "embridge.report/2", "metrics": []}', r"is not a whole report \(verdict: Field required\)"),
        ("[" * 100_000, "is not a whole report"),
    ],
)
def test_hostile_reports_are_refused(content, message, tmp_path):
    (tmp_path / "report.json").write_text(content)
    for load in (load_report, load_summary):
        with pytest.raises(ArtefactError, match=message):
            load(tmp_path / "report.json")


@pytest.fixture
def copied(saved, tmp_path):
    for suffix in (".json", ".parquet"):
        shutil.copy(saved[0].with_suffix(suffix), tmp_path)
    return tmp_path / "report.json"


@pytest.mark.slow
def test_a_missing_or_truncated_report_is_refused(copied):
    with pytest.raises(ArtefactError, match="does not exist; expected a report"):
        load_summary(copied.with_name("nothing.json"))
    copied.write_text(copied.read_text()[:-100])
    with pytest.raises(ArtefactError, match="is not a whole report"):
        load_report(copied)


@pytest.mark.slow
def test_values_of_another_report_are_noticed(copied, report):
    values = copied.with_suffix(".parquet")
    values.write_bytes(values.read_bytes()[:-1])
    with pytest.raises(ArtefactError, match=r"is not the file that .*report\.json was written with"):
        load_report(copied)
    values.unlink()
    with pytest.raises(ArtefactError, match="is missing or is not the file"):
        load_report(copied)
    assert load_summary(copied).metrics == report.metrics  # the figures are there still


@pytest.mark.parametrize("name", ["../report.parquet", "/etc/passwd", None, 7])
def test_a_report_does_not_lead_elsewhere(copied, name):
    read = json.loads(copied.read_text())
    read["values"]["file"] = name
    copied.write_text(json.dumps(read))
    with pytest.raises(ArtefactError, match="holds figures only"):
        load_report(copied)


def test_values_that_contradict_the_figures_are_refused(copied):
    read = json.loads(copied.read_text())
    read["asked"][0]["queries"] = 599
    copied.write_text(json.dumps(read))
    with pytest.raises(ArtefactError, match="does not hold what"):
        load_report(copied)


@pytest.mark.slow
def test_many_row_groups_are_one_cell_again(report, saved, tmp_path, monkeypatch):
    monkeypatch.setattr("embridge.evaluation.report_values._GROUP_VALUES", 2_500)  # of 6,000 in a cell
    assert save_report(report, tmp_path / "report.json", gates=["negative_flip_rate <= 0.03"]) == saved[1]
    groups, cells = pq.ParquetFile(tmp_path / "report.parquet").num_row_groups, len(report.cells)
    assert groups > 1.5 * cells
    for mine, theirs in zip(load_report(saved[0]).cells, load_report(tmp_path / "report.json").cells, strict=True):
        for field in ("rows", "scores", "gains"):
            np.testing.assert_array_equal(getattr(mine, field), getattr(theirs, field))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "spoil", "message"),
    [
        ("items", lambda lists: [[None, *lists[0][1:]], *lists[1:]], "rankings of one length, without blanks"),
        ("scores", lambda lists: [lists[0][:-1], [*lists[1], 0.0], *lists[2:]], "rankings of one length"),
        ("gains", lambda lists: [None, *lists[1:]], "rankings of one length, without blanks"),
        ("cell", lambda names: ["another", *names[1:]], "row groups of one cell"),
        ("direction", lambda names: ["elsewhere"] * len(names), "'elsewhere'"),
    ],
)
def test_spoilt_values_are_refused(copied, column, spoil, message):
    """Even where the JSON was made to agree with them."""
    values = copied.with_suffix(".parquet")
    with pq.ParquetFile(values) as file:
        table = file.read_row_group(0)
    place = table.column_names.index(column)
    spoilt = pa.array(spoil(table[column].to_pylist()), table.schema.field(column).type)
    pq.write_table(table.set_column(place, table.schema.field(column), spoilt), values)
    read = json.loads(copied.read_text())
    read["values"]["sha256"] = hashlib.sha256(values.read_bytes()).hexdigest()
    copied.write_text(json.dumps(read))
    with pytest.raises(ArtefactError, match=message):
        load_report(copied)


@pytest.mark.parametrize("name", ["report.parquet", "report", "v1.2"])
def test_a_name_whose_two_files_could_be_one_is_refused(report, tmp_path, name):
    with pytest.raises(InvalidInput, match=r"end the name in \.json"):
        save_report(report, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_interrupted_write_leaves_the_earlier_report(copied, report, monkeypatch):
    before = copied.read_bytes()

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("embridge.evaluation.report_files.write_values", stop)
    with pytest.raises(KeyboardInterrupt):
        save_report(report, copied)
    assert copied.read_bytes() == before
    assert load_report(copied).metrics == report.metrics
    assert sorted(path.name for path in copied.parent.iterdir()) == ["report.json", "report.parquet"]


def planted(right):
    """One query that finds its item, or not."""
    rows, scores = np.array([[0 if right else 1]], np.int64), np.ones((1, 1), np.float32)
    task = Task("", ("q",), ("g", "h"), 2, np.array([1]), scores)
    cells = (Cell("", name, rows, scores, scores * right) for name in ("old/old", "new/old", "new/new", "naive"))
    return Report((task,), tuple(cells), ("recall_at_1",))


def recall(path):
    figures, values = load_summary(path).figure("", "new/old", "recall_at_1"), load_report(path).cell("", "new/old")
    assert figures.interval.value == values.gains[0, 0]
    return figures.interval.value


@pytest.mark.slow
def test_a_report_is_one_write_through_every_kill(tmp_path):
    path = tmp_path / "report.json"
    save_report(planted(False), path)
    seen = []
    while killed(lambda: save_report(planted(True), path), tmp_path, len(seen)):
        seen.append(recall(path))
        save_report(planted(False), path)
        assert {p.name for p in tmp_path.iterdir()} == {"report.json", "report.parquet"}
    assert seen == sorted(seen)
    assert set(seen) == {0, 1}


def test_files_that_are_no_report_are_not_overwritten(tmp_path):
    pq.write_table(pa.table({"id": ["a"], "vector": [[1.0]]}), tmp_path / "gallery.parquet")
    for name, content in {
        "upgrade.json": '{"schema": "embridge.upgrade/1"}',
        "mine.json": "[]",
        "page.html": "mine",
    }.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "folder.json").mkdir()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    for name, message in {
        "upgrade": "upgrade.json is not a report of embridge and is not overwritten",
        "mine": "mine.json is not a report",
        "folder": "folder.json is a folder; a report of embridge is to be written there",
        "gallery": "gallery.parquet is not of a report and is not overwritten",
    }.items():
        with pytest.raises(InvalidInput, match=message):
            save_report(planted(True), tmp_path / f"{name}.json")
    with pytest.raises(InvalidInput, match=r"page.html is not a report's page"):
        save_html(tmp_path / "page.html", summarise(planted(True)))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", [lambda file: file.write_bytes(file.read_bytes()[:100]), lambda file: file.write_bytes(b"")]
)
@pytest.mark.parametrize("suffix", [".json", ".parquet"])
def test_a_damaged_report_is_written_again(tmp_path, suffix, damage):
    path = tmp_path / "report.json"
    save_report(planted(False), path)
    damage(path.with_suffix(suffix))
    save_report(planted(True), path)
    assert recall(path) == 1
