"""A backfill by workers: processes of their own that open the store and the model, of which any may be killed."""

import json
import os
import signal
from contextlib import closing

import pytest
from planted_model import PROVIDER, PlantedEngine
from planted_rollout import NAMES, NEW, Project, plan
from typer.testing import CliRunner

from embridge.cli import app
from embridge.encoders import PROVIDERS
from embridge.errors import SettingsError
from embridge.jobs.rollout import apply_plan, filling, open_rollout
from embridge.jobs.rollout._workers import BackfillWorker
from embridge.scale.local import LocalEngine

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setitem(PROVIDERS, "planted", PROVIDER)
    monkeypatch.setattr(filling, "_FOLLOWED_SECONDS", 0.0)


def project_of(folder, engine, server=None):
    project = Project(folder, engine, server)
    project.folder.mkdir(parents=True)
    project.make()
    plan(project.folder)
    return project


def test_workers_fill_as_one_process_does_and_one_that_is_killed_costs_its_batch(tmp_path):
    one, two = project_of(tmp_path / "one", "lancedb"), project_of(tmp_path / "two", "lancedb")
    alone = apply_plan(one.folder / "plan.json").result
    handed = []

    def watch(batch):
        handed.extend(batch.ids)
        if len(handed) == len(NAMES):
            os.kill(engine.marks("began")[0][0], signal.SIGKILL)

    with LocalEngine(2) as pool:
        engine = PlantedEngine(pool, watch, tmp_path, pause=0.1)
        spread = apply_plan(two.folder / "plan.json", engine=engine).result
        assert spread == alone
        assert sorted(handed) == NAMES
        assert len(engine.marks("began")) in (3, 4)
        assert two.seen() == one.seen()
        (two.folder / "rollout.yaml").write_text((two.folder / "rollout.yaml").read_text() + "canary: 0.5\n")
        with pytest.raises(SettingsError, match=r"rollout.yaml says something else where the worker runs"):
            BackfillWorker(two.folder / "rollout.yaml", "another", str(tmp_path))()


def test_a_store_that_one_process_holds_is_refused(tmp_path):
    project = project_of(tmp_path, "qdrant edge")
    with LocalEngine(2) as engine, pytest.raises(SettingsError, match="one process at a time holds such a store"):
        apply_plan(project.folder / "plan.json", engine=engine)
    assert project.seen()["rows"][NEW.model] == {}


def test_the_settings_name_an_engine_and_the_command_line_another(tmp_path):
    project = project_of(tmp_path, "lancedb")
    path = project.folder / "rollout.yaml"
    path.write_text(path.read_text() + "engine: {name: 'ray:nowhere:1', retries: 5}\n")
    with closing(open_rollout(path)) as opened:
        assert opened.settings.engine.opened("local:3").retries == 5
    command = ["apply", str(project.folder / "plan.json"), "--until", "0.5", "--json", "--engine"]
    wrong = CliRunner().invoke(app, [*command, "dask:1"])
    assert (wrong.exit_code, "came dask:1" in wrong.stderr) == (2, True)
    done = CliRunner().invoke(app, [*command, "local"])
    assert json.loads(done.stdout)["backfill"]["rows"] == 5
