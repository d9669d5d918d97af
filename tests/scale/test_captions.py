"""Captions that workers encode: the bytes of one process, and no worker where all of them are there."""

import numpy as np
import pytest

from embridge.datasets import glyph_models
from embridge.encoders import LazyEncoder
from embridge.encoders.caption_cache import encode_by, encode_once
from embridge.errors import SpaceMismatch
from embridge.scale import SerialEngine
from embridge.scale.captions import encoded_by
from embridge.space import Space

CAPTIONS = [f"a {size} {colour} square" for size in ("small", "large") for colour in ("red", "green", "blue")] * 3


class Backwards(SerialEngine):
    """Does the last shard first, as a pool may."""

    def run(self, prepare, shards):
        return super().run(prepare, list(shards)[::-1])


@pytest.fixture(scope="module")
def encoder():
    return LazyEncoder(f"clip:{glyph_models.folder('old')}", batch_size=4)


def test_the_bytes_are_those_of_one_process(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("embridge.encoders.caption_cache._SHARD_ROWS", 5)
    expected = encode_once(encoder, CAPTIONS, tmp_path / "one", shard_rows=5)
    heard = []
    came = encode_by(
        encoded_by(Backwards(), encoder),
        encoder.space,
        CAPTIONS,
        tmp_path / "many",
        progress=lambda *told: heard.append(told),
    )
    assert came.halves.tobytes() == expected.halves.tobytes()
    one, many = (next((tmp_path / folder).glob("*/shards.json")).read_text() for folder in ("one", "many"))
    assert many == one
    assert heard[-1][:2] == (18, 18)
    nobody = encode_by(lambda *_: pytest.fail("all are there"), encoder.space, CAPTIONS, tmp_path / "one")
    np.testing.assert_array_equal(nobody.halves, expected.halves)


def test_a_worker_that_loads_another_model_is_refused(encoder, tmp_path):
    space = Space("another", "1", encoder.space.dim)
    with pytest.raises(SpaceMismatch, match="as a worker loads it"):
        encode_by(encoded_by(SerialEngine(), encoder), space, CAPTIONS, tmp_path)
