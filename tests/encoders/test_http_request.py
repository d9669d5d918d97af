"""Services that drip, flood, point elsewhere or cannot be trusted: one line, in time, and without the key."""

import gzip
import json
import ssl
import subprocess
import time
import traceback
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
from embedding_service import serving

from embridge.encoders import LazyEncoder, load
from embridge.encoders import _http_vectors as limits
from embridge.errors import EmbridgeError, ServiceError, SettingsError
from embridge.settings import ModelSettings

KEY = "sk-very-secret-123"
ONES = SimpleNamespace(encode=lambda items, **_: np.ones((len(items), 2), np.float32))


@pytest.fixture
def service():
    with serving(ONES) as running:
        yield running


def encode(service, **options):
    return load(f"http:m@{service.url}", **{"dim": 2, "pause_seconds": 0.0} | options).encode(["a"], modality="text")


def headers(handler, *lines, status=200):
    handler.send_response(status)
    for name, value in lines:
        handler.send_header(name, value)
    handler.end_headers()


def drip(handler, asked):
    headers(handler, ("Content-Length", "100000"))
    for _ in range(40):
        handler.wfile.write(b" ")
        time.sleep(0.05)


def drip_headers(handler, asked):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(40):
        handler.wfile.write(b"X-%d: 1\r\n" % number)
        time.sleep(0.05)


def stay_silent(handler, asked):
    time.sleep(1)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [drip, drip_headers, stay_silent])
def test_a_try_ends_in_time_wherever_it_hangs(service, trouble):
    service.misbehave.append(trouble)
    began = time.monotonic()
    with pytest.raises(ServiceError, match=r"came no whole answer within 0\.2 s$"):
        encode(service, timeout_seconds=0.2, tries=1)
    assert time.monotonic() - began < 1.5
    assert encode(service).shape == (1, 2)


def test_the_deadline_also_ends_a_try(service):
    service.misbehave.extend([stay_silent] * 9)
    with pytest.raises(ServiceError, match=r"no whole answer within 0\.\d+ s.*the deadline of 0\.2 s leaves no time"):
        encode(service, deadline_seconds=0.2)


def compressed(encoding, content):
    def answer(handler, asked):
        headers(handler, ("Content-Encoding", encoding), ("Content-Length", str(len(content))))
        handler.wfile.write(content)

    return answer


RIGHT = json.dumps({"data": [{"index": 0, "embedding": [1.0, 1.0]}]}).encode()


@pytest.mark.parametrize("content", [gzip.compress(RIGHT, mtime=0), zlib.compress(RIGHT)])
def test_a_compressed_answer_is_read(service, content):
    service.misbehave.append(compressed("gzip", content))
    assert encode(service).shape == (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "content", "reason"),
    [
        ("gzip", gzip.compress(b" " * 2_000_000, mtime=0), r"an answer of more than 0\.1 MB, too long"),
        ("deflate", zlib.compress(b" " * 2_000_000), r"an answer of more than 0\.1 MB, too long"),
        ("identity", b" " * 200_000, r"an answer of more than 0\.1 MB, too long"),
        ("br", b"x", "an answer compressed as 'br', which was not asked for"),
        ("gzip, gzip", gzip.compress(gzip.compress(RIGHT, mtime=0), mtime=0), "an answer compressed as 'gzip, gzip'"),
        ("gzip", gzip.compress(RIGHT, mtime=0)[:-9], "a compressed answer that is cut off"),
        ("gzip", gzip.compress(RIGHT, mtime=0) * 2, "a compressed answer that is cut off, or goes on after its end"),
        ("gzip", RIGHT, "an answer that cannot be decompressed"),
    ],
)
def test_bombs_and_damaged_compression_are_refused(service, monkeypatch, encoding, content, reason):
    monkeypatch.setattr(limits, "_PLAUSIBLE_DIM", 100)
    service.misbehave.append(compressed(encoding, content))
    with pytest.raises(ServiceError, match=f"expected 1 vectors, came {reason}"):
        encode(service, tries=1)


