"""A backfill on a Ray cluster of two machines while others write, with workers, machines and drivers that are lost.

Each run loses one of them at some moment. Nothing is lost, nothing is there twice, and at most one batch of each worker that
is lost is done again: three kills by default, as many as ``EMBRIDGE_KILLS`` says of two stores on demand, and as many of
processes of this machine, which have no machine to lose.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import closing, suppress
from threading import Event, Thread, Timer

import numpy as np
import pytest
from planted_model import PROVIDER, PlantedEngine, PlantedModel
from planted_rollout import NAMES, NEW, OLD, TEXTS, Project, plan

from embridge.embeddings import Embeddings
from embridge.encoders import PROVIDERS
from embridge.jobs.rollout import apply_plan, filling
from embridge.scale import open_engine
from embridge.stores import open_store

pytestmark = pytest.mark.slow
ON_DEMAND = "EMBRIDGE_KILLS" in os.environ
KILLS = int(os.environ.get("EMBRIDGE_KILLS", "3"))
ENGINES = ("lancedb", "postgresql") if ON_DEMAND else ("lancedb",)
PLACES = ("local", "ray") if ON_DEMAND else ("ray",)
LOST = {"ray": ("worker", "machine", "driver"), "local": ("worker", "driver")}
BATCH, PAUSE, EXTRA = 2, 0.05, 6
DRIVER = """
import sys
from planted_model import PROVIDER, PlantedEngine
from embridge.encoders import PROVIDERS
from embridge.jobs.rollout import apply_plan
from embridge.scale import open_engine
PROVIDERS["planted"] = PROVIDER
if __name__ == "__main__":
  with open_engine(sys.argv[1]) as engine:
    apply_plan(sys.argv[2] + "/plan.json", engine=PlantedEngine(engine, lambda _: print("handed", flush=True), sys.argv[3], 0.05))
"""


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setitem(PROVIDERS, "planted", PROVIDER)
    monkeypatch.setattr(filling, "_FOLLOWED_SECONDS", 0.0)


class Appending(Thread):
    """Someone who adds rows of the old model all the while."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.ended, self.names = url, Event(), []

    def run(self):
        with closing(open_store(self.url)) as store:
            for number in range(EXTRA):
                name, text = f"late {number}", f"{number} 3 1"
                vector = PlantedModel("old").encode([text], modality="text")
                store.upsert(Embeddings((name,), vector, OLD), {"title": [text]})
                self.names.append((name, text))
                if self.ended.wait(0.1):
                    return


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ENGINES)
def test_whoever_is_lost_no_row_is_and_none_is_there_twice(kind, place, tmp_path, request):
    cluster = request.getfixturevalue("ray_cluster") if place == "ray" else None
    server = request.getfixturevalue("postgres_server") if kind == "postgresql" else None
    rng = np.random.default_rng(len(kind))
    for kill in range(KILLS):
        project = Project(tmp_path / str(kill), kind, server)
        project.folder.mkdir(parents=True)
        project.make()
        settings = project.folder / "rollout.yaml"
        settings.write_text(settings.read_text().replace("batch_rows: 4", f"batch_rows: {BATCH}"))
        plan(project.folder)
        one_run(project, LOST[place][kill % len(LOST[place])], rng.random(), cluster)


def one_run(project, lost, when, cluster):
    marks, others = project.folder / "marks", Appending(project.located())
    marks.mkdir()
    others.start()
    name = f"ray:{cluster.address}" if cluster else "local:2"
    if lost == "driver":
        drive_and_kill(project.folder, name, marks, when)
    else:
        with open_engine(name) as opened:
            engine = PlantedEngine(opened, folder=marks, pause=PAUSE)
            killing, handed = Timer(when * PAUSE * 2, lambda: lose(lost, engine, cluster)), iter(range(100))
            engine.watch = lambda _: killing.start() if next(handed) == 3 else None  # workers are there by then
            apply_plan(project.folder / "plan.json", engine=engine)
            killing.join()
        if lost == "machine":
            cluster.restore()
    others.join()
    apply_plan(project.folder / "plan.json")  # what came in last, and what a driver left
    expect_whole(project, others.names)
    again = Counter(shard for _, shard in PlantedEngine(None, folder=marks).marks("done")).values()
    assert sum(count - 1 for count in again) <= (1 if lost != "driver" else 2)


def lose(what, engine, cluster):
    if what == "machine":
        cluster.lose()
    else:
        done = {pid for pid, _ in engine.marks("worker")}
        with suppress(ProcessLookupError):
            os.kill(max(done), signal.SIGKILL)


def drive_and_kill(folder, engine, marks, when):
    (folder / "driver.py").write_text(DRIVER)  # processes that it starts read its name
    command = [sys.executable, folder / "driver.py", engine, str(folder), str(marks)]
    with subprocess.Popen(command, stdout=-1, text=True) as driver:
        for _ in range(2 + int(when * 4)):
            driver.stdout.readline()
        driver.send_signal(signal.SIGKILL)


def expect_whole(project, late):
    names, texts = [*NAMES, *(name for name, _ in late)], [*TEXTS, *(text for _, text in late)]
    assert len(late) == EXTRA
    with closing(open_store(project.located())) as store:
        for side, space in (("old", OLD), ("new", NEW)):
            parts = list(store.scan(space))
            held = [(name, row.tolist()) for part in parts for name, row in zip(part.ids, part.vectors, strict=True)]
            expected = dict(zip(names, PlantedModel(side).encode(texts, modality="text").tolist(), strict=True))
            assert sorted(held) == sorted(expected.items())
