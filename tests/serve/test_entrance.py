"""Keys, hosts, sizes and times: what gets in."""

import asyncio
import json
import logging
import struct
import time
import zlib

import httpx
import pytest
from numbers_encoder import NumbersEncoder
from served import NEW, asking, listening, opened

from embridge.errors import ServiceError, SettingsError
from embridge.serve._keys import read_keys
from embridge.serve.app import create_app
from embridge.serve.server import take_address
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
        assert "in the header Authorization as Bearer KEY" in answer.json()["error"]["message"]
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
    (tmp_path / "keys").write_bytes(f"\ufeff# shop\r\n\r\n{KEY}\r\n".encode())
    monkeypatch.setenv("SHOP_KEYS", "fedcba9876543210, 0000111122223333")
    keys = read_keys(tmp_path / "keys", "SHOP_KEYS")
    assert [keys.admit(f"Bearer {key}") for key in (KEY, "0000111122223333", "# shop")] == [True, True, False]


@pytest.mark.parametrize(
    ("words", "message"),
    [("", "came none"), ("short\n", "at least 16"), ("a" * 15 + "é", "ASCII"), ("a" * 16 + "\x00", "ASCII")],
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


@pytest.mark.parametrize("name", ["authorization", "content-type", "host", "origin"])
def test_a_header_that_can_be_but_one_thing_comes_once(name):
    headers = [("host", "localhost"), ("content-type", "application/json"), ("authorization", f"Bearer {KEY}")]
    headers += [("origin", "http://localhost")]
    app = create_app(opened(keys=[KEY]))

    async def asked(headers):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post("/v1/embeddings", content=json.dumps(QUERY), headers=headers)

    assert asyncio.run(asked(headers)).status_code == 200
    error = asyncio.run(asked([*headers, (name, dict(headers)[name])])).json()["error"]
    assert error["message"] == f"the header {name} came 2 times"


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

    dripped = ask("POST", "/v1/embeddings", content=parts(), headers={"content-type": "application/json"})
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


def test_an_address_that_is_in_use_is_told_of_before_models_are_loaded():
    settings, (taken,) = take_address(ServeSettings(upgrade="upgrade", port=0))
    taken.listen()
    with taken, pytest.raises(ServiceError, match=f"port {settings.port}: Address already in use; name another"):
        take_address(settings)
    with pytest.raises(ServiceError, match=r"cannot listen on nowhere\.invalid"):
        take_address(ServeSettings(upgrade="upgrade", host="nowhere.invalid", keys_variable="KEYS"))


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 0, 1e9])
def test_a_time_without_end_is_no_limit(tmp_path, seconds):
    with pytest.raises(SettingsError, match=r"limits\.seconds"):
        checked_settings({"upgrade": ".", "limits": {"seconds": seconds}}, ServeSettings, folder=tmp_path, where="here")


def test_the_address_is_shown_as_a_browser_takes_it():
    assert opened(host="::1", port=8080).lines()[0] == "serving http://[::1]:8080"
