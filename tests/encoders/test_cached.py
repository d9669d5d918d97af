import numpy as np
import pytest

from embridge.embeddings import Embeddings
from embridge.encoders import CachedEncoder, Encoder
from embridge.errors import InvalidInput
from embridge.space import Space
from embridge.testing import check_encoder

SPACE = Space("toy", "1", 4)
VECTORS = np.random.default_rng(0).standard_normal((10, 4), dtype=np.float32)
TEXT = Embeddings.of(VECTORS[:5], SPACE, ["a cat", "a dog", "a tree", "a house", "a bird"])
IMAGE = Embeddings.of(VECTORS[5:], SPACE, [f"{i}.png" for i in range(5)])


def test_it_keeps_the_contract():
    both = CachedEncoder(text=TEXT, image=IMAGE)
    assert len(check_encoder(both, text_items=TEXT.ids, image_items=IMAGE.ids)) == 1
    assert check_encoder(CachedEncoder(text=TEXT), text_items=TEXT.ids) == []
    assert check_encoder(CachedEncoder(image=IMAGE), image_items=IMAGE.ids) == []
    assert isinstance(both, Encoder)


def test_vectors_are_looked_up_in_the_order_asked_for_and_may_repeat():
    encoder = CachedEncoder(text=TEXT, image=IMAGE)
    rows = encoder.encode(["a bird", "a cat", "a bird"], modality="text")
    np.testing.assert_array_equal(rows, VECTORS[[4, 0, 4]])
    np.testing.assert_array_equal(encoder.encode(["3.png"], modality="image"), VECTORS[[8]])
    assert encoder.space == SPACE


def test_an_id_may_be_any_item_that_reads_so(tmp_path):
    file = tmp_path / "cat.png"
    rows = Embeddings.of(VECTORS[:2], SPACE, [str(file), "7"])
    encoder = CachedEncoder(image=rows)
    np.testing.assert_array_equal(encoder.encode([7, file], modality="image"), VECTORS[[1, 0]])
    np.testing.assert_array_equal(encoder.encode(np.array([str(file)]), modality="image"), VECTORS[[0]])


def test_vectors_are_given_as_stored_and_are_not_the_cache_itself():
    encoder = CachedEncoder(text=TEXT)
    rows = encoder.encode(TEXT.ids, modality="text")
    rows[:] = 0
    np.testing.assert_array_equal(encoder.encode(TEXT.ids, modality="text"), VECTORS[:5])


def test_an_item_without_a_vector_is_named():
    with pytest.raises(InvalidInput, match="2 of 3 items have no cached text vector: 'a fish'"):
        CachedEncoder(text=TEXT).encode(["a cat", "a fish", "a fox"], modality="text")


def test_what_is_not_cached_is_not_taken():
    with pytest.raises(InvalidInput, match="toy takes text, not 'image'"):
        CachedEncoder(text=TEXT).encode(["0.png"], modality="image")


def test_no_items_are_refused():
    with pytest.raises(InvalidInput, match="nothing to encode, no image items came"):
        CachedEncoder(image=IMAGE).encode([], modality="image")


def test_one_space_is_needed():
    other = Embeddings.of(VECTORS[5:], Space("toy", "2", 4))
    with pytest.raises(InvalidInput, match="cached vectors of one model are needed, came 2 spaces"):
        CachedEncoder(text=TEXT, image=other)
    with pytest.raises(InvalidInput, match="cached vectors of one model are needed, came 0 spaces"):
        CachedEncoder()
