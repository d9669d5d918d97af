"""Tables of PostgreSQL that others made: their columns, keys, collations, views, partitions and indexes."""

import datetime
import warnings
from decimal import Decimal
from itertools import count

import numpy as np
import pytest

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, StoreError
from embridge.nearest import search
from embridge.space import Space
from embridge.stores import Condition, Declaration, Place, open_store

SPACE = Space("toy", "1", 3)
NEW = Space("toy", "2", 4)
NUMBERS = count()
DIM = 8
WIDE = {metric: Space("wide", "1", DIM, metric) for metric in ("cosine", "dot", "l2")}


@pytest.fixture(scope="module")
def database(postgres_server):
    """With the extension where many hosts put it."""
    name = postgres_server.database(vector=False)
    with postgres_server.connect(name) as connection:
        connection.execute("CREATE SCHEMA extensions; CREATE EXTENSION vector SCHEMA extensions")
        connection.execute(f'ALTER DATABASE "{name}" SET search_path = public, extensions')
    return name


@pytest.fixture
def connection(postgres_server, database):
    with postgres_server.connect(database) as connection:
        yield connection


@pytest.fixture
def opened(postgres_server, database):
    """Opens a table, with its vectors adopted."""

    def opened(table, vector="v", id="id", *, space=SPACE, schema=None, adopt=True):
        options = {"table": table} | ({"schema": schema} if schema else {})
        store = open_store(postgres_server.url(database, **options))
        if adopt:
            store.adopt(Declaration(space, Place(table, vector, id)))
        stores.append(store)
        return store

    stores = []
    yield opened
    for store in stores:
        store.close()


def unit(*ids, space=SPACE):
    return Embeddings(ids, np.eye(len(ids), space.dim, dtype=np.float32), space)


def many(connection, table, *, rows=300, kind="vector", index="", metric="cosine"):
    """A table of random vectors, and the vectors as the table has them."""
    connection.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, v {kind}({DIM}), even boolean)")
    values = np.random.default_rng(0).normal(size=(rows, DIM)).astype(np.float32)
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for row, vector in enumerate(values.tolist()):
            copy.write_row((row, str(vector), row % 2 == 0))
    if index:
        connection.execute(index.format(table=table))
    stored = values if kind == "vector" else values.astype(np.float16).astype(np.float32)
    return Embeddings.of(stored, WIDE[metric])


def expect_exact(hits, queries, rows, k):
    expected = search(queries, rows, k)
    assert hits.ids == expected.ids
    np.testing.assert_allclose(hits.scores, expected.scores, atol=1e-5)


def test_payloads_of_every_type(connection, opened):
    connection.execute("CREATE TYPE mood AS ENUM ('sad', 'it''s ok')")
    connection.execute(
        'CREATE TABLE types (id varchar(9) PRIMARY KEY, v vector(3), small smallint, "a b" integer, real real, flag boolean, '
        "day date, at timestamp, price numeric(9, 2), who uuid, mood mood, code varchar(3), fixed char(4), raw bytea, "
        "tags text[], extra jsonb, twice integer GENERATED ALWAYS AS (small * 2) STORED)"
    )
    connection.execute(
        "INSERT INTO types VALUES ('a', '[1,0,0]', -7, 70000, 0.5, true, '2026-03-01', '2026-03-01 12:00:00', 9.90, "
        "'00000000-0000-0000-0000-00000000000a', 'it''s ok', 'abc', 'ab', '\\x00ff', '{x,y}', '{\"k\": 1}'), "
        "('b', '[0,1,0]', 1, NULL, 'NaN', NULL, NULL, NULL, 10, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
    )
    store = opened("types")
    assert store.payload(SPACE, ["a"]) == {
        "small": [-7],
        "a b": [70000],
        "real": [0.5],
        "flag": [True],
        "day": ["2026-03-01"],
        "at": ["2026-03-01 12:00:00"],
        "price": ["9.90"],
        "who": ["00000000-0000-0000-0000-00000000000a"],
        "mood": ["it's ok"],
        "code": ["abc"],
        "fixed": ["ab"],
        "twice": [-14],
    }
    assert store.payload(SPACE, ["b"])["real"] == [None]
    assert store.column(SPACE, ["b", "a"], "raw") == [None, b"\x00\xff"]
    assert store.column(SPACE, ["a"], "tags") == [["x", "y"]]
    assert store.column(SPACE, ["a"], "extra") == [{"k": 1}]
    assert store.column(SPACE, ["a"], "day") == [datetime.date(2026, 3, 1)]
    assert store.column(SPACE, ["a"], "price") == [Decimal("9.90")]
    assert store.tables()[0].columns["extra"] == "jsonb"
    for condition, found in {
        Condition("day", "<", "2026-03-02"): ("a",),
        Condition("price", "<", 9.95): ("a",),
        Condition("price", "in", (10, 3)): ("b",),
        Condition("price", "==", "9.90"): ("a",),
        Condition("mood", "in", ("it's ok", "glad")): ("a",),
        Condition("real", ">", 0.1): ("a",),
        Condition("small", "<", -6.5): ("a",),
        Condition("fixed", "==", "ab"): ("a",),
        Condition("a b", ">", 1): ("a",),
    }.items():
        assert store.search(unit("q"), 5, filter=(condition,)).ids == (found,), condition
    store.upsert(unit("a"), {"day": ["2027-01-31"], "price": ["3.50"], "mood": ["sad"], "small": [5], "real": [0.25]})
    read = store.payload(SPACE, ["a"])
    assert (read["day"], read["price"], read["mood"], read["twice"]) == (["2027-01-31"], ["3.50"], ["sad"], [10])
    for (column, value), message in {
        ("code", "abcd"): r"value too long for type character varying\(3\)",
        ("small", 40_000): "smallint out of range",
        ("day", "tomorrow-ish"): "invalid input syntax for type date",
        ("twice", 3): "'twice' is generated by PostgreSQL; leave it out",
        ("extra", "x"): "rows of this store carry",
        ("mood", "angry"): "invalid input value for enum",
    }.items():
        with pytest.raises(InvalidInput, match=message):
            store.upsert(unit("a"), {column: [value]})
    assert store.payload(SPACE, ["a"]) == read


