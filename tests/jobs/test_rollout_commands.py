"""Every command in every state of a rollout does its work, or says in one line why not and what to do."""

import json
import shutil

import numpy as np
import pytest
from planted_model import PROVIDER
from planted_rollout import NEW, OLD, Project, plan, save_upgrade
from typer.testing import CliRunner

from embridge.adapters import Linear
from embridge.adapters.linear import Identity
from embridge.adapters.upgrade import Upgrade
from embridge.cli import app
from embridge.encoders import PROVIDERS
from embridge.jobs.rollout import apply, filling
from embridge.provenance import Provenance
from embridge.space import Space

pytestmark = pytest.mark.slow
SETTINGS = "rollout.yaml"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setitem(PROVIDERS, "planted", PROVIDER)
    monkeypatch.setattr(filling, "_FOLLOWED_SECONDS", 0.0)
    project = Project(tmp_path, "faiss", None)
    project.folder.mkdir()
    project.make()
    plan(project.folder)
    monkeypatch.chdir(project.folder)
    return project.folder


def run(*words, code=0, answer=None):
    outcome = CliRunner().invoke(app, list(words), input=answer)
    assert outcome.exit_code == code, outcome.output
    return outcome


def documents(folder):
    path = folder / "shop.faiss.embridge.json"
    written = json.loads(path.read_text())["documents"]
    return {name: value for name, value in written.items() if name != "lease"}


def refused(*words, folder, why):
    """A command that does not fit ends with 1, one line and no JSON, and changes nothing."""
    before = documents(folder)
    outcome = run(*words, "--json", code=1)
    assert outcome.stdout == ""
    assert why in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert documents(folder) == before


FURTHER = "embridge apply leads further, and embridge rollback back"
DROP = ("complete", SETTINGS, "--drop-old")
JOURNEY = [
    (("apply", "plan.json", "--until", "shadow"), ("pause", "resume", "drop"), FURTHER),
    (("apply", "plan.json", "--until", "bridged"), ("shadow", "pause", "resume", "drop"), FURTHER),
    (("apply", "plan.json", "--until", "0.5"), ("shadow", "drop"), FURTHER),
    (("pause", SETTINGS), ("shadow", "drop"), FURTHER),
    (("rollback", SETTINGS), ("pause", "resume", "drop", "apply"), "embridge apply --again begins anew"),
    (("apply", "plan.json", "--again"), ("shadow", "pause", "resume"), "embridge complete --drop-old ends it"),
    ((*DROP, "--yes"), ("shadow", "pause", "resume", "rollback", "plan", "apply"), "the old rows were dropped"),
]
WORDS = {
    "shadow": ("apply", "plan.json", "--until", "shadow"),
    "pause": ("pause", SETTINGS),
    "resume": ("resume", SETTINGS),
    "rollback": ("rollback", SETTINGS),
    "drop": DROP,
    "plan": ("plan", SETTINGS),
    "apply": ("apply", "plan.json"),
}


def test_a_command_that_does_not_fit_says_what_does(folder):
    for move in ("pause", "resume", "rollback", "drop"):
        refused(
            *WORDS[move], folder=folder, why="no rollout has begun in this store; embridge plan and apply begin one"
        )
    for command, unfit, why in JOURNEY:
        run(*command, "--json")
        for name in unfit:
            refused(*WORDS[name], folder=folder, why=why)
        assert json.loads(run("status", SETTINGS, "--json").stdout)["fault"] == ""
    assert "old rows dropped" in run(*DROP).stdout  # once more: nothing is asked, and nothing is left to do


