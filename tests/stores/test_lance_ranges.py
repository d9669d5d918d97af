"""Look-ups of many rows that follow each other: a range where most rows of it are meant, a list of ids else."""

import numpy as np
import pytest

from embridge.embeddings import Embeddings
from embridge.space import Space
from embridge.stores import _lance_reads
from embridge.stores.lancedb import LanceStore

SPACE = Space("toy", "1", 2)
NAMES = sorted(f"it's {number} é{'ü' * (number % 3)}" for number in range(400))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = LanceStore(tmp_path_factory.mktemp("lance"), create=True)
    store.add_space(SPACE)
    vectors = np.arange(800, dtype=np.float32).reshape(400, 2) + 1
    store.upsert(Embeddings(tuple(NAMES[::-1]), vectors, SPACE), {"title": [name.upper() for name in NAMES[::-1]]})
    return store


@pytest.mark.parametrize(
    ("names", "lists"),
    [
        (NAMES[50:150], 0),
        ([name for name in NAMES[50:200] if not name.endswith("üü")], 0),
        ([*NAMES[50:120], "it's nowhere", "zzz"], 2),  # most of the table lies between
        (NAMES[::4], 4),
        (NAMES[50:150][::-1], 4),
        (NAMES[50:60], 4),
    ],
    ids=["dense", "half", "spread", "sparse", "another order", "few"],
)
def test_the_rows_are_those_of_a_list_of_ids(names, lists, store, monkeypatch):
    asked, among = [], _lance_reads.Source.among
    monkeypatch.setattr(_lance_reads.Source, "among", lambda *told: asked.append(told) or among(*told))
    there = [name for name in names if name in set(NAMES)]
    found = store.fetch(SPACE, names)
    assert list(found.ids) == there
    assert found.vectors[:, 0].tolist() == [2.0 * (399 - NAMES.index(name)) + 1 for name in there]
    assert store.among(SPACE, names) == there
    assert store.column(SPACE, there, "title") == store.payload(SPACE, there)["title"] == [n.upper() for n in there]
    assert len(asked) == lists
