"""The demo as a user runs it, once; everything it says is checked against what it wrote."""

import json
import re
from contextlib import closing

import pytest
from typer.testing import CliRunner

from embridge import Embeddings, Upgrade
from embridge.cli import app
from embridge.datasets import glyph_models, glyphs
from embridge.encoders import load
from embridge.evaluation import load_report, summarise
from embridge.jobs.rollout import open_rollout
from embridge.stores import open_store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(demo_run):
    return demo_run.out, demo_run.result.to_dict()


def test_it_says_what_it_wrote_and_how_far_it_is(demo, demo_run):
    out, figures = demo
    assert figures["schema"] == "embridge.demo/1"
    assert set(figures["cells"]) == {"t2i", "i2t"}
    for cells in figures["cells"].values():
        bridged = {"new/old", "procrustes/old", "fused/old", "cascade", "ceiling"}
        assert set(cells) == {"old/old", "new/new", "naive"} | bridged
        assert all(set(c) == {"recall_at_1", "recall_at_5", "recall_at_10"} for c in cells.values())
    files = {"store": "store", "searches": "searches.html", "report": "report.json", "page": "report.html"}
    files |= {"values": "report.parquet", "live": "live", "rollout": "rollout.yaml"}
    for what, name in files.items():
        assert figures[what] == str(out / name)
        assert (out / name).exists()
        assert re.search(rf"^{what} +{re.escape(str(out / name))}$", demo_run.stdout, re.MULTILINE)
    assert figures["seconds"] > 0
    assert "new/old" in demo_run.stdout
    assert figures["verdict"].split(":")[0] in demo_run.stdout
    stages = [f"{i}/7 " for i in range(1, 8)]
    told = [line[:4] for line in demo_run.stderr.splitlines()]
    assert sorted({*told}) == stages
    assert told == sorted(told)
    assert "2/7 index 54,652 pictures with the old model: " in demo_run.stderr


