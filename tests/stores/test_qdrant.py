"""Qdrant: the engine and the client's local mode in folders, and the client's calls to a server.

There is no server to be had here: see tests/support/qdrant_places.py for what stands for one.
"""

import json
import os
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import numpy as np
import pytest
import qdrant_edge
from failing_server import failing_server, free_port
from qdrant_client import QdrantClient, models
from qdrant_places import edge_shard, foreign, memory_client, own, server

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch, StoreError
from embridge.space import Space
from embridge.stores import Condition, Declaration, FileDocuments, MemoryStore, Place, open_store
from embridge.stores._qdrant_documents import DOCUMENTS, ServerDocuments
from embridge.stores._qdrant_engine import point_ids
from embridge.testing import check_adopted_store, check_store

SPACE = Space("toy", "1", 4)
ROWS = Embeddings.of(np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32), SPACE)
PAYLOADS = [{"number": i, "mixed": "a" if i % 2 else i, "tags": ["a", i], "deep": {"a": i}} for i in range(60)]
RAW = [(i, vector, payload) for i, (vector, payload) in enumerate(zip(ROWS.vectors.tolist(), PAYLOADS, strict=True))]
NO_TEXTS = ["ids that are text", "ids that are whole numbers"]


def adopted(folder, distance="Cosine", space=SPACE, **options):
    edge_shard(folder, "v", 4, distance, RAW, **options).close()
    store = open_store(f"qdrant:{folder}/items")
    store.adopt(Declaration(space, Place("items", "v")))
    return store


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["edge", "server 1.18", "server 1.15"])  # local mode: as in memory, with a slow disk
def test_contract(kind):
    assert check_store(own(kind)) == []


def test_a_folder_of_local_mode_holds_what_was_written(tmp_path):
    store = own("local")([SPACE], tmp_path)
    store.upsert(ROWS.take(range(6)), {"number": list(range(6))})
    assert store.swap_state(None, {"step": 1})
    store.close()
    again = own("local")([], tmp_path)
    assert (again.spaces(), again.count(SPACE), again.read_state()) == ([SPACE], 6, {"step": 1})
    assert again.search(ROWS.take([4]), 1, filter=(Condition("number", ">", 3),)).ids == (("4",),)
    assert again.payload(SPACE, ["5", "0"]) == {"number": [5, 0]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "vector"), [("edge", ""), ("edge", "v"), ("local", ""), ("server 1.18", "v"), ("server 1.15", "v")]
)
def test_contract_of_adopted_collections(kind, vector):
    assert check_adopted_store(foreign(kind, vector)) == NO_TEXTS


@pytest.mark.parametrize(
    ("answered", "message"),
    [
        (
            (401, b'{"status": {"error": "Invalid API key secret-key"}}'),
            r"refuses: Invalid API key \*\*\*; set QDRANT_API",
        ),
        ((403, b"Forbidden"), "refuses: Forbidden; set QDRANT_API_KEY"),
        ((503, b"upstream\n down"), "answers 503: upstream down$"),
        ((200, b"<html>"), "does not answer as Qdrant does"),
        ((200, b"{}"), "does not answer as Qdrant does"),
        (None, "cannot be reached: Server disconnected"),
    ],
)
def test_a_server_that_fails_is_one_line_without_the_key(answered, message):
    with failing_server(lambda *_: answered) as url, pytest.raises(StoreError, match=message) as caught:
        open_store(f"qdrant:{url}/items?api_key=secret-key")
    assert "\n" not in str(caught.value)
    assert "secret-key" not in str(caught.value)


def test_a_server_that_is_not_there():
    with pytest.raises(StoreError, match=r"cannot be reached: .*refused; is the server running"):
        open_store(f"qdrant:http://127.0.0.1:{free_port()}/items")


def test_a_server_that_is_late():
    waited = Event()
    with failing_server(lambda *_: waited.wait(5)) as url:
        with pytest.raises(StoreError, match="cannot be reached: timed out"):
            open_store(f"qdrant:{url}/items?timeout=1")
        waited.set()


