"""Real sockets: connections that are slow, silent, too many, no HTTP, or go away, and a server that stops."""

import asyncio
import json
import logging
import socket
import threading
import time

import httpx
import numpy as np
import pytest
from numbers_encoder import NumbersEncoder
from served import NEW, listening, opened

from embridge.serve.app import create_app

QUERY = {"model": "new", "input": "1 2 3 4"}


class Slow(NumbersEncoder):
    begun = 0

    def encode(self, items, *, modality, role="document"):
        self.begun += len(items)
        time.sleep(0.3)
        return super().encode(items, modality=modality, role=role)


@pytest.mark.slow
def test_connections_that_send_no_whole_headers_are_closed():
    app = create_app(opened(limits={"header_seconds": 0.2}))
    with listening(app) as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with socket.create_connection(address, 20) as silent, socket.create_connection(address, 20) as slow:
            slow.sendall(b"GET /health HTTP/1.1\r\nHost: loc")
            assert silent.recv(1) == b""
            assert slow.recv(1) == b""
        with httpx.Client(base_url=url) as client:
            assert [client.get("/health").status_code for _ in range(3)] == [200] * 3


@pytest.mark.slow
def test_a_thousand_open_connections_keep_nobody_out():
    with listening(create_app(opened())) as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        idle = [socket.create_connection(address, 20) for _ in range(1_000)]
        try:
            assert httpx.get(f"{url}/health").json() == {"status": "ok"}
            assert httpx.post(f"{url}/v1/embeddings", json=QUERY).status_code == 200
        finally:
            for one in idle:
                one.close()


@pytest.mark.slow
def test_what_was_begun_is_answered_when_the_server_stops():
    """Requests are on their way when the server is told to stop; every one gets its vectors."""
    encoder = Slow(NEW)
    made = opened(encoders={"new": encoder})

    async def asked(url, began):
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            tasks = [asyncio.create_task(client.post("/v1/embeddings", json=QUERY)) for _ in range(4)]
            while encoder.begun + made.batchers["new"].depth < 4:
                await asyncio.sleep(0.01)
            began.set()
            return await asyncio.gather(*tasks)

    began, answers = threading.Event(), []
    with listening(create_app(made)) as url:
        thread = threading.Thread(target=lambda: answers.extend(asyncio.run(asked(url, began))))
        thread.start()
        assert began.wait(30)
    thread.join(30)
    assert [answer.status_code for answer in answers] == [200] * 4
    rows = [json.loads(answer.content)["data"][0]["embedding"] for answer in answers]
    assert np.array_equal(rows, [[1, 2, 3, 4]] * 4)


def answer_to(url, *parts):
    """What comes back over a socket of its own, to the connection's end: status and body."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 20) as client:
        for part in parts:
            client.sendall(part)
        content = b""
        while got := client.recv(65_536):
            content += got
    head, _, body = content.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


@pytest.mark.slow
def test_what_comes_before_any_route_is_refused_in_that_shape_too():
    limits = {"connections": 2, "body_bytes": 1_024, "header_seconds": 1.0, "seconds": 1.0}
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with listening(create_app(opened(limits=limits))) as url:
        status, error = answer_to(url, b"\x16\x03\x01\r\n\r\n")
        assert (status, error["code"]) == (400, "no_http")
        status, error = answer_to(url, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", *[b"a" * 40_000] * 2)
        assert (status, error["code"]) == (431, "too_large")
        status, error = answer_to(url, head + b"Content-Length: 2000000\r\n\r\n", *[b" " * 100_000] * 20)
        assert (status, error["code"]) == (413, "too_large")
        status, error = answer_to(url, head + b"Content-Length: 20\r\nConnection: close\r\n\r\n{")
        assert (status, error["code"]) == (408, "timeout")
        with httpx.Client(base_url=url) as one, httpx.Client(base_url=url) as two, httpx.Client(base_url=url) as three:
            answers = [client.get("/health") for client in (one, two, three)]
            assert [answer.status_code for answer in answers] == [200, 200, 503]
            assert answers[2].json()["error"]["code"] == "overloaded"
            assert answers[2].headers["connection"] == "close"


@pytest.mark.slow
def test_a_client_that_goes_while_it_sends_is_no_error_of_the_server(caplog):
    app = create_app(opened())
    with caplog.at_level(logging.WARNING), listening(app) as url:
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 20) as client:
            client.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
            client.sendall(b"Content-Length: 50\r\n\r\n{")
        while b'status="499"' not in app.metrics.text()[0]:
            time.sleep(0.01)
    assert caplog.records == []
