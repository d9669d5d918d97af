"""The embeddings API, as its clients see it."""

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from served import OLD, asking

from embridge.encoders._cut_texts import CutTexts, note_cuts


@pytest.fixture(scope="module")
def ask():
    return asking(limits={"inputs": 4, "characters": 50, "image_pixels": 100})


def test_a_text_becomes_the_vector_of_the_model_that_is_named(ask):
    answer = ask.post("/v1/embeddings", {"model": "new", "input": ["1 2 3 4", "5 6 7 8"]})
    assert answer.status_code == 200
    assert [one["embedding"] for one in answer.json()["data"]] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert answer.json()["model"] == "new"
    assert [one["index"] for one in answer.json()["data"]] == [0, 1]


@pytest.mark.parametrize(("name", "expected"), [("new@old", [0.6, 0.8]), ("old", [3, 4]), ("new:query", [3, 4, 0, 2])])
def test_names_say_in_which_space_vectors_lie(ask, name, expected):
    answer = ask.post("/v1/embeddings", {"model": name, "input": "3 4 0 2"})
    assert answer.json()["data"][0]["embedding"] == pytest.approx(expected)


def test_base64_and_raw_bytes_are_float32_to_the_bit(ask):
    numbers = "0.1 1e-30 3.4e38 -2.5"
    expected = np.array(numbers.split(), np.float32)
    body = {"model": "new", "input": numbers}
    coded = ask.post("/v1/embeddings", body | {"encoding_format": "base64"}).json()["data"][0]["embedding"]
    raw = ask.post("/v1/embeddings", body, headers={"accept": "application/octet-stream"})
    listed = ask.post("/v1/embeddings", body).json()["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(coded), "<f4").tobytes() == expected.tobytes()
    assert raw.content == expected.tobytes()
    assert (raw.headers["embridge-rows"], raw.headers["embridge-dim"]) == ("1", "4")
    assert np.array(listed, np.float32).tobytes() == expected.tobytes()


def test_models_are_listed_with_what_they_take(ask):
    listed = {one["id"]: one for one in ask("GET", "/v1/models").json()["data"]}
    assert {"new", "old", "new@old", "new@old:query", "new:document"} <= set(listed)
    assert listed["new@old"]["dimensions"] == OLD.dim
    assert listed["new@old"]["space"] == OLD.id
    assert ask("GET", "/v1/models/new@old:query").json()["role"] == "query"


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({"model": "gpt", "input": "1 2 3 4"}, 404, "model_not_found", "there are new, new@old, old"),
        ({"model": "new", "input": ""}, 400, "invalid_value", "input 0: the text is empty"),
        ({"model": "new", "input": []}, 400, "invalid_value", "came none"),
        ({"model": "new"}, 400, "invalid_value", "either input or messages"),
        ({"model": "new", "input": ["1"] * 5}, 400, "invalid_value", "at most 4 at once, came 5"),
        ({"model": "new", "input": "1 " * 26}, 400, "context_length_exceeded", "at most 50 characters, came 52"),
        ({"model": "new", "input": "1 2 3 4", "dimensions": 2}, 400, "invalid_value", "has 4 dimensions"),
        ({"model": "new", "input": ["1", 4]}, 400, "invalid_value", "input 1: expected a text, came int"),
        ({"model": "new", "input": [None]}, 400, "invalid_value", "expected a text, came NoneType"),
        ({"model": "new", "input": "1 2 3 4", "stream": True}, 400, "invalid_value", "stream"),
        ({"model": "new", "input": "1", "encoding_format": "int8"}, 400, "invalid_value", "encoding_format"),
        ({"model": "new", "input": "a.png", "modality": "image"}, 400, "invalid_value", "data URL"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_the_shape_of_openai(ask, body, status, code, words):
    answer = ask.post("/v1/embeddings", body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (status, code, "invalid_request_error")
    assert words in error["message"]


def test_no_json_and_no_such_address_are_refused_in_that_shape_too(ask):
    assert ask("POST", "/v1/embeddings", content=b"{").json()["error"]["code"] == "invalid_value"
    assert ask("GET", "/v2").json()["error"]["code"] == "no_route"
    assert ask("GET", "/v1/embeddings").status_code == 405


class Pictures:
    """Encodes a picture as the means of its channels, and takes texts of three words."""

    modalities = frozenset({"text", "image"})

    def __init__(self, space):
        self.space = space

    def encode(self, items, *, modality, role="document"):
        if modality == "text":
            long = sum(len(text.split()) > 3 for text in items)
            note_cuts("pictures", CutTexts(long, len(items), 3))
            return np.ones((len(items), self.space.dim), np.float32)
        means = [np.asarray(one.convert("RGB"), np.float32).mean((0, 1)) for one in items]
        return np.pad(np.array(means, np.float32), ((0, 0), (0, self.space.dim - 3)))


@pytest.fixture(scope="module")
def look():
    from served import NEW

    return asking(encoders={"new": Pictures(NEW)}, limits={"image_pixels": 100})


def data_url(size, format="PNG"):
    written = BytesIO()
    Image.new("RGB", size, (10, 20, 30)).save(written, format)
    return f"data:image/{format.lower()};base64,{base64.b64encode(written.getvalue()).decode()}"


@pytest.mark.parametrize(
    "body",
    [
        {"input": [data_url((4, 4))], "modality": "image"},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url((4, 4))}}]}]},
    ],
    ids=["modality", "messages"],
)
def test_images_come_as_data_urls(look, body):
    answer = look.post("/v1/embeddings", {"model": "new"} | body)
    assert answer.json()["data"][0]["embedding"] == [10, 20, 30, 0]


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(look):
    answer = look.post("/v1/embeddings", {"model": "new", "input": data_url((11, 10)), "modality": "image"})
    assert answer.status_code == 400
    assert "11 × 10 pixels, and 100 are allowed" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "/etc/passwd",
        "data:text/html;base64,PGI+",
        "data:image/png;base64,!!!",
        data_url((4, 4))[:-40],
        data_url((4, 4), "TIFF"),
    ],
)
def test_nothing_but_a_whole_image_of_a_known_format_is_taken(look, url):
    assert look.post("/v1/embeddings", {"model": "new", "input": url, "modality": "image"}).status_code == 400


def test_a_text_that_the_model_would_cut_is_refused(look):
    answer = look.post("/v1/embeddings", {"model": "new", "input": ["one two", "one two three four"]})
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert "1 of 2 texts are longer than the 3 tokens" in answer.json()["error"]["message"]


def test_a_model_of_texts_takes_no_images(ask):
    body = {"model": "new", "input": data_url((4, 4)), "modality": "image"}
    assert "new takes text, not image" in ask.post("/v1/embeddings", body).json()["error"]["message"]