def test_a_backfill_of_a_table_whose_columns_must_have_values(connection, opened):
    connection.execute("CREATE TABLE strict (id bigint PRIMARY KEY, v vector(3), title text NOT NULL)")
    connection.execute("INSERT INTO strict VALUES (1, '[1,0,0]', 'a'), (2, '[0,1,0]', 'b')")
    store = opened("strict")
    store.add_space(NEW)
    store.upsert(unit("1", "2", space=NEW))
    assert store.missing(NEW, SPACE, limit=9) == []
    with pytest.raises(
        InvalidInput, match=r'null value in column "title".* not-null constraint; rows with new ids need'
    ):
        store.upsert(unit("2", "3", space=NEW))
    with pytest.raises(InvalidInput, match="'three' is no bigint, which column 'id' holds"):
        store.upsert(unit("three", space=NEW))
    assert store.fetch(NEW, ["three", "01", "2", "9" * 30]).ids == ("2",)
    connection.execute("CREATE TABLE made (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v vector(3))")
    with pytest.raises(InvalidInput, match='into column "id"; the database makes these ids itself: add the row'):
        opened("made").upsert(unit("3"))


def test_a_table_without_a_key(connection, opened):
    connection.execute("CREATE TABLE loose (sku text, v vector(3), title text)")
    connection.execute("INSERT INTO loose VALUES ('a', '[1,0,0]', 'x'), ('b', '[0,1,0]', 'y'), ('b', '[0,1,1]', 'z')")
    store = opened("loose", adopt=False)
    assert store.tables()[0].id is None
    with pytest.raises(StoreError, match=r"column 'sku' of 'loose' does not identify a row: 'b' \(2 rows\)"):
        store.adopt(Declaration(SPACE, Place("loose", "v", "sku")))
    with pytest.raises(StoreError, match="no column of ids ''; columns that may be it are: sku, title"):
        store.adopt(Declaration(SPACE, Place("loose", "v")))
    connection.execute("DELETE FROM loose WHERE title = 'z'; INSERT INTO loose VALUES (NULL, NULL, 'w')")
    with pytest.raises(StoreError, match="'sku' of 'loose' is null in 1 rows"):
        store.adopt(Declaration(SPACE, Place("loose", "v", "sku")))
    connection.execute("DELETE FROM loose WHERE sku IS NULL")
    store.adopt(Declaration(SPACE, Place("loose", "", "sku")))
    store.upsert(unit("b", "c"), {"title": ["new", "more"]})
    assert connection.execute("SELECT sku, title, v::text FROM loose ORDER BY 1").fetchall() == [
        ("a", "x", "[1,0,0]"),
        ("b", "new", "[1,0,0]"),
        ("c", "more", "[0,1,0]"),
    ]


def test_rows_of_tables_that_inherit_repeat_no_id(connection, opened):
    connection.execute(
        "CREATE TABLE old_goods (id int PRIMARY KEY, v vector(3)); CREATE TABLE new_goods () INHERITS (old_goods)"
    )
    connection.execute("INSERT INTO old_goods VALUES (1, '[1,0,0]'); INSERT INTO new_goods VALUES (1, '[0,1,0]')")
    with pytest.raises(StoreError, match=r"'id' of 'old_goods' does not identify a row: '1' \(2 rows\)"):
        opened("old_goods")
    connection.execute("UPDATE new_goods SET id = 2")
    store = opened("old_goods")
    store.upsert(unit("2", "3"))
    assert (store.count(SPACE), store.ids(SPACE, limit=9)) == (3, ["1", "2", "3"])


