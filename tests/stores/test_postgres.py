"""PostgreSQL with pgvector, on a server that the tests start themselves."""

from uuid import UUID

import pytest

from embridge.space import Space
from embridge.stores import STORES, Store, open_store
from embridge.stores.places import Place
from embridge.testing import ForeignTable, check_adopted_store, check_store

SPACE = Space("toy", "1", 3)
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
