import itertools
import multiprocessing
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import chromadb
import numpy as np
import pytest
from failing_server import failing_server, free_port

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch, StoreError
from embridge.space import Space
from embridge.stores import STORES, Condition, Declaration, FileDocuments, Place, _chroma_listing, open_store
from embridge.stores._chroma_documents import _KEPT
from embridge.stores.chroma import ChromaStore
from embridge.stores.urls import parse_url
from embridge.testing import ForeignTable, check_adopted_store, check_store

DIM = 4
COSINE, L2 = Space("toy", "1", DIM), Space("toy", "1", DIM, "l2")
WORDS = {"cosine": "cosine", "dot": "ip", "l2": "l2"}
NUMBERS = itertools.count()


def vectors(n=20, seed=0):
    return np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)


def rows(n=20, seed=0, space=COSINE):
    return Embeddings(tuple(f"item {i:03d}" for i in range(n)), vectors(n, seed), space)


@pytest.fixture
def url(chroma_server):
    return chroma_server.url(f"items-{next(NUMBERS)}")


@pytest.fixture
def store(url):
    store = open_store(url, create=True)
    store.add_space(COSINE)
    return store


def own_client(url):
    return chromadb.HttpClient("127.0.0.1", int(parse_url(url).location.rpartition(":")[2]))


def foreign(url, n=20, metric="cosine"):
    """A collection that someone made."""
    made = own_client(url).create_collection(
        parse_url(url).table, embedding_function=None, configuration={"hnsw": {"space": WORDS[metric]}}
    )
    made.add(ids=list(rows(n).ids), embeddings=vectors(n), metadatas=[{"n": i, "even": i % 2 == 0} for i in range(n)])
    return made


def filled(locations):
    def make(spaces, location):
        store = open_store(locations(location), create=True)
        for space in spaces:
            store.add_space(space)
        return store

    return make


@pytest.mark.slow
def test_contract(chroma_server):
    assert check_store(filled(lambda location: chroma_server.url(f"c{abs(hash(location))}"))) == []


@pytest.mark.slow
def test_contract_of_collections_that_were_there_before(chroma_server):
    def make(ids, given, columns, metric, location):
        if not isinstance(ids[0], str):
            return None
        name = f"f{abs(hash(location))}"
        made = own_client(chroma_server.url(name)).create_collection(
            name, embedding_function=None, configuration={"hnsw": {"space": WORDS[metric]}}
        )
        records = [
            {name: values[i] for name, values in columns.items() if values[i] is not None} for i in range(len(ids))
        ]
        made.add(ids=ids, embeddings=given, metadatas=records)

        def snapshot():
            held = made.get(ids=ids, include=["embeddings", "metadatas"])
            by_id = zip(held["ids"], held["embeddings"].tolist(), held["metadatas"], strict=True)
            return sorted(by_id, key=lambda row: row[0])

        return ForeignTable(
            lambda documents: ChromaStore(parse_url(chroma_server.url(name)), documents=documents),
            Place(name),
            snapshot,
        )

    assert all("text" not in kind for kind in check_adopted_store(make))


def test_the_record_says_what_it_can_do(store):
    record = STORES["chroma"]
    assert (type(store).__module__, type(store).__name__) == (record.module, record.attribute)
    assert store.capabilities == record.capabilities


def test_a_folder_holds_the_same(tmp_path):
    store = open_store(f"chroma:{tmp_path}/shop", create=True)
    store.add_space(COSINE)
    store.upsert(rows(), {"kind": ["a", "b"] * 10})
    again = open_store(f"chroma:{tmp_path}/shop")
    assert again.spaces() == [COSINE]
    query = rows().take([3])
    assert again.search(query, 1, filter=(Condition("kind", "==", "b"),)).ids == (("item 003",),)
    with pytest.raises(StoreError, match=r"holds no Chroma database \(chroma.sqlite3\)"):
        open_store(f"chroma:{tmp_path / 'elsewhere'}/shop")


def test_adopting_writes_nothing_into_the_collection(url, tmp_path):
    made = foreign(url)
    before = made.get(include=["embeddings", "metadatas", "documents"])
    names = {one.name for one in own_client(url).list_collections()}
    store = open_store(url, declarations=tmp_path / "declared.json")
    store.adopt(Declaration(COSINE, Place(parse_url(url).table)))
    assert store.search(rows().take([3]), 1).ids == (("item 003",),)
    assert {one.name for one in own_client(url).list_collections()} == names
    after = made.get(include=["embeddings", "metadatas", "documents"])
    assert (before["embeddings"] == after["embeddings"]).all()
    assert {key: before[key] for key in ("ids", "metadatas")} == {key: after[key] for key in ("ids", "metadatas")}


