import json

import lancedb
import numpy as np

from embridge.embeddings import Embeddings
from embridge.space import Space
from embridge.stores.lancedb import LanceStore

SPACE = Space("toy", "1", 4)


def test_earlier_entries_of_a_journal_stand_in_a_table_of_their_own(tmp_path):
    store, other = (LanceStore(tmp_path / "shop", create=True) for _ in range(2))
    names = [f"journal/{number:06d}" for number in range(1, 36)]
    assert all(store.documents.swap(name, None, {"move": name}) for name in names)
    (row,) = lancedb.connect(tmp_path / "shop").open_table("embridge_documents").to_arrow().to_pylist()
    assert (
        len(json.loads(row["documents"])) == 16 + 2 + 1
    )  # those that stayed, the two after, and how many were put aside
    assert [other.documents.read(name) for name in [*names, "journal/000036"]] == [
        *({"move": name} for name in names),
        None,
    ]
    assert not other.documents.swap(names[0], None, {"move": "again"})
    assert other.documents.swap(names[0], {"move": names[0]}, {"move": "again"})
    assert store.documents.read(names[0]) == {"move": "again"}
    assert other.tables() == []


def test_files_of_small_writes_are_merged(tmp_path, monkeypatch):
    monkeypatch.setattr("embridge.stores._lance_writes._MERGED_EVERY", 8)
    store = LanceStore(tmp_path / "shop", create=True)
    store.add_space(SPACE)
    some = Embeddings.of(np.eye(9, 4, dtype=np.float32) + 1, SPACE, [f"item {number}" for number in range(9)])
    for number in range(9):
        store.upsert(some.take([number]))
    stats = lancedb.connect(tmp_path / "shop").open_table(f"space_{SPACE.id}").stats()
    assert stats["fragment_stats"]["num_fragments"] == 2
    assert set(store.ids(SPACE, limit=20)) == set(some.ids)
