"""Vectors of a new space in a table beside a table of others, which triggers keep in step."""

import threading
from contextlib import closing

import numpy as np
import pytest
from postgres_server import SECRET

from embridge.embeddings import Embeddings
from embridge.space import Space
from embridge.stores import Condition, Declaration, Place, open_store

pytestmark = pytest.mark.slow
OLD, NEW = Space("mini", "1", 2), Space("maxi", "1", 3)


@pytest.fixture
def store(postgres_server, database, connection):
    connection.execute("CREATE TABLE items (id text PRIMARY KEY, v vector(2), title text, n int)")
    connection.execute("INSERT INTO items SELECT i, '[1,0]', 'title ' || i, i FROM generate_series(0, 4) AS i")
    with closing(open_store(postgres_server.url(database, table="items"))) as store:
        store.adopt(Declaration(OLD, Place("items", "v", "id"), items={"text": "title"}))
        store.add_space(NEW)
        yield store


def rows(*ids, at=1):
    return Embeddings(ids, np.array([[at, at, at + number] for number in range(len(ids))], np.float32), NEW)


def side(connection):
    (name,) = connection.execute("SELECT relname FROM pg_class WHERE relname ~ '^embridge_.*[0-9a-f]{8}$'").fetchone()
    return name


def test_no_row_of_others_is_written_again(store, connection):
    before = connection.execute("SELECT ctid::text, xmin::text, items.* FROM items ORDER BY id").fetchall()
    store.fill(rows("0", "1", "3"))
    store.upsert(rows("2", at=9.0), {"title": ["title 2"]})
    assert connection.execute("SELECT ctid::text, xmin::text, items.* FROM items ORDER BY id").fetchall() == before
    assert store.ids(NEW, limit=9) == ["0", "1", "2", "3"]
    assert store.missing(NEW, OLD, limit=9) == ["4"]
    assert store.fetch(NEW, ["2"]).vectors.tolist() == [[9, 9, 9]]


@pytest.mark.parametrize("index", ["", "hnsw", "ivfflat"])
def test_rows_that_others_delete_are_not_found_and_do_not_come_back(store, connection, index):
    store.fill(rows("0", "1", "2", "3", "4"))
    if index:
        column = f"embridge_{NEW.id} vector_cosine_ops"
        connection.execute(f"CREATE INDEX ON {side(connection)} USING {index} ({column})")
    query = Embeddings(("q",), np.ones((1, 3), np.float32), NEW)
    for disabled in ("DISABLE", "ENABLE"):  # without triggers, a row beside is left over
        connection.execute(
            f"ALTER TABLE items {disabled} TRIGGER ALL; DELETE FROM items WHERE id = '{len(disabled) - 6}'"
        )
        assert store._database.relation("items", fresh=True).beside
        left = [name for name in map(str, range(5)) if name not in ("1", str(len(disabled) - 6))]
        assert store.search(query, 5).ids == (tuple(left),)
        assert store.count(NEW) == len(left)
        assert store.ids(NEW, limit=9) == [name for part in store.scan(NEW) for name in part.ids] == left
    assert store.search(query, 2, filter=(Condition("n", ">", 2),)).ids == (("3", "4"),)
    connection.execute("INSERT INTO items VALUES ('1', '[0,1]', 'another', 1), ('0', '[0,1]', 'another', 0)")
    assert store.missing(NEW, OLD, limit=9) == ["0", "1"]
    connection.execute("UPDATE items SET id = '9' WHERE id = '3'")
    assert store.ids(NEW, limit=9) == ["2", "4"]
    connection.execute("TRUNCATE items")
    assert connection.execute(f"SELECT count(*) FROM {side(connection)}").fetchone() == (0,)


def test_a_vector_waits_for_whoever_changes_its_item_and_is_looked_at_again(
    store, connection, postgres_server, database
):
    queue = store.changes(OLD, NEW, ("title",))
    queue.begin()
    with postgres_server.connect(database) as other:
        other.autocommit = False
        other.execute("UPDATE items SET title = 'new' WHERE id = '1'")
        filling = threading.Thread(target=store.fill, args=(rows("0", "1", "2"),))
        filling.start()
        filling.join(0.5)
        assert filling.is_alive()
        other.execute("UPDATE items SET title = 'new' WHERE id = '0'")  # and does not lock out whoever changes another
        other.commit()
        filling.join(20)
    assert store.ids(NEW, limit=9) == ["0", "1", "2"]
    assert sorted({name for _, name in queue.read(limit=9)}) == ["0", "1"]


def test_who_may_use_the_table_may_use_the_one_beside_alike(store, connection, postgres_server, database):
    role, space = postgres_server.role(database=database), Space("other", "1", 3)
    connection.execute(f"GRANT SELECT, UPDATE ON items, embridge_documents TO {role}")
    store.add_space(space)
    store.fill(Embeddings(("0", "1"), np.eye(2, 3, dtype=np.float32), space))
    with closing(open_store(postgres_server.url(database, user=role, password=SECRET, table="items"))) as theirs:
        assert theirs.ids(space, limit=9) == ["0", "1"]
    connection.execute(f"DROP OWNED BY {role}")


def test_two_that_begin_at_once_make_one_table(store, connection, postgres_server, database):
    space = Space("other", "1", 4)
    stores = [open_store(postgres_server.url(database, table="items")) for _ in range(4)]
    threads = [threading.Thread(target=one.add_space, args=(space,)) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.count(space) for one in stores] == [0] * 4
    for one in stores:
        one.close()
