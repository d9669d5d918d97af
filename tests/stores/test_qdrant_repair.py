"""A drop of a named vector that was killed between the segments and the settings of Qdrant's engine comes to its end."""

import json

import numpy as np
import pytest

from embridge import Embeddings, Space
from embridge.stores import open_store
from embridge.stores._qdrant_repair import CONFIG, finish_drop

pytest.importorskip("qdrant_edge")
OLD, NEW = Space("mini", "1", 2, "dot"), Space("mini", "2", 3, "dot")


def test_a_folder_whose_settings_name_a_vector_that_is_gone_opens(tmp_path):
    url = f"qdrant:{tmp_path}/shop/items?engine=edge"
    store = open_store(url, create=True)
    for space in (OLD, NEW):
        store.add_space(space)
        store.upsert(Embeddings(("1", "2"), np.ones((2, space.dim), np.float32), space))
    config = tmp_path / "shop" / "items" / CONFIG
    store.close()
    before = config.read_text()
    store = open_store(url)
    store.drop_space(OLD)
    store.close()
    config.write_text(before)  # as a kill leaves it
    store = open_store(url)
    assert store.fetch(NEW, ["1", "2"]).ids == ("1", "2")
    store.add_space(OLD)
    assert store.count(OLD) == 0
    store.close()
    assert len(json.loads(config.read_text())["vectors"]) == 2


def test_settings_of_another_kind_stay_as_they_are(tmp_path):
    assert not finish_drop(tmp_path)
    (tmp_path / CONFIG).write_text("{}")
    assert not finish_drop(tmp_path)