def test_a_collection_of_another_metric_is_told_and_scored_by_the_space(url):
    foreign(url, metric="l2")
    store = open_store(url)
    with pytest.warns(UserWarning, match=r"compares by l2, .* by cosine, and its vectors are not of length one"):
        store.adopt(Declaration(COSINE, Place(parse_url(url).table)))
    query = rows().take([3])
    assert store.search(query, 1).scores[0, 0] == pytest.approx(1, abs=1e-5)


def test_documents_are_a_column(url):
    made = foreign(url)
    made.update(ids=["item 004"], embeddings=vectors()[4:5], documents=["a red shoe"])
    store = open_store(url)
    store.adopt(Declaration(COSINE, Place(parse_url(url).table)))
    assert store.column(COSINE, ["item 004", "item 005"], "document") == ["a red shoe", None]
    assert store.search(rows().take([1]), 3, filter=(Condition("document", "<", "b"),)).ids == (("item 004",),)
    assert store.tables()[0].columns == {"document": "text", "even": "true or false", "n": "whole numbers"}


def test_columns_are_payload_whatever_their_names(url):
    foreign(url).update(ids=["item 004"], metadatas=[{"my key": 7, "a.b": "it's", "Größe": True}])
    store = open_store(url)
    store.adopt(Declaration(COSINE, Place(parse_url(url).table)))
    for name, value in {"my key": 7, "a.b": "it's", "Größe": True}.items():
        found = store.search(rows().take([1]), 3, filter=(Condition(name, "==", value),))
        assert found.ids == (("item 004",),), name


def test_rows_without_a_value_meet_no_condition(store):
    store.upsert(rows(), {"kind": [None, "b"] * 10})
    found = store.search(rows().take([0]), 20, filter=(Condition("kind", "!=", "a"),))
    assert sorted(found.ids[0]) == [name for i, name in enumerate(rows().ids) if i % 2]


def test_a_value_is_taken_away_by_none(store):
    store.upsert(rows(), {"kind": ["a"] * 20})
    store.upsert(rows(1), {"kind": [None]})
    assert store.payload(COSINE, ["item 000", "item 001"]) == {"kind": [None, "a"]}


def race(url, start, results):
    documents = open_store(url, create=True).documents
    start.wait()
    results.put(
        [documents.swap("race", None if step == 0 else {"step": step}, {"step": step + 1}) for step in range(5)]
    )


def test_of_two_processes_that_swap_exactly_one_wins(url):
    fork = multiprocessing.get_context("fork")
    start, results = fork.Barrier(2), fork.Queue()
    writers = [fork.Process(target=race, args=(url, start, results)) for _ in range(2)]
    for writer in writers:
        writer.start()
    wins = [results.get(timeout=60) for _ in writers]
    for writer in writers:
        writer.join()
    last = open_store(url, create=True).documents.read("race")["step"]
    assert [sum(each) for each in zip(*wins, strict=True)][:last] == [1] * last
    assert 1 <= last <= 5


def swapping(documents, wins, expected, new):
    wins.append(documents.swap("state", expected, new))


