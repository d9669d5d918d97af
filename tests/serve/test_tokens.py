"""Tokens in the place of text."""

import base64
import hashlib

import pytest
from served import asking

from embridge.serve import _tokens

PIECES = [*(bytes([byte]) for byte in range(256)), b"1 2", b" 3 4"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    return tmp_path / hashlib.sha1(_tokens._URL.encode()).hexdigest()


@pytest.fixture
def planted(cache, monkeypatch):
    """A table of a few tokens, published instead of the real one."""
    content = b"".join(base64.b64encode(piece) + b" %d\n" % rank for rank, piece in enumerate(PIECES))
    cache.write_bytes(content)
    monkeypatch.setattr(_tokens, "_SHA256", hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("given", [[256, 257], [[256, 257]], ["1 2 3 4"]])
def test_tokens_are_read_as_the_text_that_they_are(planted, given):
    answer = asking().post("/v1/embeddings", {"model": "new", "input": given})
    assert [one["embedding"] for one in answer.json()["data"]] == [[1, 2, 3, 4]]


def test_one_text_may_have_more_tokens_than_a_request_texts(planted):
    ask = asking(limits={"inputs": 4, "characters": 8})
    assert ask.post("/v1/embeddings", {"model": "new", "input": list(b"1 2 3 4")}).status_code == 200
    refused = ask.post("/v1/embeddings", {"model": "new", "input": list(b"1 2 3 4 5")})
    assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_special_tokens_and_characters_that_are_cut_in_two(planted):
    assert _tokens.text_of_tokens([*"é".encode(), 100257]) == "é<|endoftext|>"
    assert _tokens.text_of_tokens([0xA9, 65]) == "\ufffdA"


@pytest.mark.parametrize(
    ("given", "words"),
    [([[300]], "the token 300 is none of"), ([[-1]], "the token -1 is none of"), ([[]], "the text is empty")],
)
def test_what_no_text_is_made_of_is_refused(planted, given, words):
    answer = asking().post("/v1/embeddings", {"model": "new", "input": given})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value")
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize("content", [None, b"", b"YQ== 0\n"], ids=["not there", "empty", "another"])
@pytest.mark.parametrize("given", [[17, 4], [[17, 4]]])
def test_without_the_published_table_a_client_is_told_what_to_set(cache, content, given):
    if content is not None:
        cache.write_bytes(content)
    answer = asking().post("/v1/embeddings", {"model": "new", "input": given})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value")
    assert "check_embedding_ctx_length=False" in answer.json()["error"]["message"]
    assert cache.exists() == (content is not None)  # tiktoken itself would replace it from the network
