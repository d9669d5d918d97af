"""Keys, hosts, sizes and times: what gets in."""

import asyncio
import json
import logging
import socket
import struct
import time
import zlib

import httpx
import numpy as np
import pytest
from numbers_encoder import NumbersEncoder
from served import NEW, asking, listening, opened

from embridge.errors import SettingsError
from embridge.serve._keys import read_keys
from embridge.serve.app import create_app
from embridge.settings.reading import checked_settings
from embridge.settings.serve import ServeSettings, load_serve_settings

KEY = "0123456789abcdef"
QUERY = {"model": "new", "input": "1 2 3 4"}


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        (f"Basic {KEY}", 401),
        (KEY, 401),
        (f"Bearer {KEY}x", 401),
        (f"Bearer {KEY}", 200),
        (f"bearer {KEY}", 200),
    ],
)
def test_a_request_brings_one_of_the_keys(header, status):
    ask = asking(keys=[KEY, "another key of the shop"])
    answer = ask.post("/v1/embeddings", QUERY, headers={} if header is None else {"authorization": header})
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert KEY not in answer.text


def test_health_is_open_and_data_are_not():
    ask = asking(keys=[KEY])
    assert [ask("GET", path).status_code for path in ("/health", "/ready", "/state", "/metrics")] == [
        200,
        200,
        401,
        401,
    ]


def test_keys_come_from_a_file_and_a_variable(tmp_path, monkeypatch):
    (tmp_path / "keys").write_text(f"# shop\n\n{KEY}\n")
    monkeypatch.setenv("SHOP_KEYS", "fedcba9876543210, 0000111122223333")
    keys = read_keys(tmp_path / "keys", "SHOP_KEYS")
    assert [keys.admit(f"Bearer {key}") for key in (KEY, "0000111122223333", "# shop")] == [True, True, False]


@pytest.mark.parametrize(
    ("words", "message"), [("", "came none"), ("short\n", "at least 16"), ("a" * 15 + "é", "ASCII")]
)
def test_a_key_that_protects_nothing_is_refused(tmp_path, words, message):
    (tmp_path / "keys").write_text(words)
    with pytest.raises(SettingsError, match=message):
        read_keys(tmp_path / "keys")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "shop.example"])
def test_without_keys_nobody_else_can_reach_it(tmp_path, host):
    with pytest.raises(SettingsError, match="without keys it listens on this machine alone"):
        checked_settings({"upgrade": ".", "host": host}, ServeSettings, folder=tmp_path, where="here")
    assert (
        checked_settings(
            {"upgrade": ".", "host": host, "keys_variable": "KEYS"}, ServeSettings, folder=tmp_path, where="here"
        ).host
        == host
    )


def test_options_stand_in_place_of_the_files(tmp_path):
    (tmp_path / "serve.yaml").write_text("upgrade: .\nport: 1\nstore: lancedb:shop\n")
    settings = load_serve_settings(tmp_path / "serve.yaml", port=2, host=None)
    assert (settings.port, settings.host, settings.store) == (2, "127.0.0.1", f"lancedb:{tmp_path}/shop")
    with pytest.raises(SettingsError, match="without keys"):
        load_serve_settings(tmp_path / "serve.yaml", host="0.0.0.0")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:80", 200),
        ("127.0.0.2", 200),
        ("evil.example", 403),
        ("", 403),
    ],
)
def test_a_name_of_another_site_reaches_no_local_server(host, status):
    assert asking()("GET", "/state", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 200),
        ("http://[::1]:80", 200),
        ("http://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("null", 403),
    ],
)
def test_a_page_of_another_site_writes_nothing_into_a_local_server(origin, status):
    item = {"items": [{"id": "z", "text": "1 2 3 4"}]}
    answer = asking().post("/items", item, headers={"origin": origin})
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]["code"] == "wrong_origin"


def test_a_server_for_others_answers_to_any_name():
    ask = asking(keys=[KEY], host="0.0.0.0", keys_variable="KEYS")
    headers = {"host": "shop.example", "origin": "https://shop.example", "authorization": f"Bearer {KEY}"}
    assert ask("GET", "/state", headers=headers).status_code == 200


def test_a_body_is_refused_by_its_length_and_by_what_comes():
    ask = asking(limits={"body_bytes": 2_000})
    long = {"model": "new", "input": "1 " * 2_000}
    assert ask.post("/v1/embeddings", long).json()["error"]["code"] == "too_large"

    async def parts():
        for _ in range(4):
            yield b" " * 1_000

    dripped = ask("POST", "/v1/embeddings", content=parts())
    assert (dripped.status_code, dripped.json()["error"]["code"]) == (413, "too_large")


