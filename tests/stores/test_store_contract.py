"""Every store fulfils the contract."""

import pytest
from qdrant_places import own

from embridge.stores import STORES, MemoryStore, Store, open_store
from embridge.stores.lancedb import LanceStore
from embridge.testing import check_store


def lance(spaces, location):
    store = LanceStore(location, create=True)
    for space in spaces:
        store.add_space(space)
    return store


def faiss(spaces, location):
    store = open_store(f"faiss:{location / 'items.faiss'}", create=True)
    for space in spaces:
        store.add_space(space)
    return store


def qdrant(spaces, location):
    return own("edge")(spaces, location)


def memory(spaces, location):
    return MemoryStore(*spaces)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "skipped"),
    [(memory, ["reopening: capabilities.persistent is False"]), (lance, [])],
    ids=["memory", "lancedb"],
)
def test_contract(make, skipped, tmp_path):
    assert check_store(make) == skipped
    assert isinstance(make([], tmp_path / "store"), Store)


MAKERS = {
    "faiss": faiss,
    "lancedb": lance,
    "memory": memory,
    "qdrant": qdrant,
}  # the others need a server, and are tested with theirs


@pytest.mark.parametrize("name", MAKERS)
def test_the_record_of_a_store_says_what_a_new_one_can_do(name, tmp_path):
    record = STORES[name]
    store = MAKERS[name]([], tmp_path / "store")
    assert (type(store).__module__, type(store).__name__) == (record.module, record.attribute)
    assert store.capabilities == record.capabilities
