"""PostgreSQL with pgvector, on a server that the tests start themselves: the contract, connections, rights, races."""

import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from urllib.parse import quote
from uuid import UUID

import numpy as np
import pytest
from kills import exit_code
from postgres_server import SECRET

from embridge.embeddings import Embeddings, concatenate
from embridge.errors import InvalidInput, SettingsError, StoreError
from embridge.space import Space
from embridge.stores import STORES, Declaration, Place, Store, open_store
from embridge.stores._postgres_sessions import Sessions
from embridge.stores.urls import parse_url
from embridge.testing import ForeignTable, check_adopted_store, check_store

SPACE = Space("toy", "1", 3)
NUMBERS = count()
KINDS = {str: "text", int: "bigint", UUID: "uuid"}


@pytest.fixture(scope="module")
def database(postgres_server):
    return postgres_server.database()


@pytest.mark.slow
def test_contract(postgres_server, database):
    def make(spaces, location):
        store = open_store(postgres_server.url(database, table=f"own {location}"), create=True)
        for space in spaces:
            store.add_space(space)
        return store

    assert check_store(make) == []
    store, record = make([SPACE], "last"), STORES["postgresql"]
    assert isinstance(store, Store)
    assert (type(store).__module__, type(store).__name__) == (record.module, record.attribute)
    assert store.capabilities == record.capabilities


@pytest.mark.slow
def test_contract_of_tables_that_were_there_before(postgres_server, database):
    connection = postgres_server.connect(database)

    def make(ids, vectors, columns, metric, location):
        table = f'the "items" 100% of {location}'
        kind = KINDS[type(ids[0])]
        name = '"' + table.replace('"', '""') + '"'
        connection.execute(
            f'CREATE TABLE {name} (extra jsonb, "the id" {kind} PRIMARY KEY, "Vec tor" vector(5) NOT NULL, '
            "title text, price double precision, stock bigint, sold boolean)"
        )
        names = '("the id", "Vec tor", title, price, stock, sold)'
        for row in zip(ids, map(str, vectors.tolist()), *columns.values(), strict=True):
            connection.execute(f"INSERT INTO {name.replace('%', '%%')} {names} VALUES (%s, %s, %s, %s, %s, %s)", row)
        select = f'SELECT "the id", "Vec tor"::text, title, price, stock, sold, extra FROM {name} ORDER BY 1'
        return ForeignTable(
            lambda documents: open_store(postgres_server.url(database, table=table), declarations=documents),
            Place(table, "Vec tor", "the id"),
            lambda: connection.execute(select).fetchall(),
        )

    assert check_adopted_store(make) == []
    connection.close()


@pytest.fixture
def make(postgres_server, database):
    """Makes a store in a table of its own."""

    def make(*spaces, table=None):
        store = open_store(postgres_server.url(database, table=table or f"made {next(NUMBERS)}"), create=True)
        for space in spaces:
            store.add_space(space)
        stores.append(store)
        return store

    stores = []
    yield make
    for store in stores:
        store.close()


def rows(count, start=0, space=SPACE):
    vectors = np.random.default_rng(start).normal(size=(count, space.dim)).astype(np.float32)
    return Embeddings(tuple(f"{start + i:06d}" for i in range(count)), vectors, space)


def expect_line(refusal, *parts):
    """One line that says what is wrong, and keeps the password."""
    message = str(refusal.value)
    assert "\n" not in message
    assert SECRET not in message
    assert quote(SECRET, safe="") not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("where", "parts"),
    [
        (
            {"password": SECRET + "x"},
            ("cannot be reached", "password authentication failed", "look at user and password"),
        ),
        ({"user": "nobody here"}, ("password authentication failed",)),
        ({"database": "nowhere"}, ('database "nowhere" does not exist', "look at the database")),
        ({"table": "nothing"}, ("there is no table 'nothing'; tables with vectors are: one of ours",)),
        ({"schema": "elsewhere"}, ("there is no table 'one of ours'", "another database or schema?")),
        ({"sslmode": "sometimes"}, ("invalid sslmode value",)),
        ({"no_such_option": "1"}, ("cannot be opened", "no_such_option")),
    ],
)
def test_a_url_that_leads_nowhere(postgres_server, database, make, where, parts):
    make(SPACE, table="one of ours")
    with pytest.raises(StoreError) as refusal:
        open_store(postgres_server.url(**({"database": database, "table": "one of ours"} | where)))
    expect_line(refusal, *parts)


