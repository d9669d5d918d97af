"""A rollout is killed at random points of each of its commands, in each engine; it goes on as one that was not.

A command begins where it did in a rollout that nobody killed. It is killed at one of the function calls that it makes, and
on demand at some moment, wherever the engine's own code is then. What is there opens; the command is called again, and leads
where it led; now and then the rest of the rollout is run, too.

60 kills of two engines by default; ``EMBRIDGE_KILLS=500`` (``make test-kills``) for so many of all of them.
"""

import gc
import json
import os
import shutil
from collections import Counter
from contextlib import closing
from functools import partial
from importlib import import_module

import numpy as np
import pytest
from kills import Calls, child, killed_at_call, killed_at_moment
from PIL import Image
from planted_model import PROVIDER, SPACES, PlantedModel

from embridge.adapters import Linear
from embridge.adapters.linear import Identity
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.encoders import PROVIDERS
from embridge.jobs.rollout import apply_plan, change_phase, drop_old_rows, filling, open_rollout, plan_rollout
from embridge.provenance import Provenance
from embridge.rollout.journal import entries
from embridge.rollout.plan import write_plan
from embridge.stores import open_store

ON_DEMAND = "EMBRIDGE_KILLS" in os.environ
KILLS = int(os.environ.get("EMBRIDGE_KILLS", "60"))
THEN_THE_REST = 0.2 if ON_DEMAND else 0.1
ROWS = 10
OLD, NEW = SPACES["old"], SPACES["new"]
URLS = {
    "chroma": "chroma:shop/items",
    "faiss": "faiss:shop.faiss",
    "lancedb": "lancedb:shop",
    "postgresql": "",
    "qdrant edge": "qdrant:shop/items?engine=edge",
    "qdrant local": "qdrant:shop/items?engine=local",
}
LIBRARIES = {
    "chroma": "chromadb",
    "faiss": "faiss",
    "lancedb": "lancedb",
    "postgresql": "psycopg",
    "qdrant edge": "qdrant_edge",
    "qdrant local": "qdrant_client",
}
SHARES = dict.fromkeys(URLS, 10) if ON_DEMAND else {"faiss": 35, "postgresql": 25}  # of sixty
NAMES = [f"item {number}" for number in range(ROWS)]
TEXTS = [f"{number} {number * 7 % 10} 1" for number in range(ROWS)]

pytestmark = pytest.mark.slow


def plan(folder):
    write_plan(plan_rollout(folder / "rollout.yaml"), folder / "plan.json")


def applied(until, folder):
    apply_plan(folder / "plan.json", until=until)


def moved(move, folder):
    change_phase(folder / "rollout.yaml", move)


def dropped(folder):
    drop_old_rows(folder / "rollout.yaml")


COMMANDS = [
    ("plan", plan),
    ("apply --until bridged", partial(applied, "bridged")),
    ("apply --until 0.5", partial(applied, "0.5")),
    ("pause", partial(moved, "pause")),
    ("resume", partial(moved, "resume")),
    ("rollback", partial(moved, "rollback")),
    ("apply", partial(applied, "complete")),
    ("rollback at the end", partial(moved, "rollback")),
    ("apply again", partial(applied, "complete")),
    ("complete --drop-old", dropped),
]