def test_a_dry_run_changes_nothing(folder):
    before = documents(folder)
    told = run("apply", "plan.json", "--dry-run").stdout
    assert "10, 10" in told
    assert told.endswith("a dry run: nothing was changed\n")
    assert documents(folder) == before
    run("apply", "plan.json", "--until", "0.5")
    before = documents(folder)
    assert json.loads(run("apply", "plan.json", "--dry-run", "--json").stdout)["missing"] == 5
    for move, phase in (("pause", "backfilling, paused"), ("resume", "backfilling"), ("rollback", "rolled back")):
        assert run(move, SETTINGS, "--dry-run").stdout == f"{phase}\na dry run: nothing was changed\n"
    run("apply", "plan.json", "--until", "half", "--dry-run", code=2)
    assert documents(folder) == before
    run("apply", "plan.json")
    before = documents(folder)
    assert "delete 10 old vectors" in run(*DROP, "--dry-run").stdout
    assert documents(folder) == before


def test_deleting_asks_where_it_can_be_done_and_someone_answers(folder):
    run("apply", "plan.json")
    assert run(*DROP, code=2).stderr.endswith("\nerror: nobody is there to answer; say --yes\n")
    assert "Aborted" in run(*DROP, code=1, answer="n\n").stderr
    path = folder / "shop.faiss.embridge.json"
    whole = path.read_text()
    path.write_text(whole.replace('"by": "', '"by": "x', 1))
    assert "the old rows are not dropped: entry 1 of the journal was changed" in run(*DROP, code=1).stderr
    outcome = run("status", SETTINGS, "--json", code=1)
    assert json.loads(outcome.stdout)["fault"] in outcome.stderr
    assert "entry 1 of the journal was changed" in run("status", SETTINGS, "--watch", code=1).stderr
    path.write_text(whole)
    assert "old rows dropped" in run(*DROP, answer="y\n").stdout


def test_the_way_back_needs_the_store_alone(folder):
    run("apply", "plan.json", "--until", "0.5")
    shutil.rmtree(folder / "upgrade")
    run("status", SETTINGS, code=2)
    assert run("rollback", SETTINGS).stdout == "rolled back\n"
    save_upgrade(folder / "upgrade")
    assert run("apply", "plan.json", "--again").stdout.startswith("complete")


def test_settings_of_another_rollout_move_nothing(folder):
    run("apply", "plan.json")
    third = Space("third", "1", 3, "dot")
    other = Linear(third, OLD, np.eye(3, 2, dtype=np.float32))
    Upgrade(Identity(third, third), other, Provenance("planted")).save(folder / "other")
    (folder / "other.yaml").write_text((folder / SETTINGS).read_text().replace("upgrade: upgrade", "upgrade: other"))
    why = f"the rollout of this store leads from planted old@1 (2-d dot, space 46a6f251b45c) to {NEW}"
    for words in (
        ("pause", "other.yaml"),
        ("rollback", "other.yaml"),
        ("complete", "other.yaml", "--drop-old", "--yes"),
    ):
        refused(*words, folder=folder, why=why)


@pytest.mark.parametrize(
    ("line", "code", "why"),
    [
        ("order: cluster", 2, "clusters: there are 10 rows, and 100 clusters to put them in"),
        ("order: popularity\nlog: shop.faiss.embridge_46a6f251b45c.faiss", 2, "is no text in UTF-8"),
        ("order: uncertainty\nuncertainty: upgrade", 1, "does not say how uncertain it is"),
    ],
)
def test_an_order_that_cannot_be_made_is_refused_by_the_plan(folder, line, code, why):
    (folder / SETTINGS).write_text(f"{(folder / SETTINGS).read_text()}{line}\n")
    assert why in run("plan", SETTINGS, code=code).stderr


@pytest.mark.parametrize("move", ["pause", "rollback"])
def test_who_stops_a_rollout_while_apply_begins_is_heard(folder, monkeypatch, move):
    run("apply", "plan.json", "--until", "0.5")
    checked = apply.require_same_plan

    def checked_while_it_is_stopped(*values):
        checked(*values)
        run(move, SETTINGS)

    monkeypatch.setattr(apply, "require_same_plan", checked_while_it_is_stopped)
    assert run("apply", "plan.json").stdout in ("backfilling, paused\n", "rolled back\n")
    monkeypatch.undo()
    assert documents(folder)["state"]["paused" if move == "pause" else "phase"] in (True, "rolled back")
