"""The clients that applications have, against one server behind a socket."""

import asyncio
import base64
import hashlib
import json
import subprocess

import chromadb
import httpx
import numpy as np
import openai
import pytest
import tiktoken
from chromadb.errors import InvalidArgumentError
from langchain_chroma import Chroma
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import OpenAIEmbeddings
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.vector_stores.chroma import ChromaVectorStore
from served import NEW, OLD, listening, opened

from embridge.serve import _tokens
from embridge.serve.app import create_app

pytestmark = pytest.mark.slow  # the clients' libraries take seconds to import

KEY = "0123456789abcdef"
WORDS = ("cat", "dog", "fish", "bird")


class WordsEncoder:
    """Counts words; the old model knows the first two alone."""

    modalities = frozenset({"text"})

    def __init__(self, space):
        self.space = space

    def encode(self, items, *, modality, role="document"):
        return np.array([[text.split().count(word) for word in WORDS[: self.space.dim]] for text in items], np.float32)


@pytest.fixture(scope="module")
def server():
    encoders = {"new": WordsEncoder(NEW), "old": WordsEncoder(OLD)}
    served = opened(encoders=encoders, keys=[KEY], limits={"inputs": 8, "characters": 60, "body_bytes": 4096})
    with listening(create_app(served)) as address:
        yield f"{address}/v1"


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server, api_key=KEY, max_retries=0) as client:
        yield client


def test_openai_gets_vectors_in_the_named_space(client):
    answer = client.embeddings.create(model="new@old", input=["cat bird", "cat dog dog dog"])
    assert np.allclose([one.embedding for one in answer.data], [[1, 0], [0.1**0.5, 0.9**0.5]])
    assert (answer.model, answer.usage.total_tokens) == ("new@old", 0)
    listed = client.embeddings.create(model="new", input="cat bird bird", encoding_format="float", dimensions=4)
    assert listed.data[0].embedding == [1, 0, 0, 2]
    coded = client.embeddings.create(model="new", input="cat bird bird", encoding_format="base64", user="me")
    assert np.frombuffer(base64.b64decode(coded.data[0].embedding), "<f4").tolist() == [1, 0, 0, 2]


