"""What others write to a table of PostgreSQL loses its new vector in the same statement, and is noted."""

from contextlib import closing

import numpy as np
import pytest
from postgres_server import SECRET

from embridge.embeddings import Embeddings
from embridge.errors import StoreError
from embridge.space import Space
from embridge.stores import Declaration, Place, open_store
from embridge.stores.changes import ChangeQueue, NotesChanges

pytestmark = pytest.mark.slow
OLD, NEW = Space("mini", "1", 2), Space("maxi", "1", 3)
TABLE = 'the "items" 100%'
COLUMN = f"embridge_{NEW.id}"
NAME = '"' + TABLE.replace('"', '""') + '"'


@pytest.fixture(params=["beside", "column"])
def kind(request):
    """Where the new vectors stand: in a table beside, or in a column as earlier versions made it."""
    return request.param


@pytest.fixture
def store(postgres_server, database, connection, kind):
    connection.execute(
        f'CREATE TABLE {NAME} ("the id" int PRIMARY KEY, "Vec tor" vector(2), "a title" text, price numeric, '
        'words text GENERATED ALWAYS AS (upper("a title")) STORED, about json)'
    )
    for number in range(4):
        values = (number, f"[1,{number}]", f"title {number}")
        connection.execute(f"INSERT INTO {NAME} VALUES (%s, %s, %s, 1)".replace("100%", "100%%"), values)
    with closing(open_store(postgres_server.url(database, table=TABLE))) as store:
        store.adopt(Declaration(OLD, Place(TABLE, "Vec tor", "the id"), items={"text": "a title"}))
        if kind == "column":
            connection.execute(f"ALTER TABLE {NAME} ADD COLUMN {COLUMN} vector(3)")
        store.add_space(NEW)
        yield store


def filled(store, *ids):
    store.fill(Embeddings(ids, np.ones((len(ids), 3), np.float32), NEW))


def noted(queue):
    return [name for _, name in queue.read(limit=99)]


def begun(store, *columns):
    queue = store.changes(OLD, NEW, columns or ("a title",))
    queue.begin()
    filled(store, "0", "1", "2", "3")
    return queue


CHANGES = [
    ('UPDATE {} SET "a title" = \'Title 1\' WHERE "the id" = 1', True),
    ('UPDATE {} SET "a title" = NULL WHERE "the id" = 1', True),
    ('UPDATE {} SET "Vec tor" = \'[9,9]\' WHERE "the id" = 1', True),
    ('UPDATE {} SET "Vec tor" = NULL WHERE "the id" = 1', True),
    ('UPDATE {} SET "a title" = "a title", price = 5, about = \'{{}}\' WHERE "the id" = 1', False),
    ("INSERT INTO {} VALUES (1, '[1,1]', 'x') ON CONFLICT (\"the id\") DO UPDATE SET \"a title\" = 'x'", True),
]
ITS_OWN = ('UPDATE {} SET "a title" = \'x\', "{new}" = \'[1,2,3]\' WHERE "the id" = 1', False)


def test_a_change_of_content_takes_the_new_vector_away_and_is_noted(store, connection, kind):
    assert isinstance(store, NotesChanges)
    assert store.capabilities.foreign_writes == "trigger"
    queue = begun(store)
    assert isinstance(queue, ChangeQueue)
    assert noted(queue) == []
    for statement, is_change in [*CHANGES, *([ITS_OWN] if kind == "column" else [])]:
        connection.execute(statement.format(NAME, new=COLUMN))
        assert (store.fetch(NEW, ["1"]).ids == ()) == is_change, statement
        assert set(noted(queue)) == ({"1"} if is_change else set()), statement
        assert store.count(NEW) == (3 if is_change else 4)
        queue.forget([number for number, _ in queue.read(limit=99)])
        connection.execute(f'UPDATE {NAME} SET "Vec tor" = \'[1,1]\' WHERE "the id" = 1')
        filled(store, "1")
        queue.forget([number for number, _ in queue.read(limit=99)])
        assert noted(queue) == []


def test_new_rows_are_noted_and_deleted_ones_take_everything_along(store, connection):
    queue = begun(store)
    connection.execute(f"INSERT INTO {NAME} VALUES (7, '[1,2]', 'seven'), (8, NULL, 'later')")
    connection.execute(f'UPDATE {NAME} SET "Vec tor" = \'[1,1]\' WHERE "the id" = 8')
    connection.execute(f'DELETE FROM {NAME} WHERE "the id" = 2')
    filled(store, "2", "7")  # a backfill that still knew the deleted row does not bring it back
    assert noted(queue) == ["7", "8"]
    assert store.missing(NEW, OLD, limit=9) == ["8"]
    assert store.ids(NEW, limit=9) == ["0", "1", "3", "7"]
    store.upsert(Embeddings(("0",), np.full((1, 2), 5, np.float32), OLD))  # by this library, with the old model alone
    assert store.missing(NEW, OLD, limit=9) == ["0", "8"]


