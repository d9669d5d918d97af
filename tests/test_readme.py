"""The README keeps its word: its code, its settings and its commands run as they stand there."""

import csv
import re
import shlex
import shutil
import unicodedata
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest
import typer
from fenced_blocks import README, ROOT, blocks, run
from PIL import Image
from typer.testing import CliRunner

from embridge import Embeddings, __version__
from embridge.cli import app
from embridge.datasets import glyph_models, glyphs
from embridge.encoders import load
from embridge.settings import load_settings
from embridge.stores import open_store

COMMANDS = [shlex.split(line) for line in "".join(blocks(README, "bash")).splitlines() if line.startswith("embridge ")]
PAIRS = 40
ASKED = "braille pattern dots-13"
TRAIN = """
data: {images: drawn.npz, side: 16}
old: clip:models/old
objective: bct
backbone: {name: small-resnet, settings: {width: 4, depth: 8}}
training: {epochs: 1, batch_size: 20}
upgrade: trained-upgrade
"""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the models, captions, settings and judged pairs that the README names."""
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    for side in ("old", "new"):
        Path("models", side).symlink_to(glyph_models.folder(side))
    names = [glyphs.caption(code_point) for code_point in glyphs.split()["train"][::24]]
    Path("captions.txt").write_text("\n".join(names))
    (settings,) = blocks(README, "yaml")
    Path("settings.yaml").write_text(settings)
    judged = glyphs.render(glyphs.split()["test"][:PAIRS], one_each=True)
    with Path("judged.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "image"])
        for row, name in enumerate(judged.captions):
            Image.fromarray(judged.images[row]).save(f"{row}.png")
            table.writerow([name, f"{row}.png"])
    np.savez("drawn.npz", images=judged.images, labels=np.arange(len(judged.images)) % 2)
    Path("train.yaml").write_text(TRAIN)
    return tmp_path


@pytest.mark.slow
def test_the_library_example_finds_what_was_asked(workplace):
    old = load("clip:models/old", batch_size=256)
    drawn = glyphs.render([ord(unicodedata.lookup(ASKED)), *glyphs.split()["validation"][:40]])
    store = open_store("embridge-demo/store", create=True)
    store.add_space(old.space)
    rows = Embeddings.of(old.encode(drawn.images, modality="image"), old.space, drawn.ids)
    store.upsert(rows, {"character": drawn.captions})
    names = run(README)
    (ids,) = names["hits"].ids
    assert len(ids) == 10
    assert ASKED in store.payload(old.space, ids)["character"]
    assert names["upgrade"].old_space == old.space


@pytest.mark.slow
def test_the_settings_load(workplace):
    settings = load_settings("settings.yaml")
    assert settings.fit.captions == workplace / "captions.txt"
    assert settings.evaluate.judged == workplace / "judged.csv"


def test_every_command_is_shown_or_named():
    shown, commands = {command[1] for command in COMMANDS}, set(typer.main.get_command(app).commands)
    assert shown <= commands
    named = set(re.findall(r"`([a-z]+)`", README.read_text()))
    assert commands - shown - named == set()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[1])
def test_the_commands_are_understood(command):
    known = typer.main.get_command(app).commands[command[1]]
    assert known.make_context(command[1], command[2:], resilient_parsing=False).params


def make_shop():
    """A table of someone else's, whose vectors the old model made."""
    titles = Path("captions.txt").read_text().splitlines()[:20]
    vectors = load("clip:models/old").encode(titles, modality="text")
    rows = [
        {"id": i, "title": title, "embedding": vector}
        for i, (title, vector) in enumerate(zip(titles, vectors.tolist(), strict=True))
    ]
    schema = pa.schema({"id": pa.int64(), "title": pa.string(), "embedding": pa.list_(pa.float32(), 64)})
    lancedb.connect("shop").create_table("items", pa.Table.from_pylist(rows, schema))


@pytest.mark.slow
def test_the_commands_run_in_order(workplace, demo_run):
    printed = {"demo": demo_run.stdout}
    assert COMMANDS[0] == ["embridge", "demo"]
    shutil.copytree(demo_run.out, "embridge-demo")
    make_shop()
    Path("captions.txt").write_text("\n".join(Path("captions.txt").read_text().splitlines()[::4]))
    for command in COMMANDS[1:]:
        done = CliRunner().invoke(app, command[1:])
        assert done.exit_code == 0, done.stderr
        printed[command[1]] = done.stdout
    assert "new/old" in printed["demo"]
    assert "new/old" in printed["evaluate"]
    assert "| new/old |" in printed["report"]
    assert "54,652" in printed["inspect"]
    assert "agrees: 100.0% of the sample" in printed["adopt"]
    assert "xbt" in printed["fit"]
    assert "bct on " in printed["train"]
    assert printed["search"].count("U+") == 10
    written = {"upgrade", "report.json", "report.parquet", "report.html", "embridge-demo"}
    assert written <= {path.name for path in workplace.iterdir()}
    assert "Upgrade report" in Path("embridge-demo/report.html").read_text()
    check_examples(Path("embridge-demo/searches.html").read_text())


def check_examples(page):
    """What the demo's page says of a search is true of the hits under it."""
    sections = re.findall(r"<section>(.*?)</section>", page, re.DOTALL)
    assert len(sections) == 5
    for section in sections:
        before, after = ('class="right"' in row for row in section.split('<div class="row">')[1:3])
        if "found only after" in section:
            assert (before, after) == (False, True)
        elif "found only before" in section:
            assert (before, after) == (True, False)
        else:
            assert "drawn at random" in section
    assert not re.findall(r"(?:src|href)=.?(?:https?:)?//", page)


def test_the_picture_is_small_and_shown():
    picture = ROOT / "docs" / "images" / "demo.png"
    assert "(docs/images/demo.png)" in README.read_text()
    assert picture.stat().st_size < 300_000


def test_the_changelog_names_this_version():
    assert f"## [{__version__}] - " in (ROOT / "CHANGELOG.md").read_text()


def test_the_licence_is_whole():
    text = (ROOT / "LICENSE").read_text()
    assert text.lstrip().startswith("Apache License")
    assert "END OF TERMS AND CONDITIONS" in text
