"""A store that hangs, a model that two ask at once, and pictures that are too many together: who waits for whom."""

import asyncio
import base64
import os
import socket
import subprocess
import sys
import threading
from io import BytesIO

import httpx
import numpy as np
import pytest
from numbers_encoder import NumbersEncoder
from PIL import Image
from served import NEW, OLD, asking, listening, opened, stocked

from embridge.encoders._cut_texts import CutTexts, note_cuts
from embridge.serve import _galleries
from embridge.serve.app import create_app


class Hanging:
    """A store whose searches wait until they are let go."""

    def __init__(self):
        self._store, self.asked, self.free = stocked(), threading.Semaphore(0), threading.Event()

    def __getattr__(self, name):
        return getattr(self._store, name)

    def search(self, *args, **options):
        self.asked.release()
        assert self.free.wait(30)
        return self._store.search(*args, **options)


def test_a_store_that_hangs_stops_its_requests_and_nothing_else(monkeypatch):
    monkeypatch.setattr(_galleries, "_PATIENCE_SECONDS", 0.01)
    store = Hanging()
    made = opened(store, limits={"seconds": 0.2})
    before = threading.active_count()

    async def run():
        transport = httpx.ASGITransport(create_app(made))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            searches = [asyncio.create_task(client.post("/search", json={"text": "1 2 3 4"})) for _ in range(60)]
            await asyncio.to_thread(store.asked.acquire)
            health = await client.get("/health")
            vectors = await client.post("/v1/embeddings", json={"model": "new", "input": "1 2 3 4"})
            return health, vectors, await asyncio.gather(*searches)

    health, vectors, searches = asyncio.run(run())
    assert (health.status_code, vectors.status_code) == (200, 200)
    assert {answer.status_code for answer in searches} == {503}
    assert threading.active_count() <= before + 3  # the store's, the model's, and asyncio's of this test
    made.close()  # ends, though the store's connection is not back
    store.free.set()


class Watched(NumbersEncoder):
    """Cuts texts at four words, and knows which threads asked it."""

    def __init__(self, space):
        super().__init__(space)
        self.threads = set()

    def encode(self, items, *, modality, role="document"):
        self.threads.add(threading.get_ident())
        note_cuts("watched", CutTexts(sum(len(text.split()) > 4 for text in items), len(items), 4))
        return super().encode(items, modality=modality, role=role)


def test_writes_take_their_turn_at_the_model_and_cut_no_text_either():
    old, new = Watched(OLD), Watched(NEW)
    ask = asking(encoders={"new": new, "old": old})
    assert ask.post("/v1/embeddings", {"model": "old", "input": "1 2 3 4"}).status_code == 200
    assert ask.post("/items", {"items": [{"id": "y", "text": "1 2 3 4"}]}).json() == {"written": 1}
    answer = ask.post("/items", {"items": [{"id": "z", "text": "1 2 3 4 5"}]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert ask.post("/search", {"id": "z"}).status_code == 400
    assert len(old.threads) == 1


class Seeing(NumbersEncoder):
    """Sees how wide a picture is; the first call waits until it is let go."""

    modalities = frozenset({"text", "image"})

    def __init__(self, space):
        super().__init__(space)
        self.asked, self.free = threading.Semaphore(0), threading.Event()

    def encode(self, items, *, modality, role="document"):
        self.asked.release()
        assert self.free.wait(30)
        return np.array([[picture.width, 0, 0, 0] for picture in items], np.float32)


def picture(width):
    file = BytesIO()
    Image.new("L", (width, 10)).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "new", "modality": "image", "input": [picture(10)] * 11}),
        ("/items", {"items": [{"id": str(number), "image": picture(10)} for number in range(11)]}),
        ("/search", {"image": picture(101)}),
        ("/dashboard/search", {"image": picture(101)}),
    ],
)
def test_pictures_that_are_too_many_together_are_refused_before_they_are_decoded(path, body):
    answer = asking(encoders={"new": Seeing(NEW)}, limits={"pixels": 1_000}).post(path, body)
    assert answer.status_code == 400
    assert "pixels together, and 1,000 are allowed" in answer.json()["error"]["message"]


def test_pictures_of_requests_that_are_at_work_count_until_they_are_answered():
    encoder = Seeing(NEW)
    made = opened(encoders={"new": encoder}, limits={"pixels": 1_000})
    body = {"model": "new", "modality": "image", "input": picture(60)}

    async def run():
        transport = httpx.ASGITransport(create_app(made))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            first = asyncio.create_task(client.post("/v1/embeddings", json=body))
            await asyncio.to_thread(encoder.asked.acquire)
            second = await client.post("/v1/embeddings", json=body)
            encoder.free.set()
            return await first, second, await client.post("/v1/embeddings", json=body)

    first, second, third = asyncio.run(run())
    assert first.json()["data"][0]["embedding"] == [60, 0, 0, 0]
    assert (second.status_code, second.json()["error"]["code"]) == (503, "overloaded")
    assert third.status_code == 200
    made.close()


@pytest.mark.slow
def test_a_client_that_reads_no_answer_is_given_up():
    body = b'{"model": "new", "input": [%s]}' % b", ".join([b'"1.2345678 2.3456789 3.4567891 4.5678912"'] * 2048)
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    app = create_app(opened(limits={"seconds": 1.0}))
    with listening(app) as url, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        with pytest.raises(ConnectionError):
            client.sendall((head % len(body) + body) * 200)


@pytest.mark.slow
def test_the_queues_of_all_workers_are_counted_and_none_of_a_worker_that_ended(tmp_path):
    """Prometheus's library chooses its files when it is imported, so this takes a process of its own."""
    program = """
import os, subprocess, sys
from embridge.serve._metrics import Metrics
metrics = Metrics()
metrics.watch("new", lambda: 3)
metrics.count_request("/search", "POST", 200, 0.1)
if len(sys.argv) == 1:
    subprocess.run([sys.executable, __file__, "ends"], check=True)
    waiting = [line for line in metrics.text()[0].decode().splitlines() if line.startswith("embridge_waiting")]
    print(*waiting, sep=";")
"""
    (tmp_path / "program.py").write_text(program)
    (tmp_path / "metrics").mkdir()
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"],
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == 'embridge_waiting_items{side="new"} 3.0\n'
