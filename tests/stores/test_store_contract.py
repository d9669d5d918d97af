"""Every store fulfils the contract."""

import pytest

from embridge.stores import MemoryStore, Store
from embridge.stores.lancedb import LanceStore
from embridge.testing import check_store


def lance(spaces, location):
    store = LanceStore(location, create=True)
    for space in spaces:
        store.add_space(space)
    return store


def memory(spaces, location):
    return MemoryStore(*spaces)


@pytest.mark.parametrize(
    ("make", "skipped"),
    [(memory, ["reopening: capabilities.persistent is False"]), (lance, [])],
    ids=["memory", "lancedb"],
)
def test_contract(make, skipped, tmp_path):
    assert check_store(make) == skipped
    assert isinstance(make([], tmp_path / "store"), Store)