def test_stdout_is_the_result_and_nothing_else(demo_run, monkeypatch):
    result = demo_run.result
    monkeypatch.setattr("embridge.jobs.demo.run_demo", lambda *_, **__: result)
    done = CliRunner().invoke(app, ["demo", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == result.to_dict()


def test_the_models_are_what_the_documentation_says(demo):
    cells = demo[1]["cells"]["t2i"]
    assert 0.35 <= cells["old/old"]["recall_at_10"] <= 0.50
    assert cells["new/new"]["recall_at_10"] >= 0.65
    assert cells["naive"]["recall_at_10"] < 0.05


def test_the_verdict_is_the_one_that_the_report_gives(demo):
    out, figures = demo
    summary = summarise(load_report(out / "report.json"))
    assert summary.headline().items() <= figures.items()
    for direction in ("t2i", "i2t"):
        old, new = (figures["cells"][direction][c]["recall_at_10"] for c in ("old/old", "new/old"))
        assert f"goes from {old:.3f} to {new:.3f}" in figures["verdict"]


def test_the_saved_upgrade_searches_the_saved_store(demo):
    """The saved upgrade and the store on disk, opened afresh, find held-out characters among all renderings."""
    out = demo[0]
    store, upgrade = open_store(out / "store"), Upgrade.load(out / "upgrade")
    assert store.spaces() == [upgrade.old_space]
    assert store.count(upgrade.old_space) == len(glyphs.render().ids)
    held_out = glyphs.render(glyphs.split()["test"], one_each=True)
    encoder = load(f"clip:{glyph_models.folder('new')}")
    queries = Embeddings.of(encoder.encode(held_out.captions, modality="text"), encoder.space, held_out.captions)
    right = 0
    for row in range(0, 1_000, 50):
        found = store.search(upgrade.to_index_space(queries.take([row])), 50)
        names = store.payload(upgrade.old_space, found.ids[0])["character"]
        right += held_out.captions[row] in names
    assert right >= 3  # of 20, among the first 50 of 54,000 renderings; by chance none


def test_the_page_stands_alone_and_shows_five_searches(demo):
    page = (demo[0] / "searches.html").read_text()
    sections = page.split("<section>")[1:]
    assert len(sections) == 5
    for section in sections:
        rows = section.split('<div class="row">')[1:]
        assert [row.count("<img") for row in rows[:2]] == [10, 10]
        found = ['class="right"' in row for row in rows[:2]]
        assert len(rows) == 2 + (not any(found))
        if not any(found):  # then what is right is shown
            assert "right answer" in rows[2]
            assert 0 < rows[2].count("<img") == rows[2].count('<img class="right"')
    assert {*re.findall(r"""(?:src|href)=["'](?!data:)([^"']*)""", page)} == {"report.html"}
    assert "http" not in page
    assert any('class="right"' in section for section in sections)
    assert demo[1]["verdict"].split(":")[0] in page
    for cell in demo[1]["cells"]["t2i"]:
        assert f"<dt>{cell}</dt>" in page
    assert page.count('<tr class="aside"><th>ceiling</th>') == 1


def test_a_live_index_gets_better_with_every_part_that_is_encoded_and_goes_back(demo, demo_run):
    steps = demo[1]["live_steps"]
    assert [(one["state"], one["served"], one["encoded"]) for one in steps] == [
        ("prepared", "old", 0),
        ("bridged", "bridge", 0),
        ("backfilling", "mixed", 100),
        ("backfilling", "mixed", 200),
        ("backfilling", "mixed", 300),
        ("rolled back", "old", 300),
    ]
    reached = [one["recall_at_10"] for one in steps]
    assert reached[0] == reached[-1]
    assert reached[:-1] == sorted(reached[:-1])
    cells = demo[1]["cells"]["t2i"]
    assert reached[0] == pytest.approx(cells["old/old"]["recall_at_10"], abs=0.06)
    assert reached[1] == pytest.approx(cells["new/old"]["recall_at_10"], abs=0.06)
    page = (demo[0] / "searches.html").read_text()
    section = page[page.index("The same upgrade on a live index, and back") :].partition(
        "Measured on 1,000 held-out characters"
    )[0]
    assert "Every old vector is the same as before, bit by bit." in section
    for one in steps:
        row = rf"<th>{one['state']}</th>.*?<td>{one['encoded'] // 10}%</td><td>{one['recall_at_10']:.3f}"
        assert re.search(row, section)
        line = rf"^ *{one['state']} .* {one['encoded'] // 10}% +{one['recall_at_10']:.3f}"
        assert re.search(line, demo_run.stdout, re.MULTILINE)
    assert section.count("<polyline") == 1


def test_the_live_index_can_go_on_to_the_end(demo):
    with closing(open_rollout(demo[0] / "rollout.yaml")) as opened:
        assert (opened.state.phase, opened.state.upgrade) == ("rolled back", str(demo[0] / "upgrade"))
        (name,) = opened.store.missing(opened.new, opened.old, limit=1)
        assert opened.items_of([name])[1] == {}


def test_the_page_names_the_models_and_what_was_saved(demo):
    page = (demo[0] / "searches.html").read_text()
    for side, dim in (("old", 64), ("new", 128)):
        space = load(f"clip:{glyph_models.folder(side)}").space
        assert space.dim == dim
        assert re.search(rf"<dt>{side} model</dt><dd>{space.model}: {dim} dims, [\d,]+ parameters</dd>", page)
    assert "54,652 pictures were not re-encoded" in page
    assert re.search(r"would have taken about [\d.]+ s .* The fit took [\d.]+ s", page)


def test_the_reports_page_shows_the_renderings(demo):
    page = (demo[0] / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 10
    assert demo[1]["verdict"].split(":")[0] in page
    assert "first word" in page
    columns = page.split('<p class="column">')
    assert [text[: text.index("</p>")] for text in columns[1:]] == ["Lost", "Won"] * 2
    assert all(0 < text.count('<div class="asked">') <= 10 for text in columns[1:])
    assert page.index(">Cells<") < page.index(">Cautions<") < page.index(">Backfill<")


def test_no_fitted_name_is_a_held_out_one():
    parts = glyphs.split()
    held_out = {glyphs.caption(c) for c in parts["test"] + parts["validation"]}
    assert not held_out & {glyphs.caption(c) for c in parts["train"]}
