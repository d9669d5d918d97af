"""Every store fulfils the contract."""

import pytest

from embridge.stores import STORES, MemoryStore, Store
from embridge.stores.lancedb import LanceStore
from embridge.testing import check_store


def lance(spaces, location):
    store = LanceStore(location, create=True)
    for space in spaces:
        store.add_space(space)
    return store


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


@pytest.mark.parametrize("name", ["memory", "lancedb"])  # those that need a server say so in their own tests
def test_the_record_of_a_store_says_what_a_new_one_can_do(name, tmp_path):
    record = STORES[name]
    store = {"memory": memory, "lancedb": lance}[name]([], tmp_path / "store")
    assert (type(store).__module__, type(store).__name__) == (record.module, record.attribute)
    assert store.capabilities == record.capabilities