class Project:
    """A folder with a store and the settings of its rollout, and copies of it as it was before each command."""

    def __init__(self, folder, engine, server):
        self.folder, self.copies, self.engine, self.server = folder / "project", folder / "copies", engine, server
        self.database = server.database() if engine == "postgresql" else ""
        self.url = server.url(self.database, table="items") if self.database else URLS[engine]

    def make(self):
        """The store before the rollout, and what the commands need."""
        names = {"old": "planted:old", "new": "planted:new"}
        bridge = Linear(NEW, OLD, np.eye(3, 2, dtype=np.float32))
        Upgrade(Identity(NEW, NEW), bridge, Provenance("planted", encoders=names)).save(self.folder / "upgrade")
        of_images = self.engine == "faiss"  # which holds no texts
        if of_images:
            (self.folder / "images").mkdir()
            for name, text in zip(NAMES, TEXTS, strict=True):
                pixels = np.array([[int(number) for number in text.split()]], np.uint8)
                Image.fromarray(pixels).save(self.folder / "images" / f"{name}.png")
        items = "{folder: images}" if of_images else "{text: title}"
        (self.folder / "rollout.yaml").write_text(
            f"store: '{self.url}'\nupgrade: upgrade\nitems: {items}\nbatch_rows: 4\nsample: 2\n"
        )
        rows = Embeddings(tuple(NAMES), PlantedModel("old").encode(TEXTS, modality="text"), OLD)
        with closing(open_store(self.located(), create=True)) as store:
            store.add_space(OLD)
            store.upsert(rows, None if of_images else {"title": TEXTS})

    def located(self):
        kind, _, place = self.url.partition(":")
        return self.url if self.database else f"{kind}:{self.folder / place}"

    def keep(self, number):
        """A copy of what is there now."""
        shutil.copytree(self.folder, self.copies / str(number))
        if self.database:
            self._clone(self.database, f"{self.database} {number}")

    def restore(self, number):
        shutil.rmtree(self.folder)
        shutil.copytree(self.copies / str(number), self.folder)
        if self.database:
            self._clone(f"{self.database} {number}", self.database)

    def _clone(self, one, other):
        with self.server.connect("postgres") as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{other}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{other}" TEMPLATE "{one}"')

    def seen(self):
        """What a reader sees, which raises where that is no one state: rows of both spaces, and where the rollout stands."""
        with closing(open_rollout(self.folder / "rollout.yaml")) as opened:
            store, state, moves = opened.store, opened.state, list(entries(opened.store.documents))
            assert (state is None) == (not moves)
            assert state is None or state == moves[-1].state
            rows = {}
            for space in (OLD, NEW):
                parts = list(store.scan(space)) if space in store.spaces() else []
                pairs = [
                    (name, row.tolist()) for part in parts for name, row in zip(part.ids, part.vectors, strict=True)
                ]
                rows[space.model] = dict(sorted(pairs))
                assert len(pairs) == len(rows[space.model])
        self._expect_right(rows, state)
        standing = None if state is None else [state.phase, state.canary, state.paused, state.old_dropped]
        return {"rows": rows, "standing": standing}

    @staticmethod
    def _expect_right(rows, state):
        for side, model in (("old", OLD.model), ("new", NEW.model)):
            vectors = PlantedModel(side).encode(TEXTS, modality="text").tolist()
            expected = dict(zip(NAMES, vectors, strict=True))
            for name, row in rows[model].items():
                assert row == expected[name], (model, name)
        if state is None or not state.old_dropped:
            assert sorted(rows[OLD.model]) == sorted(NAMES)
        else:
            assert sorted(rows[NEW.model]) == sorted(NAMES)


@pytest.fixture(scope="module", autouse=True)
def cheap():
    """Planted models, and no waiting for galleries that are not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROVIDERS, "planted", PROVIDER)
        patch.setattr(filling, "_FOLLOWED_SECONDS", 0.0)
        yield


@pytest.fixture
def warm(engine):
    """The engine's library in memory, so that no process imports it again, nor copies what nothing changes."""
    import_module(LIBRARIES[engine])
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def uninterrupted(project):
    """What is seen after each command, what calls each makes and how long it takes; the store is kept as it was before each."""
    project.make()
    steps = []
    for number, (_, command) in enumerate(COMMANDS):
        project.keep(number)
        calls = Calls()
        with calls:
            command(project.folder)
        steps.append({"seen": project.seen(), "calls": calls.count, "seconds": calls.seconds})
    return json.dumps(steps)


def again(project, number, rest):
    """What is there after a kill, the command once more, and perhaps the rest of the rollout."""
    project.seen()
    following = []
    for _, command in COMMANDS[number : len(COMMANDS) if rest else number + 1]:
        command(project.folder)
        following.append(project.seen())
    return json.dumps(following)


@pytest.mark.parametrize("engine", sorted(SHARES))
def test_a_killed_command_goes_on_to_the_same_end(engine, warm, tmp_path, request):
    server = request.getfixturevalue("postgres_server") if engine == "postgresql" else None
    project = Project(tmp_path, engine, server)
    project.folder.mkdir()
    steps = json.loads(child(lambda: uninterrupted(project)))
    assert [step["seen"]["standing"][0] for step in steps[1:]][-1] == "complete"
    draw, killed = np.random.default_rng(sorted(URLS).index(engine)), Counter()
    for kill in range(round(KILLS * SHARES[engine] / 60)):
        number = kill % len(COMMANDS)
        step, command = steps[number], partial(COMMANDS[number][1], project.folder)
        project.restore(number)
        if ON_DEMAND and draw.random() < 0.5:
            killed[killed_at_moment(command, step["seconds"] * draw.random())] += 1
        else:
            killed[killed_at_call(command, int(draw.integers(step["calls"])))] += 1
        following = json.loads(child(partial(again, project, number, draw.random() < THEN_THE_REST)))
        for seen, expected in zip(following, steps[number:], strict=False):
            assert seen == expected["seen"], (COMMANDS[number][0], kill)
    assert killed[True] >= 0.7 * killed.total()