def test_a_generated_column_changes_with_those_that_it_is_made_of(store, connection):
    queue = begun(store, "words")
    connection.execute(f'UPDATE {NAME} SET "a title" = \'one\' WHERE "the id" = 1')
    connection.execute(f'UPDATE {NAME} SET "a title" = \'two\' WHERE "the id" = 1')  # which is noted once
    connection.execute(f'UPDATE {NAME} SET price = 9 WHERE "the id" = 2')  # who knows what it is made of
    assert noted(queue) == ["1", "2"]
    assert store.missing(NEW, OLD, limit=9) == ["1", "2"]


def test_what_is_there_is_left_alone_and_what_is_not_as_asked_is_made_again(store, connection):
    queue = begun(store)
    triggers = (
        "SELECT oid::int8 FROM pg_trigger WHERE tgname IN ('zz_embridge_insert', 'zz_embridge_update') ORDER BY 1"
    )
    first = connection.execute(triggers).fetchall()
    assert len(first) == 2
    queue.begin()
    assert connection.execute(triggers).fetchall() == first
    connection.execute(f"ALTER TABLE {NAME} DISABLE TRIGGER zz_embridge_update")
    queue.begin()
    connection.execute(f'UPDATE {NAME} SET price = 3, "a title" = \'x\' WHERE "the id" = 3')
    store.changes(OLD, NEW, ("a title", "about")).begin()
    connection.execute(f'UPDATE {NAME} SET about = \'{{"a": 1}}\' WHERE "the id" = 0')
    assert noted(queue) == ["3", "0"]
    queue.end()
    queue.end()
    assert connection.execute(triggers).fetchall() == []


@pytest.mark.parametrize("space", [OLD, NEW], ids=["old", "new"])
def test_with_the_vectors_of_either_space_the_trigger_and_the_queue_go(store, connection, space):
    begun(store)
    store.add_space(Space("other", "1", 2))
    store.drop_space(Space("other", "1", 2))
    made = "SELECT count(*) FROM pg_class WHERE relname LIKE 'embridge_changes%'"
    assert connection.execute(made).fetchone() == (3,)  # with its sequence and its index
    store.drop_space(space)
    assert connection.execute(made).fetchone() == (0,)
    if space == OLD:
        assert store.count(NEW) == 4
        store.drop_space(NEW)
    assert connection.execute("SELECT count(*) FROM pg_proc WHERE proname LIKE 'embridge%'").fetchone() == (0,)
    assert store._database.names() == ([TABLE] if space == NEW else [])
    connection.execute(f"UPDATE {NAME} SET \"a title\" = 'after'")


def test_writers_need_no_rights_and_lead_nothing_astray(store, connection, database, postgres_server):
    queue = begun(store)
    role = postgres_server.role(database=database)
    connection.execute(f"GRANT SELECT, INSERT, UPDATE ON {NAME} TO {role}")
    connection.execute(f"CREATE SCHEMA theirs AUTHORIZATION {role}")
    with postgres_server.connect(database, user=role, password=SECRET) as writer:
        writer.execute("CREATE TYPE theirs.text AS (a int)")
        writer.execute("SET search_path TO theirs, public")
        writer.execute(f'UPDATE {NAME} SET "a title" = \'theirs\' WHERE "the id" = 3')
    assert noted(queue) == ["3"]
    connection.execute(f"DROP SCHEMA theirs CASCADE; DROP OWNED BY {role}")


def test_a_user_who_may_make_no_trigger_is_left_to_scanning(store, connection, database, postgres_server):
    role = postgres_server.role(database=database)
    connection.execute(f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}")
    with closing(open_store(postgres_server.url(database, user=role, table=TABLE))) as theirs:
        assert theirs.capabilities.foreign_writes == "scan"
        with pytest.raises(StoreError, match="permission denied"):
            theirs.changes(OLD, NEW, ("a title",)).begin()
    connection.execute(f"DROP OWNED BY {role}")


@pytest.mark.parametrize("kind", ["column"], indirect=True)
def test_a_new_column_that_is_never_null_is_refused(store, connection):
    filled(store, "0", "1", "2", "3")
    connection.execute(f"ALTER TABLE {NAME} ALTER COLUMN {COLUMN} SET NOT NULL")
    store._database.relation(TABLE, fresh=True)
    with pytest.raises(StoreError, match="is never null, and what others change has to lose it"):
        store.changes(OLD, NEW, ("a title",)).begin()