def test_views_partitions_schemas_and_domains(connection, opened):
    connection.execute(
        'CREATE SCHEMA "Sales"; CREATE DOMAIN "Sales".sku AS text CHECK (value <> \'bad\');'
        'CREATE TABLE "Sales"."my.items" (sku "Sales".sku, region int, v vector(3), PRIMARY KEY (sku, region)) '
        "PARTITION BY LIST (region);"
        'CREATE TABLE "Sales".one PARTITION OF "Sales"."my.items" FOR VALUES IN (1);'
        'CREATE TABLE "Sales".two PARTITION OF "Sales"."my.items" DEFAULT;'
        """INSERT INTO "Sales"."my.items" VALUES ('a', 1, '[1,0,0]'), ('b', 2, '[0,1,0]');"""
        'CREATE VIEW public.shown AS SELECT sku, v FROM "Sales"."my.items"'
    )
    parted = opened("my.items", id="sku", schema="Sales")
    whole = opened("Sales.my.items", id="sku")
    assert whole.fetch(SPACE, ["b"]).ids == ("b",)
    assert whole.declaration(SPACE).place == parted.declaration(SPACE).place == Place("my.items", "v", "sku")
    assert parted.ids(SPACE, limit=5) == ["a", "b"]
    parted.upsert(unit("x", "b"), {"region": [2, 2]})
    assert parted.count(SPACE) == 3
    with pytest.raises(InvalidInput, match="violates check constraint"):
        parted.upsert(unit("bad"), {"region": [2]})
    view = opened("shown", id="sku")
    assert [part.ids for part in view.scan(SPACE, rows=2)] == [("a", "b"), ("x",)] or view.count(SPACE) == 3
    assert view.search(unit("q"), 1).ids == (("a",),)
    with pytest.raises(StoreError, match="is a view; rows are written to the table that it shows"):
        view.upsert(unit("z"))
    with pytest.raises(StoreError, match="is a view; a space is added to the table"):
        view.add_space(NEW)
    with pytest.raises(StoreError, match="is a view; rows are deleted from the table"):
        view.delete(["a"])


def test_ids_come_by_code_points_whatever_the_collation(connection, opened):
    names = ["b", "B", "a", "é", "_", "Z"]
    found = connection.execute(
        "SELECT collname FROM pg_collation WHERE collprovider = 'c' ORDER BY collname ~ '^(C|P)'"
    )
    collation = found.fetchone()[0]  # one of a language where the machine has one
    connection.execute(
        f'CREATE TABLE words (id text COLLATE "{collation}" PRIMARY KEY, v vector(3), word text COLLATE "{collation}")'
    )
    for name in names:
        connection.execute("INSERT INTO words VALUES (%s, '[1,1,1]', %s)", (name, name))
    store = opened("words")
    assert store.ids(SPACE, limit=9) == sorted(names)
    assert store.ids(SPACE, after="Z", limit=2) == ["_", "a"]
    assert store.search(unit("q"), 3).ids == (("B", "Z", "_"),)
    assert store.search(unit("q"), 9, filter=(Condition("word", "==", "b"),)).ids == (("b",),)
    assert set(store.search(unit("q"), 9, filter=(Condition("word", "<", "a"),)).ids[0]) == {"B", "Z", "_"}


def test_rows_of_other_dimensions_are_odd(connection, opened):
    connection.execute("CREATE TABLE mixed (id text PRIMARY KEY, v vector)")
    connection.execute("INSERT INTO mixed VALUES ('a', '[1,0,0]'), ('b', '[0,1]'), ('c', NULL), ('d', '[0,1,0]')")
    with pytest.warns(UserWarning, match="'v' of 'mixed' holds vectors 1 of 2 dimensions too"):
        store = opened("mixed")
    [part] = store.raw(Place("mixed", "v", "id"))
    assert (part.ids, part.odd) == (("a", "d"), (("b", "2 dimensions"),))
    with pytest.raises(StoreError, match=r"row 'b' of toy@1 .* cannot be used: 2 dimensions"):
        list(store.scan(SPACE))
    assert store.search(unit("q"), 9).ids == (("a", "d"),)
    with pytest.raises(StoreError, match="holds vectors 2 of 3, 1 of 2 dimensions, the space has 4"):
        store.adopt(Declaration(NEW, Place("mixed", "v", "id")))