class Slow(NumbersEncoder):
    begun = 0

    def encode(self, items, *, modality, role="document"):
        self.begun += len(items)
        time.sleep(0.3)
        return super().encode(items, modality=modality, role=role)


def test_a_request_that_takes_too_long_is_given_up():
    ask = asking(encoders={"new": Slow(NEW)}, limits={"seconds": 0.05})
    answer = ask.post("/v1/embeddings", QUERY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "timeout")
    assert answer.headers["retry-after"] == "1"


class Broken(NumbersEncoder):
    def encode(self, items, *, modality, role="document"):
        raise RuntimeError(f"cannot encode {items} with secret {KEY}")


def test_logs_and_answers_repeat_no_text_and_no_key(caplog):
    ask = asking(encoders={"new": Broken(NEW)}, keys=[KEY])
    with caplog.at_level(logging.DEBUG, logger="embridge"):
        text = "1 2\r\nERROR forged: line"
        headers = {"authorization": f"Bearer {KEY}", "x-forwarded-for": "a\tforged"}
        answer = ask.post("/v1/embeddings", {"model": "new", "input": text}, headers=headers)
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "the server failed on this request; its log says where"
    records = [record.getMessage() for record in caplog.records if record.name.startswith("embridge")]
    assert len(records) == 1
    assert records[0].startswith("POST failed: RuntimeError in ")
    assert not any(word in records[0] for word in (KEY, "forged", "1 2", "\n"))


@pytest.mark.slow
def test_the_web_server_logs_no_text_of_a_failure_either(caplog, capsys):
    with caplog.at_level(logging.DEBUG), listening(create_app(opened(encoders={"new": Broken(NEW)}))) as url:
        answer = httpx.post(f"{url}/v1/embeddings", json=QUERY)
    assert answer.status_code == 500
    assert [record.name for record in caplog.records if "failed: RuntimeError" in record.getMessage()] == [
        "embridge.serve"
    ]
    assert KEY not in caplog.text + capsys.readouterr().err


def test_names_and_addresses_from_outside_make_no_series_and_no_headers():
    ask = asking()
    for path in ("/nothing%0d%0aSet-Cookie:x", "/v1/models/a%0d%0ab", "/items/%0a"):
        answer = ask("DELETE", path)
        assert "set-cookie" not in answer.headers
    ask.post("/v1/embeddings", {"model": 'x"} 1\nforged 2', "input": "1"})
    metrics = ask("GET", "/metrics").text
    assert "forged" not in metrics
    assert "Set-Cookie" not in metrics
    assert 'route="none",status="404"' in metrics or 'status="405"' in metrics


def test_pages_run_nothing_from_elsewhere():
    answer = asking()("GET", "/docs")
    assert "http" not in answer.text.replace("http-equiv", "")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<code>POST /v1/embeddings</code>" in answer.text


def png_of(width, height, *chunks):
    """A file that says it has so many pixels, and has none."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunk(*one) for one in chunks) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [
        png_of(60_000, 60_000),
        png_of(20_000, 20_000, (b"IDAT", zlib.compress(bytes(10)))),
        png_of(10, 10, (b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000), 9))),
    ],
    ids=["more than any", "more than allowed", "text"],
)
def test_images_that_unpack_to_more_than_they_are_are_refused(content):
    import base64

    url = f"data:image/png;base64,{base64.b64encode(content).decode()}"

    class Seeing(NumbersEncoder):
        modalities = frozenset({"text", "image"})

        def encode(self, items, *, modality, role="document"):
            raise AssertionError("an image got in")

    answer = asking(encoders={"new": Seeing(NEW)}).post(
        "/v1/embeddings", {"model": "new", "input": url, "modality": "image"}
    )
    assert answer.status_code == 400


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

    import threading

    began, answers = threading.Event(), []
    with listening(create_app(made)) as url:
        thread = threading.Thread(target=lambda: answers.extend(asyncio.run(asked(url, began))))
        thread.start()
        assert began.wait(30)
    thread.join(30)
    assert [answer.status_code for answer in answers] == [200] * 4
    rows = [json.loads(answer.content)["data"][0]["embedding"] for answer in answers]
    assert np.array_equal(rows, [[1, 2, 3, 4]] * 4)