def test_nobody_listens(postgres_server, database):
    url = postgres_server.url(database, table="t").replace(str(postgres_server.port), "9")
    with pytest.raises(StoreError) as refusal:
        open_store(url)
    expect_line(refusal, "Connection refused", "does the server run, and are host and port right?")


def test_a_database_without_the_extension(postgres_server):
    with pytest.raises(StoreError) as refusal:
        open_store(postgres_server.url(postgres_server.database(vector=False), table="t"), create=True)
    expect_line(refusal, "has no extension vector", "run CREATE EXTENSION vector; in this database")


def test_a_database_whose_table_is_not_named(postgres_server):
    database = postgres_server.database()
    with pytest.raises(SettingsError, match="names no table; add"):
        open_store(postgres_server.url(database), create=True)
    nothing = open_store(postgres_server.url(database))
    assert (nothing.tables(), nothing.spaces()) == ([], [])
    with postgres_server.connect(database) as connection:
        connection.execute("CREATE TABLE a (id int PRIMARY KEY, v vector(3)); CREATE TABLE plain (id int)")
        only = open_store(postgres_server.url(database))
        only.adopt(Declaration(SPACE, Place("a")))
        assert only.declaration(SPACE).place == Place("a", "v", "id")
        connection.execute("CREATE TABLE b (id int PRIMARY KEY, v vector(3))")
    assert [table.name for table in open_store(postgres_server.url(database)).tables()] == ["a", "b"]
    with pytest.raises(StoreError, match=r"names no table; .* tables with vectors are: a, b"):
        open_store(postgres_server.url(database)).adopt(Declaration(SPACE, Place("b")))


def test_a_user_who_may_only_read_declares_in_a_file(postgres_server, database, make, tmp_path):
    table = "read only"
    with postgres_server.connect(database) as connection:
        connection.execute(f'CREATE TABLE "{table}" (id int PRIMARY KEY, v vector(3), title text)')
        connection.execute(f"""INSERT INTO "{table}" VALUES (1, '[1,0,0]', 'a'), (2, '[0,1,0]', 'b')""")
        digest = f"""SELECT md5(string_agg(t::text, '|' ORDER BY id)), max(xmin::text) FROM "{table}" t"""
        before = connection.execute(digest).fetchone()
        reader = postgres_server.role(f'SELECT ON "{table}"', database=database)
        url = postgres_server.url(database, user=reader, table=table)
        store, declared = open_store(url), Declaration(SPACE, Place(table, "v", "id"))
        for call in (lambda: store.adopt(declared), lambda: store.add_space(SPACE)):
            with pytest.raises(StoreError) as refusal:
                call()
            expect_line(refusal, "(GRANT), or keep declarations in a file of your own")
        store = open_store(url, declarations=tmp_path / "declared.json")
        store.adopt(declared)
        assert store.swap_state(None, {"step": 1})
        assert store.search(Embeddings(("q",), np.eye(1, 3, dtype=np.float32), SPACE), 1).ids == (("1",),)
        assert [part.ids for part in store.scan(SPACE)] == [("1", "2")]
        assert store.indexes(SPACE) == []
        with pytest.raises(StoreError, match="permission denied for table"):
            store.upsert(Embeddings(("1",), np.eye(1, 3, dtype=np.float32), SPACE))
        assert connection.execute(digest).fetchone() == before
    assert open_store(url, declarations=tmp_path / "declared.json").read_state() == {"step": 1}


def terminate_all(server, database):
    with server.connect("postgres") as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND application_name = 'embridge'",
            (database,),
        ).fetchall()
    return [done for (done,) in ended]


