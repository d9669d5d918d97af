import numpy as np
import pytest

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.space import Space
from embridge.stores import Condition, MemoryStore

SPACE = Space("toy", "1", 2)


def test_what_is_held_does_not_follow_the_array_it_came_from():
    vectors = np.eye(2, dtype=np.float32)
    store = MemoryStore(SPACE)
    store.upsert(Embeddings.of(vectors, SPACE))
    vectors[:] = 7
    np.testing.assert_array_equal(next(store.scan(SPACE)).vectors, np.eye(2))


def test_a_filter_that_does_not_fit_names_what_the_column_holds():
    store = MemoryStore(SPACE)
    rows = Embeddings.of(np.eye(2, dtype=np.float32), SPACE)
    store.upsert(rows, {"kind": ["x", "y"]})
    with pytest.raises(InvalidInput, match=r"value=3\) does not fit the column, which holds text"):
        store.search(rows, 1, filter=(Condition("kind", "<", 3),))
    with pytest.raises(InvalidInput, match=r"no payload column 'sort'; there are \['kind'\]"):
        store.search(rows, 1, filter=(Condition("sort", "==", "x"),))
