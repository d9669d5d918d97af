"""Bodies that are no JSON, wrong in many places, or hold texts that no model can take."""

import gc
import json

import pytest
from pydantic import ValidationError
from served import asking

from embridge.serve._embeddings import EmbeddingsRequest
from embridge.serve._errors import Refusal
from embridge.serve._search import ItemsRequest, SearchRequest


@pytest.mark.parametrize(
    ("kind", "begin", "part", "end"),
    [
        (ItemsRequest, '{"items": [', "0", "]}"),
        (ItemsRequest, '{"items": [{"id": "a", "text": "1", "payload": {', '"%d": []', "}}]}"),
        (ItemsRequest, '{"items": [{"id": "a", "text": "1", ', '"%d": 0', "}]}"),
        (SearchRequest, '{"vector": [', '""', "]}"),
        (SearchRequest, '{"text": "1", "filter": [', "0", "]}"),
        (SearchRequest, '{"text": "1", "filter": [{"column": "price", "operator": "in", "value": [', "{}", "]}]}"),
        (SearchRequest, '{"text": "1", "filter": [{"column": "price", "operator": "in", "value": [', "0", "]}]}"),
        (EmbeddingsRequest, '{"model": "new", "messages": [', "0", "]}"),
        (EmbeddingsRequest, '{"model": "new", ', '"%d": 0', "}"),
    ],
)
def test_a_body_that_is_wrong_everywhere_is_refused_at_the_first_fault(kind, begin, part, end):
    parts = ", ".join(part % number if "%" in part else part for number in range(10_001))
    with pytest.raises((Refusal, ValidationError)) as caught:
        kind.model_validate(json.loads(begin + parts + end))
    assert isinstance(caught.value, Refusal) or caught.value.error_count() <= 5


@pytest.mark.parametrize(
    "content", ["{", "", "[]", "[" * 100_000, '{"model": %s}' % ("9" * 5_000), '{"model": NaN}', b'{"model": "\xff"}']
)
def test_a_body_that_is_no_json_is_refused_as_such(content):
    answer = asking()("POST", "/v1/embeddings", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == ("invalid_value", None)


@pytest.mark.parametrize("text", ["1 " * 100, " ", "\ud800"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", '{"model": "new", "input": ["%s"]}'),
        ("/v1/embeddings", '{"model": "new", "messages": [{"content": "%s"}]}'),
        ("/search", '{"text": "%s"}'),
        ("/items", '{"items": [{"id": "z", "text": "%s"}]}'),
        ("/dashboard/search", '{"text": "%s"}'),
    ],
)
def test_a_text_that_no_model_can_take_is_refused_wherever_it_comes(path, body, text):
    ask = asking(limits={"characters": 100})
    written = body % text.encode("ascii", "backslashreplace").decode()
    answer = ask("POST", path, content=written, headers={"content-type": "application/json"})
    code = "context_length_exceeded" if len(text) > 100 else "invalid_value"
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/embeddings", {"model": "new", "input": 5}, "input"),
        ("/v1/embeddings", {"model": "new", "input": "1", "dimensions": "4"}, "dimensions"),
        ("/v1/embeddings", {"model": 5, "input": "1"}, "model"),
        ("/search", {"text": "1", "k": "3"}, "k"),
        ("/search", {"text": "1", "k": True}, "k"),
        ("/search", {"vector": ["1", "2"]}, "vector.0"),
        ("/search", {"id": ""}, "id"),
        ("/search", {"text": "1", "filter": [{"column": "price", "value": None}]}, "filter.0.value"),
        ("/items", {"items": [{"id": 5, "text": "1"}]}, "items.0.id"),
        ("/search", {}, None),
    ],
)
def test_a_value_of_another_kind_is_named_and_not_converted(path, body, param):
    error = asking().post(path, body).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_value", param)
    assert "Value error" not in error["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 400),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ({"content-type": "Application/JSON; charset=utf-8"}, 200),
        ({"content-type": "application/vnd.shop+json", "content-encoding": "identity"}, 200),
    ],
)
def test_a_body_is_what_its_headers_say(headers, status):
    content = b'\xef\xbb\xbf{"model": "new", "input": "1 2 3 4"}'
    assert asking()("POST", "/v1/embeddings", content=content, headers=headers).status_code == status


def test_the_description_has_every_body():
    described = asking()("GET", "/openapi.json").json()
    schemas = described["components"]["schemas"]
    for path, key in (("/v1/embeddings", "encoding_format"), ("/search", "filter"), ("/items", "items")):
        body = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert key in schemas[body.rpartition("/")[2]]["properties"]
    assert {"_Condition", "_Item"} <= set(schemas)


@pytest.mark.parametrize(("path", "key", "count"), [("/items", "items", 2_049), ("/search", "vector", 65_537)])
def test_a_list_that_is_too_long_is_refused_before_its_parts_are_looked_at(path, key, count):
    error = asking().post(path, {key: ["no part of this kind"] * count}).json()["error"]
    assert (error["param"], error["message"].partition(",")[0]) == (
        key,
        f"{key}: at most {count - 1:,}".partition(",")[0],
    )
    assert gc.isenabled()