def test_openai_lists_the_models(client):
    assert {"new", "old", "new@old"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("new@old:query").owned_by == "embridge"


def test_openai_asks_many_at_once_and_each_gets_its_own(server):
    async def asked():
        async with openai.AsyncOpenAI(base_url=server, api_key=KEY, max_retries=0) as client:
            texts = [f"dog {'fish ' * count}" for count in range(1, 10)]
            answers = await asyncio.gather(*(client.embeddings.create(model="new", input=text) for text in texts))
            return [answer.data[0].embedding for answer in answers]

    assert asyncio.run(asked()) == [[0, 1, count, 0] for count in range(1, 10)]


@pytest.mark.parametrize(
    ("options", "error", "code", "words"),
    [
        ({"model": "gpt"}, openai.NotFoundError, "model_not_found", "there are new, new@old, old"),
        ({"input": ""}, openai.BadRequestError, "invalid_value", "the text is empty"),
        ({"input": []}, openai.BadRequestError, "invalid_value", "came none"),
        ({"input": ["cat"] * 9}, openai.BadRequestError, "invalid_value", "at most 8 at once, came 9"),
        ({"input": "cat " * 16}, openai.BadRequestError, "context_length_exceeded", "at most 60 characters, came 64"),
        ({"input": "cat " * 1200}, openai.APIStatusError, "too_large", "4,096 bytes"),
        ({"dimensions": 2}, openai.BadRequestError, "invalid_value", "has 4 dimensions"),
        ({"encoding_format": "int8"}, openai.BadRequestError, "invalid_value", "encoding_format"),
        ({"extra_body": {"stream": True}}, openai.BadRequestError, "invalid_value", "stream"),
    ],
)
def test_openai_raises_its_own_errors(client, options, error, code, words):
    with pytest.raises(error, match=words) as refused:
        client.embeddings.create(**({"model": "new", "input": "cat"} | options))
    assert (refused.value.code, refused.value.type) == (code, "invalid_request_error")


@pytest.mark.parametrize("key", ["", "wrong", KEY + "0"])
def test_a_wrong_key_is_an_error_of_authentication(server, key):
    with openai.OpenAI(base_url=server, api_key=key or "none", max_retries=0) as client:
        for ask in (client.models.list, lambda: client.embeddings.create(model="new", input="cat")):
            with pytest.raises(openai.AuthenticationError, match="this server wants a key") as refused:
                ask()
            assert refused.value.code == "invalid_api_key"


def langchain(server, model, **options):
    return OpenAIEmbeddings(
        base_url=server, api_key=KEY, model=model, max_retries=0, **({"check_embedding_ctx_length": False} | options)
    )


def hits(store, query):
    return [hit.page_content for hit in store.similarity_search(query, k=2)]


def test_an_application_of_langchain_keeps_its_index(server, tmp_path):
    """It changes the model's name, and goes on searching what it has written, and adding to it."""
    file = str(tmp_path / "index.json")
    store = InMemoryVectorStore(langchain(server, "old"))
    store.add_texts(["cat", "dog", "cat dog"])
    written = hits(store, "dog dog dog cat")
    store.dump(file)
    upgraded = InMemoryVectorStore.load(file, langchain(server, "new@old"))
    assert hits(upgraded, "dog dog dog cat bird") == written == ["dog", "cat dog"]
    upgraded.add_texts(["dog dog dog cat fish"])
    assert hits(upgraded, "dog dog dog cat") == ["dog dog dog cat fish", "dog"]
    with pytest.raises(ValueError, match="columns in X"):  # the new model's own vectors do not fit
        hits(InMemoryVectorStore.load(file, langchain(server, "new")), "dog")


def test_an_application_of_langchain_keeps_its_database(server, tmp_path):
    """The same with a database on disk, which is opened anew under the new model's name."""

    def opened(model):
        database = chromadb.PersistentClient(str(tmp_path))
        by_cosine = {"hnsw": {"space": "cosine"}}
        return Chroma("shop", langchain(server, model), client=database, collection_configuration=by_cosine)

    written = opened("old")
    written.add_texts(["cat", "dog", "cat dog"], ids=["1", "2", "3"])
    before = [(hit.id, hit.page_content) for hit in written.similarity_search("dog dog dog cat", k=2)]
    upgraded = opened("new@old")
    found = upgraded.similarity_search_with_score("dog dog dog cat bird", k=2)
    assert [(hit.id, hit.page_content) for hit, _ in found] == before == [("2", "dog"), ("3", "cat dog")]
    upgraded.add_texts(["dog dog dog cat fish"], ids=["4"])
    assert [hit.id for hit in upgraded.similarity_search("dog dog dog cat", k=2)] == ["4", "2"]
    assert [hit.id for hit in opened("old").similarity_search("dog dog dog cat", k=2)] == ["4", "2"]
    with pytest.raises(InvalidArgumentError, match="dimension of 2, got 4"):  # the new model's own vectors do not fit
        opened("new").similarity_search("dog", k=1)


def test_langchain_sends_tokens_by_default(server, tmp_path, monkeypatch):
    pieces = [*(bytes([byte]) for byte in range(256)), b"ca", b"cat"]
    encoding = tiktoken.Encoding(
        "cl100k_base",
        pat_str=r"\S+|\s+",
        mergeable_ranks={piece: rank for rank, piece in enumerate(pieces)},
        special_tokens={},
    )
    monkeypatch.setitem(tiktoken.registry.ENCODINGS, "cl100k_base", encoding)  # what the client reads
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))  # and the server
    by_default = langchain(server, "new@old", check_embedding_ctx_length=True)
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        by_default.embed_query("cat")
    content = b"".join(base64.b64encode(piece) + b" %d\n" % rank for rank, piece in enumerate(pieces))
    (tmp_path / hashlib.sha1(_tokens._URL.encode()).hexdigest()).write_bytes(content)
    monkeypatch.setattr(_tokens, "_SHA256", hashlib.sha256(content).hexdigest())
    assert by_default.embed_documents(["cat", "dog bird"]) == [[1, 0], [0, 1]]
    assert by_default.embed_query("cat") == [1, 0]