def test_connections_that_are_lost_are_made_again(postgres_server, database, make):
    wide = Space("wide", "1", 2_000)  # more than the sockets hold
    store, written, many = make(SPACE, wide), rows(20), rows(4_000, space=wide)
    store.upsert(many, {"name": [None, *many.ids[1:]]})
    store.upsert(written)
    for calls in (
        [
            lambda: store.count(SPACE),
            lambda: store.search(written.take([3]), 1),
            lambda: store.fetch(SPACE, ["000003"]),
        ],
        [lambda: store.upsert(written.take([3])), lambda: store.delete(["nobody"]), lambda: store.read_state()],
        [lambda: store.swap_state(None, {"step": 1}), lambda: store.missing(SPACE, SPACE, limit=1)],
    ):
        for call in calls:
            assert all(terminate_all(postgres_server, database))
            call()
    given, names = [], {}
    for part, payload in store.scan_with_payload(wide, ["name"], rows=200):
        if len(given) in (1, 3):
            ended = terminate_all(postgres_server, database)
            assert ended == [True] or len(given) > 1
        given.append(part)
        names |= dict(zip(part.ids, payload["name"], strict=True))
    found = concatenate(given)
    assert sorted(found.ids) == list(many.ids)
    assert names == {name: name for name in many.ids} | {many.ids[0]: None}
    np.testing.assert_array_equal(found.take(np.argsort(found.ids)).vectors, many.vectors)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["{trunc", "[1]", "", "[" * 100_000])
def test_a_document_that_was_damaged_is_named_and_what_to_write_there(postgres_server, database, make, text):
    store = make()
    assert store.documents.swap("state", None, {"step": 1})
    with postgres_server.connect(database) as connection:
        connection.execute("UPDATE embridge_documents SET document = %s WHERE name = 'state'", (text,))
        for call in (lambda: store.documents.read("state"), lambda: store.documents.swap("state", {}, {"step": 2})):
            with pytest.raises(
                StoreError, match=r"the document 'state' in .* is damaged: .*; write \{\} there, and the journal"
            ):
                call()


def test_a_server_that_restarts(postgres_server, make):
    store, written = make(SPACE), rows(50)
    store.upsert(written)
    postgres_server.restart()
    assert store.count(SPACE) == 50
    postgres_server.stop()
    with ThreadPoolExecutor(1) as pool:
        hits = pool.submit(store.search, written.take([3]), 1)
        postgres_server.start()
        assert hits.result().ids == (("000003",),)
    postgres_server.restart()
    store.upsert(written)
    assert store.count(SPACE) == 50


def test_a_server_that_says_that_it_starts_is_waited_for(monkeypatch):
    monkeypatch.setattr("embridge.stores._postgres_sessions._RESTART_SECONDS", 0.3)
    fields = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0"
    answered = []

    def answer(listener):
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1_000)
                    connection.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
                answered.append(1)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        pool.submit(answer, listener)
        options = "sslmode=disable&gssencmode=disable&table=items"
        with pytest.raises(StoreError, match="the database system is starting up"):
            open_store(f"postgresql://me@127.0.0.1:{listener.getsockname()[1]}/shop?{options}")
        listener.shutdown(socket.SHUT_RDWR)
    assert len(answered) > 1


def test_of_eight_writers_of_a_state_one_wins(postgres_server, make):
    store = make(SPACE)
    barrier, table = threading.Barrier(8), store.declaration(SPACE).place.table

    def moves(number):
        mine, won = make(table=table), []
        for step in range(3):
            barrier.wait()
            before = mine.read_state()
            barrier.wait()
            won.append(mine.swap_state(before, {"winner": number, "step": step}))
        return won

    with ThreadPoolExecutor(8) as pool:
        assert [sum(step) for step in zip(*pool.map(moves, range(8)), strict=True)] == [1, 1, 1]


def test_two_clients_that_begin_at_once(make):
    table, spaces = f"begun {next(NUMBERS)}", [Space("toy", str(number), 3) for number in range(6)]
    barrier = threading.Barrier(6)

    def begin(space):
        barrier.wait()
        store = make(space, table=table)
        store.upsert(rows(40, space=space), {"number": [space.revision] * 40, "nothing": [None] * 40})
        return store

    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(begin, spaces))
    assert set(stores[0].spaces()) == set(spaces)
    assert [stores[0].count(space) for space in spaces] == [40] * 6