def test_a_read_is_asked_again_where_the_connection_broke_and_names_what_is_there(monkeypatch):
    monkeypatch.setenv("QDRANT_API_KEY", "of-the-environment")
    answers = {
        "/": {"title": "qdrant", "version": "1.17.1"},
        "/aliases": {"result": {"aliases": []}},
        "/collections/items/exists": {"result": {"exists": False}},
        "/collections": {"result": {"collections": [{"name": "shop"}]}},
    }
    asked = []

    def answer(path, headers):
        asked.append((path, headers["api-key"]))
        return None if len(asked) % 2 else (200, json.dumps(answers[path]).encode())

    with failing_server(answer) as url, pytest.raises(StoreError, match="no collection 'items'; there are: shop"):
        open_store(f"qdrant:{url}/items")
    assert asked == [(path, "of-the-environment") for path in answers for _ in range(2)]


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("qdrant:{0}/nowhere/items", StoreError, "nowhere does not exist"),
        ("qdrant:{0}/file/items", StoreError, "file is a file"),
        ("qdrant:{0}/items", StoreError, "holds neither a folder of qdrant-client"),
        ("qdrant:{0}/items?engine=edge", StoreError, "holds no collection 'items'; there are: none"),
        ("qdrant:{0}/items?engine=other", SettingsError, "engine is local or edge"),
        ("qdrant:{0}/items?key=1", SettingsError, "options are api_key, engine, timeout"),
        ("qdrant:http://h/items?timeout=soon", SettingsError, "timeout is a whole number of seconds"),
        ("qdrant:ftp://h/items", SettingsError, "is no address of a server"),
    ],
)
def test_urls_that_lead_nowhere(url, error, message, tmp_path):
    (tmp_path / "file").touch()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=message):
        open_store(url.format(tmp_path))
    assert sorted(tmp_path.iterdir()) == before


def test_a_name_that_qdrant_refuses(tmp_path):
    with pytest.raises(StoreError, match="is no collection of Qdrant"):
        open_store(f'qdrant:{tmp_path}/a"b', create=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the client leaves its lock file open
def test_a_folder_that_another_client_has_open(tmp_path):
    shard = edge_shard(tmp_path / "edge", "v", 4, "Dot", RAW)
    with pytest.raises(StoreError, match="another process has it open"):
        open_store(f"qdrant:{tmp_path}/edge/items")
    shard.close()
    client = QdrantClient(path=str(tmp_path / "local"))
    with pytest.raises(StoreError, match=r"already accessed by another .*close the other program"):
        open_store(f"qdrant:{tmp_path}/local/items")
    client.close()


def test_a_folder_is_let_go_of_with_its_last_store(tmp_path):
    first, second = (open_store(f"qdrant:{tmp_path}/items?engine=edge", create=True) for _ in range(2))
    first.add_space(SPACE)
    first.close()
    assert second.count(SPACE) == 0
    with pytest.raises(StoreError, match="is closed"):
        first.count(SPACE)
    second.close()
    assert qdrant_edge.EdgeShard.load(str(tmp_path / "items")).info().points_count == 0


def test_ids_of_text_stand_in_the_payload_under_a_uuid_of_theirs(tmp_path):
    store = own("edge")([SPACE], tmp_path)
    rows = ROWS.take([0, 1]).with_vectors(ROWS.vectors[:2], SPACE)
    store.upsert(Embeddings(("größe", "7"), rows.vectors, SPACE))
    store.close()
    records, _ = qdrant_edge.EdgeShard.load(str(tmp_path / "items")).scroll(
        qdrant_edge.ScrollRequest(with_payload=True)
    )
    assert {record.payload["embridge_id"]: record.id for record in records} == {
        name: uuid.uuid5(uuid.NAMESPACE_OID, name) for name in ("größe", "7")
    }


def test_rows_of_others_in_a_collection_of_ours_are_found_by_their_own_ids(tmp_path):
    store = own("edge")([SPACE], tmp_path)
    store.upsert(ROWS.take([0, 1]))
    store.close()
    shard = qdrant_edge.EdgeShard.load(str(tmp_path / "items"))
    point = qdrant_edge.Point(77, {f"embridge_{SPACE.id}": [1.0, 0, 0, 0]}, {})
    shard.update(qdrant_edge.UpdateOperation.upsert_points([point]))
    shard.close()
    store = own("edge")([], tmp_path)
    assert sorted(store.ids(SPACE, limit=9)) == ["0", "1", "77"]
    assert store.fetch(SPACE, ["77", "0"]).ids == ("77", "0")
    store.delete(["77"])
    assert store.count(SPACE) == 2


def test_the_payload_key_of_ids_is_taken(tmp_path):
    with pytest.raises(InvalidInput, match="'embridge_id' holds the ids of the rows"):
        own("edge")([SPACE], tmp_path).upsert(ROWS.take([0]), {"embridge_id": ["a"]})


@pytest.mark.parametrize("name", ["a", "07", "-1", str(1 << 64), "{12345678-1234-5678-1234-567812345678}", "١"])
def test_ids_that_an_adopted_collection_cannot_hold(name, tmp_path):
    store = adopted(tmp_path)
    assert point_ids(name, own=False) == []
    with pytest.raises(InvalidInput, match="ids of items are whole numbers of 64 bits without a sign, or UUIDs"):
        store.upsert(Embeddings((name,), ROWS.vectors[:1], SPACE))
    assert len(store.fetch(SPACE, [name])) == 0


def test_the_largest_id_is_one():
    assert point_ids(str((1 << 64) - 1), own=False) == [(1 << 64) - 1]


def test_lists_are_no_payload_but_columns_and_meet_no_condition(tmp_path):
    store = adopted(tmp_path)
    assert set(store.payload(SPACE, ["3"])) == {"number", "mixed"}
    assert store.column(SPACE, ["3", "nobody"], "tags") == [["a", 3], None]
    assert store.column(SPACE, ["4"], "deep") == [{"a": 4}]
    with pytest.raises(InvalidInput, match="no column 'unknown'"):
        store.column(SPACE, ["3"], "unknown")
    with pytest.raises(InvalidInput, match=r"no payload column 'tags'; there are \['mixed', 'number'\]"):
        store.search(ROWS.take([0]), 3, filter=(Condition("tags", "==", "a"),))


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        (Condition("mixed", "==", "a"), 30),
        (Condition("mixed", "<", "b"), 30),
        (Condition("mixed", "!=", "a"), 0),
        (Condition("mixed", "<", 10), 5),
        (Condition("mixed", "!=", 10), 29),
        (Condition("mixed", "in", ("a", "b")), 30),
    ],
)
def test_a_key_with_values_of_two_kinds_is_compared_with_those_of_one(condition, count, tmp_path):
    assert len(adopted(tmp_path).search(ROWS.take([0]), 60, filter=(condition,)).ids[0]) == count


