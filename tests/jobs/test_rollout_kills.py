"""A rollout is killed at random points of each of its commands, in each engine; it goes on as one that was not.

A command begins where it did in a rollout that nobody killed. It is killed at one of the function calls that it makes, and
on demand at some moment, wherever the engine's own code is then. What is there opens; the command is called again, and leads
where it led; now and then the rest of the rollout is run, too.

60 kills of two engines by default; ``EMBRIDGE_KILLS=500`` (``make test-kills``) for so many of all of them.
"""

import gc
import json
import os
from collections import Counter
from functools import partial
from importlib import import_module

import numpy as np
import pytest
from kills import Calls, child, killed_at_call, killed_at_moment
from planted_model import PROVIDER
from planted_rollout import URLS, Project, plan

from embridge.encoders import PROVIDERS
from embridge.jobs.rollout import apply_plan, change_phase, drop_old_rows, filling

ON_DEMAND = "EMBRIDGE_KILLS" in os.environ
KILLS = int(os.environ.get("EMBRIDGE_KILLS", "60"))
THEN_THE_REST = 0.2 if ON_DEMAND else 0.1
LIBRARIES = {
    "chroma": "chromadb",
    "faiss": "faiss",
    "lancedb": "lancedb",
    "postgresql": "psycopg",
    "qdrant edge": "qdrant_edge",
    "qdrant local": "qdrant_client",
}
SHARES = (
    dict.fromkeys(URLS, 10) if ON_DEMAND else {"faiss": 45, "postgresql": 15}
)  # of sixty; a database is copied for each

pytestmark = pytest.mark.slow


def applied(until, folder, again=False):
    apply_plan(folder / "plan.json", until=until, again=again)


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
    ("apply --again", partial(applied, "complete", again=True)),
    ("rollback at the end", partial(moved, "rollback")),
    ("apply --again at the end", partial(applied, "complete", again=True)),
    ("complete --drop-old", dropped),
]


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