def llama_index(server, model, key=KEY):
    return OpenAIEmbedding(model_name=model, api_base=server, api_key=key, max_retries=0)


def test_an_index_of_llama_index_is_searched_by_the_new_model(server):
    texts = ["cat", "dog", "cat dog"]
    index = VectorStoreIndex([TextNode(text=text) for text in texts], embed_model=llama_index(server, "old"))
    retriever = index.as_retriever(similarity_top_k=2, embed_model=llama_index(server, "new@old"))
    assert [hit.node.text for hit in retriever.retrieve("dog dog dog cat bird")] == ["dog", "cat dog"]


def test_an_index_of_llama_index_in_a_database_is_searched_by_the_new_model(server, tmp_path):
    def index(model):
        database = chromadb.PersistentClient(str(tmp_path))
        collection = database.get_or_create_collection("shop", configuration={"hnsw": {"space": "cosine"}})
        store = ChromaVectorStore(chroma_collection=collection)
        return VectorStoreIndex.from_vector_store(store, embed_model=llama_index(server, model))

    def found(model, query):
        return [hit.node.text for hit in index(model).as_retriever(similarity_top_k=2).retrieve(query)]

    index("old").insert_nodes([TextNode(text=text) for text in ("cat", "dog", "cat dog")])
    assert found("old", "dog dog dog cat") == found("new@old", "dog dog dog cat bird") == ["dog", "cat dog"]
    index("new@old").insert_nodes([TextNode(text="dog dog dog cat fish")])
    assert found("old", "dog dog dog cat") == ["dog dog dog cat fish", "dog"]


def test_llama_index_shows_the_errors_of_openai(server):
    with pytest.raises(openai.NotFoundError, match="'gpt' is not served here"):
        llama_index(server, "gpt").get_text_embedding("cat")
    with pytest.raises(openai.AuthenticationError, match="wants a key"):
        llama_index(server, "new", "wrong").get_query_embedding("cat")
    with pytest.raises(openai.BadRequestError, match="at most 8 at once"):
        llama_index(server, "new").get_text_embedding_batch(["cat"] * 9)


def test_httpx_gets_raw_bytes(server):
    headers = {"authorization": f"Bearer {KEY}", "accept": "application/octet-stream"}
    with httpx.Client(base_url=server, headers=headers) as client:
        answer = client.post("/embeddings", json={"model": "new", "input": ["cat", "bird fish"]})
        assert np.frombuffer(answer.content, "<f4").reshape(2, -1).tolist() == [[1, 0, 0, 0], [0, 0, 1, 1]]
        refused = client.post("/embeddings", content=b'{"model": "new", "input"')
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(("key", "status"), [(KEY, 200), ("wrong", 401)])
def test_curl(server, key, status):
    command = ["curl", "-s", "-w", "\n%{http_code}", "-H", f"Authorization: Bearer {key}", f"{server}/embeddings"]
    body = json.dumps({"model": "new@old:query", "input": "dog bird"})
    done = subprocess.run(
        [*command, "-H", "Content-Type: application/json", "-d", body], capture_output=True, text=True, check=True
    )
    answer, _, code = done.stdout.rpartition("\n")
    assert int(code) == status
    if status == 200:
        assert json.loads(answer)["data"][0]["embedding"] == [0, 1]
    else:
        assert json.loads(answer)["error"]["code"] == "invalid_api_key"