def test_a_filter_that_few_rows_meet_asks_until_it_has_them_all(tmp_path):
    hits = adopted(tmp_path).search(
        ROWS.take([0]), 3, filter=(Condition("mixed", "<", "a "), Condition("number", ">", 50))
    )
    assert hits.ids == (tuple(str(i) for i in map(int, hits.ids[0]) if i % 2 and i > 50),)
    assert len(hits.ids[0]) == 3


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_scores_of_a_quantised_collection_are_those_of_its_vectors(metric, tmp_path):
    space = Space("toy", "1", 4, metric)
    scalar = qdrant_edge.ScalarQuantizationConfig(type=qdrant_edge.ScalarType.Int8)
    distance = {"cosine": "Cosine", "dot": "Dot", "l2": "Euclid"}[metric]
    store = adopted(tmp_path, distance, space, quantization_config=scalar)
    reference = MemoryStore(space)
    rows = ROWS.with_vectors(ROWS.vectors, space)
    reference.upsert(rows)
    expected, actual = (each.search(rows.take([5]), 3) for each in (reference, store))
    assert actual.ids == expected.ids
    np.testing.assert_allclose(actual.scores, expected.scores, atol=1e-5)


def test_another_distance_than_the_metric_is_told_and_scored_by_the_metric(tmp_path):
    edge_shard(tmp_path, "v", 4, "Dot", RAW).close()
    store = open_store(f"qdrant:{tmp_path}/items")
    with pytest.warns(UserWarning, match="compares the vectors 'v' by dot, the space by cosine"):
        store.adopt(Declaration(SPACE, Place("items", "v")))
    assert not store.capabilities.exact
    reference = MemoryStore(SPACE)
    reference.upsert(ROWS)
    expected, actual = (each.search(ROWS.take(range(5)), 3) for each in (reference, store))
    assert actual.ids == expected.ids
    np.testing.assert_allclose(actual.scores, expected.scores, atol=1e-5)


