"""A database that falls silent for a while, in the middle of a backfill and of reads: nothing is lost, nobody waits for ever.

Half a second by default; ``EMBRIDGE_OUTAGE_SECONDS=30`` for a real one.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest
from planted_model import PROVIDER, PlantedModel
from planted_rollout import NAMES, NEW, OLD, Project, plan

from embridge.embeddings import Embeddings
from embridge.encoders import PROVIDERS
from embridge.errors import StoreError
from embridge.jobs.rollout import apply_plan, filling
from embridge.rollout.gallery import Gallery
from embridge.stores import _postgres_sessions, _postgres_silence, open_store

OUTAGE_SECONDS = float(os.environ.get("EMBRIDGE_OUTAGE_SECONDS", "0.5"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the server's processes are found in /proc"),
]


@pytest.fixture
def project(tmp_path, monkeypatch, postgres_server):
    monkeypatch.setitem(PROVIDERS, "planted", PROVIDER)
    monkeypatch.setattr(filling, "_FOLLOWED_SECONDS", 0.0)
    project = Project(tmp_path, "postgresql", postgres_server)
    project.folder.mkdir()
    project.make()
    plan(project.folder)
    apply_plan(project.folder / "plan.json", until="bridged")
    return project


def asked(project, store):
    query = Embeddings.of(PlantedModel("new").encode(["1 2 1"], modality="text"), NEW)
    return Gallery(store, project.folder / "upgrade", follow_seconds=0).search(query, 1).hits.ids


def expect_whole(project):
    assert apply_plan(project.folder / "plan.json").state.phase == "complete"
    rows = project.seen()["rows"]
    assert all(sorted(rows[space.model]) == sorted(NAMES) for space in (OLD, NEW))


def test_an_outage_is_waited_out(project, monkeypatch, postgres_server):
    encoding, encode = Event(), PlantedModel.encode

    def encode_and_say_so(self, items, **options):
        encoding.set()
        return encode(self, items, **options)

    monkeypatch.setattr(PlantedModel, "encode", encode_and_say_so)
    with closing(open_store(project.url)) as store, ThreadPoolExecutor(2) as pool:
        expected = asked(project, store)
        encoding.clear()
        applied = pool.submit(apply_plan, project.folder / "plan.json")
        assert encoding.wait(30)
        with postgres_server.silent():
            read = pool.submit(asked, project, store)
            time.sleep(OUTAGE_SECONDS)
        assert read.result() == expected
        assert applied.result().state.phase == "complete"
    expect_whole(project)


def test_a_silence_that_does_not_end_is_told_and_the_next_apply_goes_on(project, monkeypatch, postgres_server):
    monkeypatch.setattr(_postgres_silence, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(_postgres_sessions, "_RESTART_SECONDS", 0.3)
    monkeypatch.setattr(_postgres_sessions, "_ANSWER_SECONDS", 2)
    with closing(open_store(project.url)) as store:
        expected = asked(project, store)
        with postgres_server.silent(), pytest.raises(StoreError, match=r"cannot be reached: .*; does the server run"):
            asked(project, store)
        assert asked(project, store) == expected
    expect_whole(project)


def test_a_statement_may_take_long_as_long_as_the_server_answers_others(project, monkeypatch):
    monkeypatch.setattr(_postgres_silence, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(_postgres_sessions, "_RESTART_SECONDS", 0.1)
    with closing(open_store(project.url)) as store:
        slept = store._sessions.run(
            lambda connection: connection.execute("SELECT 1, pg_sleep(0.6)").fetchone()[0], what="sleep"
        )
    assert slept == 1
