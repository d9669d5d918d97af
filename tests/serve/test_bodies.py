"""Bodies that are no JSON, wrong in many places, or hold texts that no model can take."""

import pytest
from fastapi.exceptions import RequestValidationError
from served import asking


@pytest.mark.parametrize(
    ("path", "begin", "part", "end"),
    [
        ("/items", '{"items": [', "0", "]}"),
        ("/items", '{"items": [{"id": "a", "text": "1", "payload": {', '"%d": []', "}}]}"),
        ("/items", '{"items": [{"id": "a", "text": "1", ', '"%d": 0', "}]}"),
        ("/search", '{"vector": [', '""', "]}"),
        ("/search", '{"text": "1", "filter": [', "0", "]}"),
        ("/search", '{"text": "1", "filter": [{"column": "price", "operator": "in", "value": [', "{}", "]}]}"),
        ("/search", '{"text": "1", "filter": [{"column": "price", "operator": "in", "value": [', "0", "]}]}"),
        ("/v1/embeddings", '{"model": "new", "messages": [', "0", "]}"),
        ("/v1/embeddings", '{"model": "new", ', '"%d": 0', "}"),
    ],
)
def test_a_body_that_is_wrong_everywhere_is_refused_at_the_first_fault(path, begin, part, end, monkeypatch):
    counts = []
    errors = RequestValidationError.errors
    monkeypatch.setattr(
        RequestValidationError, "errors", lambda error: counts.append(len(errors(error))) or errors(error)
    )
    parts = ", ".join(part % number if "%" in part else part for number in range(10_001))
    answer = asking()("POST", path, content=begin + parts + end, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert max(counts, default=1) <= 5


@pytest.mark.parametrize("content", ["{", "[" * 100_000, '{"model": %s}' % ("9" * 5_000), b'{"model": "\xff"}'])
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