def test_payload_keys_may_have_any_letters_but_those_that_no_path_has(tmp_path):
    client = QdrantClient(path=str(tmp_path))
    client.create_collection("items", models.VectorParams(size=4, distance="Cosine"))
    payload = {"my key": 7, "a.b[0]": "x", "é": True, "": "y", 'a"b': 1}
    client.upsert("items", [models.PointStruct(id=i, vector=[1, i, 0, 0], payload=payload) for i in (1, 2)])
    client.close()
    store = open_store(f"qdrant:{tmp_path}/items")
    store.adopt(Declaration(SPACE, Place("items")))
    columns = store.payload(SPACE, ["1"])
    assert columns == {"my key": [7], "a.b[0]": ["x"], "é": [True]}
    assert sum(len(part) for part, _ in store.scan_with_payload(SPACE, list(columns))) == 2
    filters = tuple(Condition(name, "==", value) for name, (value,) in columns.items())
    assert len(store.search(ROWS.take([0]), 9, filter=filters).ids[0]) == 2
    with pytest.raises(InvalidInput, match="Qdrant finds no payload key whose name is empty or has a double quote"):
        store.search(ROWS.take([0]), 9, filter=(Condition('a"b', "==", 1),))


def test_vectors_that_no_space_can_have_are_described_and_refused(tmp_path):
    client = QdrantClient(path=str(tmp_path))
    several = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    vectors = {
        "plain": models.VectorParams(size=4, distance="Cosine"),
        "city": models.VectorParams(size=4, distance="Manhattan"),
        "many": models.VectorParams(size=4, distance="Cosine", multivector_config=several),
    }
    client.create_collection("items", vectors, sparse_vectors_config={"words": models.SparseVectorParams()})
    client.close()
    store = open_store(f"qdrant:{tmp_path}/items")
    (table,) = store.tables()
    assert set(table.vectors) == {"plain"}
    assert table.columns == {
        "city": "vectors: its distance is Manhattan",
        "many": "vectors: a point has several vectors of it",
        "words": "vectors: it is sparse",
    }
    for name in ("city", "many", "words"):
        with pytest.raises(StoreError, match="of no use here"):
            store.adopt(Declaration(SPACE, Place("items", name)))
    with pytest.raises(StoreError, match="no vectors 'none' in items; there are 'plain', 'city', 'many', 'words'"):
        store.adopt(Declaration(SPACE, Place("items", "none")))
    with pytest.raises(StoreError, match="ids of their own; leave the id column 'sku' out"):
        store.adopt(Declaration(SPACE, Place("items", "plain", "sku")))
    with pytest.raises(StoreError, match="this store is the collection 'items', not 'others'"):
        store.adopt(Declaration(SPACE, Place("others", "plain")))


def test_a_graph_makes_search_approximate_and_is_told(tmp_path):
    vectors = np.random.default_rng(1).normal(size=(2_000, 32)).astype(np.float32)
    options = {"optimizers": qdrant_edge.EdgeOptimizersConfig(indexing_threshold=1)}
    shard = edge_shard(tmp_path, "v", 32, "Dot", [(i, v, {}) for i, v in enumerate(vectors.tolist())], **options)
    assert shard.optimize()
    shard.close()
    space = Space("toy", "1", 32, "dot")
    store = open_store(f"qdrant:{tmp_path}/items")
    store.adopt(Declaration(space, Place("items", "v")))
    assert not store.capabilities.exact
    (index,) = store.indexes(space)
    assert (index.kind, index.metric, index.rows, index.rows_outside) == ("hnsw", "dot", 2_000, 0)
    queries = Embeddings.of(vectors[:5], space)
    hits = store.search(queries, 10)
    exact = vectors[:5] @ vectors.T
    for i, (ids, scores) in enumerate(zip(hits.ids, hits.scores, strict=True)):
        np.testing.assert_allclose(scores, exact[i][list(map(int, ids))], rtol=1e-4)
        assert len(set(map(int, ids)) & set(np.argsort(-exact[i])[:10].tolist())) >= 8


def test_a_declaration_in_a_file_leaves_a_server_as_it_is(tmp_path):
    table = foreign("server 1.18", "v")(list(range(5)), ROWS.vectors[:5], {}, "cosine", tmp_path)
    before = table.snapshot()
    store = table.open(FileDocuments(tmp_path / "declared.json"))
    store.adopt(Declaration(SPACE, table.place))
    list(store.scan(SPACE))
    store.search(ROWS.take([0]), 2)
    assert memory_client(tmp_path).get_collections().collections[0].name == "items"
    assert len(memory_client(tmp_path).get_collections().collections) == 1
    assert table.snapshot() == before