def test_tables_of_one_schema_keep_their_own_declarations(connection, opened):
    for table in ("left", "right"):
        connection.execute(f'CREATE TABLE "{table}" (id int PRIMARY KEY, v vector(3))')
    left, right = opened("left"), opened("right", adopt=False)
    assert (left.spaces(), right.spaces()) == ([SPACE], [])
    assert left.swap_state(None, {"step": 1})
    assert right.read_state() is None
    with pytest.raises(StoreError, match="is not table 'right'; open that one"):
        left.adopt(Declaration(NEW, Place("right", "v", "id")))


@pytest.mark.parametrize("kind", ["halfvec", "vector"])
@pytest.mark.parametrize("metric", sorted(WIDE))
def test_exact_search_without_an_index(connection, opened, kind, metric):
    rows = many(connection, f"exact_{kind}_{metric}", kind=kind, metric=metric)
    store = opened(f"exact_{kind}_{metric}", space=WIDE[metric])
    assert store.capabilities.exact
    queries = Embeddings.of(np.random.default_rng(1).normal(size=(5, DIM)).astype(np.float32), WIDE[metric])
    expect_exact(store.search(queries, 7), queries, rows, 7)
    np.testing.assert_array_equal(next(store.scan(WIDE[metric])).vectors, rows.vectors)


@pytest.mark.parametrize(
    ("kind", "index"),
    [
        ("halfvec", "hnsw (v halfvec_{}_ops)"),
        ("vector", "hnsw (v vector_{}_ops)"),
        ("vector", "hnsw ((v::halfvec(8)) halfvec_{}_ops)"),
        ("vector", "ivfflat (v vector_{}_ops) WITH (lists = 4)"),
    ],
)
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_search_through_an_index(connection, opened, kind, index, metric):
    table = f"indexed_{next(NUMBERS)}"
    rows = many(connection, table, kind=kind, metric=metric)
    connection.execute(f"CREATE INDEX {table}_near ON {table} USING {index.format(metric)}")
    space = WIDE[metric]
    store = opened(table, space=space)
    [state] = store.indexes(space)
    assert (state.name, state.metric, state.remark) == (f"{table}_near", metric, "")
    assert state.kind.startswith(index.split()[0])
    assert not store.capabilities.exact
    queries = Embeddings.of(np.random.default_rng(1).normal(size=(5, DIM)).astype(np.float32), space)
    connection.execute(f"DELETE FROM {table} WHERE id >= 200")
    left = rows.take(range(200))
    for k in (7, 500):
        hits, expected = store.search(queries, k), search(queries, left, k)
        found = [len(set(a) & set(b)) / len(b) for a, b in zip(hits.ids, expected.ids, strict=True)]
        assert np.mean(found) >= (0.7 if "ivf" in index else 0.9)
        exact = [score(queries.vectors[0], rows.vectors[int(name)], metric) for name in hits.ids[0]]
        np.testing.assert_allclose(hits.scores[0], exact, atol=1e-5)
        assert (np.diff(hits.scores) <= 0).all()
    few = store.search(queries, 500, filter=(Condition("even", "==", True),))
    assert {len(ids) for ids in few.ids} == {100}


def score(a, b, metric):
    if metric == "l2":
        return -np.square(a.astype(np.float64) - b).sum()
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_an_index_of_another_metric_is_named_and_not_used(connection, opened):
    rows = many(connection, "otherwise", index="CREATE INDEX by_distance ON {table} USING hnsw (v vector_l2_ops)")
    store = opened("otherwise", adopt=False)
    with pytest.warns(UserWarning, match=r"compares by cosine and the indexes of 'v' do not \(by_distance by l2\)"):
        store.adopt(Declaration(WIDE["cosine"], Place("otherwise", "v", "id")))
    assert store.capabilities.exact
    assert store.indexes(WIDE["cosine"])[0].remark == "compares by l2: search does not use it"
    queries = rows.take(range(3))
    expect_exact(store.search(queries, 9), queries, rows, 9)


def test_an_index_that_does_not_serve_is_named(connection, opened):
    many(connection, "unfinished")
    connection.execute("CREATE INDEX partly ON unfinished USING hnsw (v vector_cosine_ops) WHERE even")
    connection.execute("CREATE INDEX stopped ON unfinished USING hnsw (v vector_cosine_ops)")
    connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'stopped'::regclass")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = opened("unfinished", space=WIDE["cosine"])
    remarks = {index.name: index.remark for index in store.indexes(WIDE["cosine"])}
    assert "serves some queries alone" in remarks["partly"]
    assert remarks["stopped"] == "was not built to its end; DROP INDEX it and build it again"
    assert store.capabilities.exact