def test_a_long_refusal_is_not_read(service):
    service.misbehave.append(lambda handler, _: handler.answer(400, b'{"error": "' + b"x" * 100_000 + b'"}'))
    with pytest.raises(ServiceError, match=r"came status 400$"):
        encode(service)


def test_a_redirect_is_told_and_the_key_goes_nowhere_else(service, monkeypatch):
    monkeypatch.setenv("TOWER_KEY", KEY)
    with serving(ONES) as other:
        target = f"{other.url}/embeddings?token={KEY}"
        service.misbehave.append(lambda handler, _: handler.answer(307, {}, [("Location", target)]))
        message = r"came status 307 to 'http://127.*/v1/embeddings\?\*\*\*': redirects are not followed; name the URL"
        with pytest.raises(ServiceError, match=message):
            encode(service, key_variable="TOWER_KEY")
        assert other.seen == []
    assert len(service.seen) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "1",
    ]
    made += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run(
            [*made, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return folder


def test_a_certificate_is_checked_and_its_authority_can_be_named(certificate, monkeypatch):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with serving(ONES, tls) as service:
        with pytest.raises(ServiceError, match=r"came a certificate that is not trusted \(.*\); .* SSL_CERT_FILE"):
            encode(service)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
        assert encode(service).shape == (1, 2)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "none.pem"))
        with pytest.raises(SettingsError, match=r"SSL_CERT_FILE.*cannot be used"):
            encode(service)


def test_https_to_a_service_without_tls_is_told(service):
    url = service.url.replace("http:", "https:")
    with pytest.raises(ServiceError, match=r"came no TLS \(.*\); does it speak http:// there\?$"):
        load(f"http:m@{url}", dim=2).encode(["a"], modality="text")


def test_a_host_without_an_address_is_told_at_once():
    with pytest.raises(ServiceError, match=r"came no address of that host \(.*\); check its name$"):
        load("http:m@http://no-such-host.invalid/v1", dim=2, tries=1).encode(["a"], modality="text")


@pytest.mark.parametrize("proxy", ["ftp://me:hush@proxy:1", "http://me:hush@proxy:port"])
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(service, monkeypatch, proxy):
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(SettingsError, match=r"HTTP_PROXY.*cannot be used") as caught:
        encode(service)
    assert "hush" not in str(caught.value)


def test_a_proxy_that_is_not_there_is_told(service, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://me:hush@127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ServiceError, match="came ConnectError: ") as caught:
        encode(service, tries=1)
    assert "hush" not in "".join(traceback.format_exception(caught.value))


def echo_in_header(handler, asked):
    handler.wfile.write(f"HTTP/1.1 200 OK\r\n{handler.headers['Authorization']}\r\n\r\n".encode())
    handler.close_connection = True


def echo_in_body(status):
    return lambda handler, _: handler.answer(
        status, {"error": f"no:\x1b {handler.headers['Authorization']} at http://u:{KEY}@h"}
    )


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [echo_in_header, echo_in_body(401), echo_in_body(200), echo_in_body(503)])
def test_no_echo_shows_the_key(service, monkeypatch, caplog, trouble):
    monkeypatch.setenv("TOWER_KEY", KEY)
    caplog.set_level("INFO")
    service.misbehave.append(trouble)
    with pytest.raises(ServiceError, match="expected 1 vectors, came ") as caught:
        encode(service, key_variable="TOWER_KEY", tries=1)
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY not in shown + caplog.text
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["http:m@https://me:hush@host/v1", "http:m@https://host/v1?api_key=hush", "https://me:hush@host"]
)
@pytest.mark.parametrize("use", [load, LazyEncoder, ModelSettings.model_validate])
def test_a_name_with_a_secret_is_refused_before_anything_repeats_it(name, use):
    with pytest.raises((EmbridgeError, ValueError), match=r"without user, password|is named PROVIDER:MODEL") as caught:
        use(name)
    assert "hush" not in str(getattr(caught.value, "errors", lambda: "")() or caught.value).replace(name, "")
