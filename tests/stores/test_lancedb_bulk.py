"""A table of LanceDB that stands beside another is filled in bulk, whatever others write at the same moment."""

import numpy as np
import pytest

from embridge import Embeddings, Space
from embridge.stores import _lance_bulk
from embridge.stores.lancedb import LanceStore
from embridge.stores.places import Declaration, Place

lancedb = pytest.importorskip("lancedb")
OLD, NEW = Space("mini", "1", 2), Space("mini", "2", 2)
TEXTS = [str(number) for number in range(12)]
NAMES = [f"item {text}" for text in TEXTS]


@pytest.fixture
def shop(tmp_path):
    rows = [{"id": name, "vector": [1.0, 1.0], "title": text} for name, text in zip(NAMES, TEXTS, strict=True)]
    lancedb.connect(tmp_path / "shop").create_table("items", rows)
    store = LanceStore(tmp_path / "shop", table="items")
    store.adopt(Declaration(OLD, Place("items", "vector", "id")))
    store.add_space(NEW)
    return store


@pytest.fixture
def items(shop):
    return lancedb.connect(shop.path).open_table("items")


def vectors(names, value):
    return Embeddings(tuple(names), np.full((len(names), 2), value, np.float32), NEW)


def filled(bulk, lacking):
    return list(bulk.write(vectors(lacking.ids, 1), lacking.payload, lacking))


def test_each_lacking_row_comes_once_with_its_value_and_its_payload(shop):
    shop.upsert(vectors(NAMES[:2], 7), {"title": TEXTS[:2]})
    bulk, seen = shop.bulk(NEW, OLD, "title"), {}
    for lacking in bulk.rows(lambda: 4, {NAMES[3]}):
        seen |= dict(zip(lacking.ids, lacking.values, strict=True))
        assert lacking.payload == {"title": lacking.values}
        assert filled(bulk, lacking) == []
    left = [row for row in range(2, 12) if row != 3]
    assert seen == {NAMES[row]: TEXTS[row] for row in left}
    assert shop.missing(NEW, OLD, limit=99) == [NAMES[3]]
    assert shop.payload(NEW, NAMES[2:3]) == {"title": ["2"]}
    assert bulk.settled


def test_rows_that_others_changed_deleted_or_moved_meanwhile_are_to_be_looked_at_again(shop, items):
    bulk = shop.bulk(NEW, OLD, "title")
    rows = bulk.rows(lambda: 6, ())
    first = next(rows)
    items.update(where=f"id = '{first.ids[0]}'", values={"title": "else"})
    items.delete(f"id = '{first.ids[1]}'")
    assert filled(bulk, first) == list(first.ids[:2])
    assert not bulk.settled
    items.optimize()
    second = next(rows)  # which lies elsewhere now
    assert set(second.ids) == set(NAMES) - set(first.ids)
    assert filled(bulk, second) == []
    assert list(rows) == []


def test_a_row_that_another_writer_brings_at_the_same_moment_is_there_once(shop, monkeypatch):
    appended, raced = _lance_bulk._appended, []

    def overtaken(source, part):
        names = part["id"].to_pylist()
        raced.append(names[0])
        LanceStore(shop.path, table="items").upsert(vectors(names[:1], 5), {"title": ["new"]})
        return appended(source, part)

    monkeypatch.setattr(_lance_bulk, "_appended", overtaken)
    bulk = shop.bulk(NEW, OLD, "title")
    for lacking in bulk.rows(lambda: 4, ()):
        filled(bulk, lacking)
    (name,) = raced  # with somebody else there, the third part was merged in
    assert shop.count(NEW) == 12
    assert shop.fetch(NEW, [name]).vectors.tolist() == [[5, 5]]


def test_a_row_that_is_there_twice_for_a_moment_is_read_once_and_the_next_write_mends_it(shop):
    shop.upsert(vectors(NAMES[:3], 1), {"title": TEXTS[:3]})
    beside = next(name for name in shop._database.names() if name != "items")
    table = lancedb.connect(shop.path).open_table(beside)
    table.add(table.search().where(f"id = '{NAMES[0]}'").to_arrow())
    assert shop.count(NEW) == 4
    assert sorted(shop.search(vectors(["q"], 1), 9).ids[0]) == NAMES[:3]
    assert shop.fetch(NEW, NAMES[:3]).ids == tuple(NAMES[:3])
    shop.upsert(vectors(NAMES[:1], 2), {"title": TEXTS[:1]})
    assert shop.count(NEW) == 3


def test_without_the_column_or_beside_no_table_of_its_own_there_is_no_bulk(shop):
    assert shop.bulk(NEW, OLD, "text") is None
    assert shop.bulk(OLD, NEW, "title") is None