def test_an_alias_is_followed(tmp_path):
    client = QdrantClient(path=str(tmp_path))
    client.create_collection("items_2", models.VectorParams(size=4, distance="Cosine"))
    create = models.CreateAlias(collection_name="items_2", alias_name="items")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])
    client.close()
    store = open_store(f"qdrant:{tmp_path}/items")
    store.adopt(Declaration(SPACE, Place("items_2")))
    store.close()
    assert open_store(f"qdrant:{tmp_path}/items_2").spaces() == [SPACE]


def test_an_older_server_has_a_collection_beside_for_each_new_space(tmp_path):
    store = own("server 1.15")([SPACE], tmp_path)
    other = Space("toy", "2", 3)
    store.add_space(other)
    assert store.declaration(other).place.table == f"items__embridge_{other.id}"
    assert (store.capabilities.shared_rows, store.capabilities.atomic_state) == (False, False)
    with pytest.raises(StoreError, match=r"cannot drop one vector of a collection; version 1\.18"):
        store.drop_space(SPACE)
    store.drop_space(other)
    assert sorted(one.name for one in memory_client(tmp_path).get_collections().collections) == [DOCUMENTS, "items"]


def test_of_many_writers_of_a_document_one_wins(tmp_path):
    held = [ServerDocuments(server(tmp_path), "items") for _ in range(8)]
    state = None
    for step in range(4):
        barrier = Barrier(len(held))

        def swap(writer, state=state, step=step, barrier=barrier):
            barrier.wait()
            return held[writer].swap("state", state, {"writer": writer, "step": step})

        with ThreadPoolExecutor(len(held)) as pool:
            won = list(pool.map(swap, range(len(held))))
        assert sum(won) == 1
        state = {"writer": won.index(True), "step": step}
        assert held[0].read("state") == state


def test_a_writer_that_was_overtaken_at_once_knows_that_it_had_won(tmp_path, monkeypatch):
    first, second = (ServerDocuments(server(tmp_path), "items") for _ in range(2))
    assert first.swap("state", None, {"step": 0})
    change = type(first._engine).change_if

    def overtaken(engine, *arguments):
        change(engine, *arguments)
        if engine is first._engine:
            assert second.swap("state", {"step": 1}, {"step": 2})

    monkeypatch.setattr(type(first._engine), "change_if", overtaken)
    assert first.swap("state", {"step": 0}, {"step": 1})
    assert second.read("state") == {"step": 2}


def test_documents_that_someone_damaged_are_told(tmp_path):
    documents = ServerDocuments(server(tmp_path), "items")
    documents.swap("state", None, {"step": 0})
    client = memory_client(tmp_path)
    client.set_payload(DOCUMENTS, {"text": "{"}, points=models.Filter())
    with pytest.raises(StoreError, match="document 'state' in embridge_documents is damaged"):
        documents.read("state")


def test_a_writer_that_is_killed_leaves_whole_writes(tmp_path):
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:  # nothing of pytest may run in here
        try:
            store = own("edge")([SPACE], tmp_path)
            for start in range(0, 1_000_000, 500):
                vectors = np.ones((500, 4), np.float32)
                store.upsert(Embeddings(tuple(f"row {start + i}" for i in range(500)), vectors, SPACE))
                os.write(writable, b".")
        finally:
            os._exit(1)
    os.close(writable)
    for _ in range(3):
        assert os.read(readable, 1) == b"."
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    os.close(readable)
    count = own("edge")([], tmp_path).count(SPACE)
    assert count >= 1_500
    assert count % 500 == 0


def test_a_space_that_another_client_dropped_is_refused(tmp_path):
    first, second = (own("server 1.18")([SPACE], tmp_path) for _ in range(2))
    second.drop_space(SPACE)
    with pytest.raises(SpaceMismatch):
        first.count(SPACE)


def test_a_damaged_folder_is_one_line(tmp_path):
    adopted(tmp_path).close()
    (tracker,) = tmp_path.glob("items/segments/*/payload_storage/tracker.dat")
    tracker.write_bytes(b"\xff" * tracker.stat().st_size)
    with pytest.raises(StoreError, match=r"the engine gave up \(.*restore the folder from a copy$"):
        open_store(f"qdrant:{tmp_path}/items").payload(SPACE, ["3"])
    (tmp_path / "items" / "edge_config.json").write_text("{")
    with pytest.raises(StoreError, match=r"^Qdrant Edge in .*edge_config\.json.*"):
        open_store(f"qdrant:{tmp_path}/items")
