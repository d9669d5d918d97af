"""A server under mixed load while its rollout goes along and back, again and again, for two seconds.

The benchmark ``serving_soak`` does so for an hour, and looks at the memory.
"""

import random
import threading
import time
from collections import Counter
from dataclasses import replace

import httpx
import numpy as np
import pytest
from served import NEW, OLD, listening, opened

from embridge import Embeddings, open_store
from embridge.rollout import moves
from embridge.rollout.journal import current_state, record_move
from embridge.rollout.state import RolloutState
from embridge.serve.app import create_app

SECONDS = 2.0
ROWS = 200
STEPS = {
    "bridge": lambda state: moves.bridge(state, 0.5),
    "backfill": moves.backfill,
    "pause": moves.pause,
    "resume": moves.resume,
    "roll back": moves.roll_back,
    "prepare again": lambda state: moves.prepare_again(state, replace(state, phase="prepared", canary=0.0)),
}


def vectors(space, count, seed):
    return np.random.default_rng(seed).normal(size=(count, space.dim)).astype(np.float32)


@pytest.fixture
def store(tmp_path):
    store = open_store(f"lancedb:{tmp_path / 'shop'}", create=True)
    names = [f"item {number}" for number in range(ROWS)]
    for space in (OLD, NEW):
        store.add_space(space)
        store.upsert(Embeddings.of(vectors(space, ROWS, space.dim), space, names))
    state = RolloutState(OLD, NEW, "upgrade", "a1b2", canary=0.0)
    assert record_move(
        store.documents, None, state, entry={"move": "prepare", "by": "me", "at_seconds": 0.0, "why": {}}
    )
    yield store
    store.close()


def move_on(documents, ended):
    """The rollout along and back, a move about every tenth of a second."""
    count = 0
    while not ended.wait(0.1):
        state = current_state(documents)
        name = list(STEPS)[count % len(STEPS)]
        entry = {"move": name, "by": "soak", "at_seconds": float(count), "why": {}}
        assert record_move(documents, state, STEPS[name](state), entry=entry)
        count += 1


def one_request(client, draw):
    """Some request of an application."""
    text = " ".join(f"{draw.uniform(-1, 1):.3f}" for _ in range(4))
    kind = draw.random()
    if kind < 0.4:
        return "search", client.post("/search", json={"text": text, "k": 5, "user": str(draw.randrange(9))})
    if kind < 0.5:
        return "search, old client", client.post("/search", json={"text": text, "client": "old"})
    if kind < 0.8:
        model = draw.choice(["new", "old", "new@old"])
        return "embeddings", client.post(
            "/v1/embeddings", json={"model": model, "input": [text] * draw.randrange(1, 9)}
        )
    if kind < 0.9:
        item = {"id": f"item {draw.randrange(ROWS)}", "text": text, "payload": {}}
        return "write", client.post("/items", json={"items": [item]})
    return "state", client.get(draw.choice(["/state", "/ready", "/metrics"]))


def work(url, seed, ended, statuses, per_second):
    draw = random.Random(seed)
    with httpx.Client(base_url=url, timeout=60) as client:
        while not ended.wait(1 / per_second):
            kind, answer = one_request(client, draw)
            statuses[kind, answer.status_code] += 1
            if answer.status_code != 200:
                statuses[answer.text[:300]] += 1


@pytest.mark.slow
def test_nothing_fails_while_the_rollout_moves(store):
    ended, statuses = threading.Event(), Counter()
    with listening(create_app(opened(store))) as url:
        threads = [threading.Thread(target=work, args=(url, seed, ended, statuses, 20)) for seed in range(3)]
        threads.append(threading.Thread(target=move_on, args=(store.documents, ended)))
        for thread in threads:
            thread.start()
        time.sleep(SECONDS)
        ended.set()
        for thread in threads:
            thread.join(60)
    assert {key for key in statuses if not (isinstance(key, tuple) and key[1] == 200)} == set(), statuses
    assert {"search", "embeddings"} <= {kind for kind, _ in statuses}