def test_writers_of_the_same_rows_do_not_lock_each_other_out(make):
    store, every = make(SPACE), rows(300)
    table = store.declaration(SPACE).place.table

    def write(number):
        mine, order = make(table=table), np.random.default_rng(number)
        for _ in range(6):
            some = every.take(order.permutation(300)[:200])
            vectors = np.full((200, 3), number + 1, np.float32)
            mine.upsert(some.with_vectors(vectors, SPACE), {"number": [number + 1] * 200})

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    [part] = store.scan(SPACE, rows=400)
    assert len(part) == 300
    assert part.vectors[:, 0].tolist() == store.payload(SPACE, part.ids)["number"]


@pytest.mark.slow
def test_a_writer_that_is_killed_leaves_whole_writes(postgres_server, database, make):
    store, many = make(SPACE), rows(50_000)
    table = store.declaration(SPACE).place.table
    copying = "SELECT 1 FROM pg_stat_progress_copy WHERE tuples_processed > 0"
    updating = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'embridge' AND query LIKE 'UPDATE%'"
    with postgres_server.connect("postgres") as watcher:
        for sign, left in ((copying, 3), (updating, 50_003)):
            earlier = rows(3, start=900_000)
            store.upsert(earlier)
            if left > 3:
                store.upsert(many)
            child = os.fork()
            if child == 0:
                while True:  # until it is killed
                    open_store(postgres_server.url(database, table=table)).upsert(
                        many.with_vectors(-many.vectors, SPACE)
                    )
                    if left == 3:
                        os._exit(0)
            while watcher.execute(sign).fetchone() is None:
                assert os.waitpid(child, os.WNOHANG)[0] == 0, "the writer came to its end before it was seen to write"
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            while watcher.execute(updating).fetchone() or watcher.execute(copying).fetchone():
                pass
            assert store.count(SPACE) == left
            if left > 3:
                now = store.fetch(SPACE, many.ids)
                assert len(set(map(tuple, np.sign(now.vectors * many.vectors)))) == 1
    store.upsert(many)
    assert store.count(SPACE) == 50_003


def test_what_postgresql_cannot_hold_is_refused(make):
    store = make(SPACE)
    long = "".join(map(chr, np.random.default_rng(0).integers(0x4E00, 0x9000, 3_000)))
    for ids, payload, message in (
        (("a\0b",), None, "'a.x00b' is no text, which column 'id' holds; PostgreSQL's text holds no NUL"),
        ((long,), None, "cannot index ids this long"),
        (("a",), {"text": ["a\0"]}, "payload column 'text', row 0: PostgreSQL's text holds no NUL"),
        (("a",), {"ctid": ["a"]}, "a payload column has 1 to 63 bytes in PostgreSQL and is none of"),
        (("a",), {"x" * 64: ["a"]}, "a payload column has 1 to 63 bytes"),
    ):
        with pytest.raises(InvalidInput, match=message):
            store.upsert(Embeddings(ids, np.eye(1, 3, dtype=np.float32), SPACE), payload)
    for length in (1e-20, 1e25):
        with pytest.raises(InvalidInput, match="too long or too short for pgvector's float32"):
            store.upsert(Embeddings(("a",), np.full((1, 3), length, np.float32), SPACE))
    assert (store.count(SPACE), list(store.tables()[0].columns)) == (0, ["id"])


def test_a_closed_store_and_a_lost_table(postgres_server, database, make):
    store = make(SPACE)
    store.upsert(rows(3))
    with postgres_server.connect(database) as connection:
        connection.execute(f'DROP TABLE "{store.declaration(SPACE).place.table}"')
    with pytest.raises(StoreError, match=r"was it dropped or renamed|there is no table"):
        store.search(rows(1), 1)
    store.close()
    with pytest.raises(StoreError, match="was closed; open it again"):
        store.count(SPACE)


def test_a_forked_process_uses_connections_of_its_own(make):
    store = make(SPACE)
    store.upsert(rows(3))
    assert exit_code(lambda: store.upsert(rows(3, start=10))) == 0
    assert store.count(SPACE) == 6


@pytest.mark.parametrize("secret", ["ab", "a(", "abcd"])
def test_passwords_however_short_are_not_shown(secret):
    sessions = Sessions(parse_url(f"postgresql://me:{quote(secret)}@127.0.0.1:9/shop?table=items"))
    text = f"me:{secret}@db:9, me:{secret}@other: password '{secret}' is not that of table abc"
    assert sessions._line(text) == "me:***@db:9, me:***@other: password '***' is not that of table abc"
