"""Mixed load on a server while its rollout goes along and back, again and again."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx

from embridge.rollout import moves
from embridge.rollout.journal import current_state, record_move

__all__ = ["Load", "put_under"]

_MOVES: dict[str, Callable[[Any], Any]] = {
    "bridge": lambda state: moves.bridge(state, 0.5),
    "backfill": moves.backfill,
    "pause": moves.pause,
    "resume": moves.resume,
    "roll back": moves.roll_back,
    "prepare again": lambda state: moves.prepare_again(state, replace(state, phase="prepared", canary=0.0)),
}


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a server.

    Attributes:
        texts: What queries and items say.
        ids: Items that are written anew.
        clients: How many ask at once.
        per_second: Requests of each.
        move_seconds: Between two moves of the rollout.
    """

    texts: Sequence[str]
    ids: Sequence[str]
    clients: int = 3
    per_second: float = 5.0
    move_seconds: float = 2.0


def put_under(url: str, documents: Any, load: Load, ended: Callable[[], bool]) -> Counter[Any]:
    """Keep a server under load until it has ended.

    Args:
        url: Of the server.
        documents: Of its store, by which the rollout moves.
        load: What is asked.
        ended: Waits for a while; whether that was enough.

    Returns:
        How many answers there were by kind and status, and each message, or error of the connection, of one that failed.
    """
    over, answers = threading.Event(), Counter[Any]()
    threads = [threading.Thread(target=_ask, args=(url, load, seed, over, answers)) for seed in range(load.clients)]
    threads.append(threading.Thread(target=_move, args=(documents, load.move_seconds, over, answers)))
    for thread in threads:
        thread.start()
    try:
        while not ended():
            assert all(thread.is_alive() for thread in threads), f"a part of the load broke: {answers}"
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    return answers


def _ask(url: str, load: Load, seed: int, over: threading.Event, answers: Counter[Any]) -> None:
    draw = random.Random(seed)
    with httpx.Client(base_url=url, timeout=600) as client:
        while not over.wait(1 / load.per_second):
            try:
                kind, answer = _one_request(client, load, draw)
            except httpx.TransportError as error:
                answers[type(error).__name__] += 1
                continue
            answers[kind, answer.status_code] += 1
            if answer.status_code != 200:
                answers[answer.text[:300]] += 1


def _one_request(client: httpx.Client, load: Load, draw: random.Random) -> tuple[str, httpx.Response]:
    """Some request of an application."""
    text, kind = draw.choice(load.texts), draw.random()
    if kind < 0.4:
        return "search", client.post("/search", json={"text": text, "k": 5, "user": str(draw.randrange(9))})
    if kind < 0.5:
        return "search, old client", client.post("/search", json={"text": text, "client": "old"})
    if kind < 0.8:
        body = {"model": draw.choice(["new", "old", "new@old"]), "input": [text] * draw.randrange(1, 9)}
        return "embeddings", client.post("/v1/embeddings", json=body)
    if kind < 0.9:
        items = [{"id": draw.choice(load.ids), "text": text, "payload": {}}]
        return "write", client.post("/items", json={"items": items})
    return "state", client.get(draw.choice(["/state", "/ready", "/metrics"]))


def _move(documents: Any, seconds: float, over: threading.Event, answers: Counter[Any]) -> None:
    count = 0
    while not over.wait(seconds):
        name = list(_MOVES)[count % len(_MOVES)]
        state = current_state(documents)
        entry = {"move": name, "by": "load", "at_seconds": time.time(), "why": {}}
        assert record_move(documents, state, _MOVES[name](state), entry=entry)
        answers["move", 200] += 1
        count += 1
