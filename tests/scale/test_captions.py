"""Captions that workers encode: the bytes of one process, and no worker where all of them are there."""

import csv
import os
from contextlib import contextmanager

import numpy as np
import pytest
import yaml
from planted_model import PROVIDER, PlantedEngine

from embridge.datasets import glyph_models
from embridge.encoders import PROVIDERS, LazyEncoder
from embridge.encoders.caption_cache import encode_by, encode_once
from embridge.errors import SpaceMismatch
from embridge.jobs.fit import fit_upgrade
from embridge.scale import SerialEngine, open_engine
from embridge.scale.captions import encoded_by
from embridge.settings import load_settings
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


@pytest.mark.slow
@pytest.mark.parametrize("place", ["local", "ray"])
def test_a_fit_is_that_of_one_process_whoever_encodes(place, tmp_path, monkeypatch, request):
    monkeypatch.setitem(PROVIDERS, "planted", PROVIDER)
    monkeypatch.setattr("embridge.encoders.caption_cache._SHARD_ROWS", 50)
    angles = np.random.default_rng(0).uniform(0, 7, 400)
    numbers = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)  # as long as 1 by either model
    with (tmp_path / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["caption"], *([" ".join(map(str, row))] for row in numbers)])
    with opened(place, request) as pool:
        engine = PlantedEngine(pool, folder=tmp_path)
        for name, workers in (("one", None), ("many", engine)):
            fit = {"captions": "captions.csv", "method": "ridge", "cache": f"{name}-cache"}
            settings = {"old": "planted:old", "new": "planted:new", "fit": fit, "upgrade": f"{name}-upgrade"}
            (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
            fit_upgrade(load_settings(tmp_path / "settings.yaml"), engine=workers)
    assert len(engine.marks("done")) == 2 * 8
    assert os.getpid() not in {pid for pid, _ in engine.marks("worker")}
    weights = [(tmp_path / f"{name}-upgrade" / "weights.safetensors").read_bytes() for name in ("one", "many")]
    assert weights[0] == weights[1]
    held = [sorted(path.read_bytes() for path in tmp_path.glob(f"{name}-cache/*/*.f16")) for name in ("one", "many")]
    assert (held[0] == held[1], len(held[0])) == (True, 2)


@contextmanager
def opened(place, request):
    """An engine of two workers."""
    name = "local:2" if place == "local" else f"ray:{request.getfixturevalue('ray_cluster').address}"
    with open_engine(name) as engine:
        yield engine