def test_of_threads_that_swap_exactly_one_wins(url):
    clients = [open_store(url, create=True).documents for _ in range(4)]
    for step in range(_KEPT + 2):
        wins = []
        expected = {"step": step} if step else None
        threads = [threading.Thread(target=swapping, args=(one, wins, expected, {"step": step + 1})) for one in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(wins) == [False, False, False, True]
    assert (
        sum("doc.state" in one.name for one in own_client(url).list_collections() if parse_url(url).table in one.name)
        == _KEPT
    )


def test_a_writer_that_was_asleep_does_not_win_with_a_version_that_is_gone(url, monkeypatch):
    documents, other = (open_store(url, create=True).documents for _ in range(2))
    assert documents.swap("state", None, {"step": 0})
    read = documents._versions

    def asleep():
        found = read()
        monkeypatch.setattr(documents, "_versions", read)
        for step in range(_KEPT + 3):
            assert other.swap("state", {"step": step}, {"step": step + 1})
        return found

    monkeypatch.setattr(documents, "_versions", asleep)
    assert not documents.swap("state", {"step": 0}, {"step": "stale"})
    assert other.read("state") == {"step": _KEPT + 3}


def test_a_server_that_starts_again_is_waited_for(chroma_server, store):
    store.upsert(rows())
    chroma_server.stop()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(lambda: [part.ids for part in store.scan(COSINE)])
        chroma_server.start()
        assert sorted(found.result()[0]) == sorted(rows().ids)


def test_a_server_that_goes_and_comes_is_told_in_one_line(chroma_server, store, monkeypatch):
    monkeypatch.setattr("embridge.stores._chroma_client._RESTART_SECONDS", 0.2)
    store.upsert(rows())
    chroma_server.stop()
    try:
        for call in (lambda: store.count(COSINE), lambda: list(store.scan(COSINE)), lambda: store.upsert(rows())):
            with pytest.raises(StoreError, match="cannot be reached") as refusal:
                call()
            assert "\n" not in str(refusal.value)
    finally:
        chroma_server.start()
    assert store.count(COSINE) == 20
    store.upsert(rows(21))
    assert store.search(rows(21).take([20]), 1).ids == (("item 020",),)


def greeting(path, headers):
    return 200, b"hello"


def test_what_is_not_there(url, chroma_server, monkeypatch):
    foreign(url)
    with pytest.raises(StoreError, match="there is no collection 'nothing'; there are "):
        open_store(chroma_server.url("nothing"))
    with pytest.raises(StoreError, match="there is no tenant 'nobody' with a database 'default_database'"):
        open_store(f"{url}?tenant=nobody")
    with pytest.raises(SettingsError, match=r"unknown token; expected \?tenant=NAME&database=NAME"):
        open_store(f"{url}?token=abc")
    with pytest.raises(StoreError, match="cannot be reached"):
        open_store(f"chroma:http://127.0.0.1:{free_port()}/items")
    monkeypatch.setenv("CHROMA_TOKEN", "very secret")
    seen = []

    def refusing(path, headers):
        seen.append(headers.get("x-chroma-token"))
        return 403, b"very secret is no token"

    with (
        failing_server(refusing) as address,
        pytest.raises(StoreError, match=r"refuses access \(403\): set CHROMA_TOKEN") as refusal,
    ):
        open_store(f"chroma:{address}/items")
    assert seen == ["very secret"]
    assert "very secret" not in str(refusal.value)
    with (
        failing_server(greeting) as address,
        pytest.raises(StoreError, match="no Chroma server"),
    ):
        open_store(f"chroma:{address}/items")


def test_a_space_that_another_client_drops(url, store):
    other = open_store(url)
    other.upsert(rows())
    store.drop_space(COSINE)
    with pytest.raises(StoreError, match="there is no collection"):
        other.count(COSINE)
    assert other.spaces() == []
    with pytest.raises(SpaceMismatch):
        other.count(COSINE)


def test_wrong_dims_and_places(url):
    foreign(url)
    store = open_store(url)
    with pytest.raises(StoreError, match=r"holds vectors of 4 numbers, and other@1 .* has 3"):
        store.adopt(Declaration(Space("other", "1", 3), Place(parse_url(url).table)))
    with pytest.raises(StoreError, match="holds no vectors"):
        store.adopt(Declaration(COSINE, Place("another")))
    store.adopt(Declaration(COSINE, Place(parse_url(url).table)))
    with pytest.raises(InvalidInput, match="rows of this store carry"):
        store.upsert(rows(1), {"colour": ["red"]})
    assert isinstance(store.documents.read("declarations"), dict)
    assert not isinstance(store.documents, FileDocuments)


def test_pages_of_ids_come_from_one_reading_until_others_write(store, url, monkeypatch):
    new, read = Space("new", "1", DIM), []
    original = _chroma_listing.ids_in
    monkeypatch.setattr(_chroma_listing, "ids_in", lambda client, name: read.append(name) or original(client, name))
    monkeypatch.setattr(_chroma_listing, "_LEAST_SECONDS", 1_000)
    store.add_space(new)
    store.upsert(rows())
    names = list(rows().ids)
    pages = [store.ids(COSINE, after=names[i - 1] if i else None, limit=5) for i in range(0, 20, 5)]
    assert ([name for page in pages for name in page], len(read)) == (names, 1)
    assert store.missing(new, COSINE, limit=5) == names[:5]
    store.upsert(rows(8, space=new))  # which a page later does not list
    assert store.missing(new, COSINE, after=names[4], limit=5) == names[8:13]
    assert len(read) == 3
    other = open_store(url)
    other.delete([names[13]])
    other.upsert(Embeddings(("item 0135", "zzz"), vectors(2), COSINE))  # one row more than there were
    assert store.missing(new, COSINE, after=names[12], limit=2) == ["item 0135", names[14]]
    assert len(read) == 5
    other.delete([names[15], "zzz"])
    other.upsert(Embeddings(("item 000a", "item 000b"), vectors(2), COSINE))  # as many rows as before
    assert store.missing(new, COSINE, after=names[14], limit=9) == names[16:]
    assert store.missing(new, COSINE, after=names[-1], limit=9) == []
    assert store.missing(new, COSINE, limit=2) == ["item 000a", "item 000b"]


def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(url, chroma_server, monkeypatch):
    monkeypatch.setattr("embridge.stores._chroma_client._BUSY_SECONDS", 0.2)
    foreign(url)
    store = open_store(url)
    chroma_server.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreError, match=r"cannot be reached: timed out"):
            store.tables()
    finally:
        chroma_server.process.send_signal(signal.SIGCONT)
    assert store.tables()[0].rows == 20
