"""Actors of a Ray cluster of two machines: as processes do it, and when a worker or a machine is lost."""

import numpy as np
import pytest
from shard_work import Work

from embridge import Embeddings, Space, search, write_vectors
from embridge.errors import InvalidInput, WorkerError
from embridge.scale import EngineSettings, open_engine
from embridge.scale.gallery import spreading

pytestmark = pytest.mark.slow
SQUARES = [(number, number * number) for number in range(6)]


@pytest.fixture(scope="module")
def engine(ray_cluster):
    with open_engine(f"ray:{ray_cluster.address}") as opened:
        yield opened


def test_shards_that_fail_or_kill_their_worker(engine, tmp_path):
    assert engine.workers == 2
    for way in ("killed once", "no memory once"):
        folder = tmp_path / way
        folder.mkdir()
        work = Work(str(folder), odd=2, way=way)
        assert sorted(engine.run(work, range(6))) == SQUARES
        assert work.marks("done") == sorted(f"done {number}" for number in range(6))
        assert len(work.marks("began")) == 7
    with pytest.raises(InvalidInput, match=r"^3: row 7 holds NaN"):
        list(engine.run(Work(odd=3, way="refused"), range(6)))


def test_a_machine_that_is_lost_costs_one_shard(engine, ray_cluster, tmp_path):
    work, lost = Work(str(tmp_path), way="all slow"), []

    def shards():
        for number in range(6):
            if number == 3:
                ray_cluster.lose()
                lost.append(number)
            yield number

    try:
        assert sorted(engine.run(work, shards())) == SQUARES
    finally:
        ray_cluster.restore()
    assert set(work.marks("done")) == {f"done {number}" for number in range(6)}
    assert len(work.marks("done")) in (6, 7)  # what it had done may not have been heard
    assert len(work.marks("began")) in (6, 7)
    assert sorted(engine.run(work, range(6))) == SQUARES


def test_what_the_cluster_has_no_room_for_is_refused(engine, ray_cluster):
    with pytest.raises(
        WorkerError, match=r"asks for 1 processors and 1 GPUs; the cluster at .* has \d processors and 0 GPUs"
    ):
        open_engine(f"ray:{ray_cluster.address}", EngineSettings(gpus=1))
    with pytest.raises(
        WorkerError, match=r"and 1e\+15 bytes of memory; the cluster at .* has \d processors and .*e\+.* bytes"
    ):
        open_engine(f"ray:{ray_cluster.address}", EngineSettings(memory_gb=1e6))


def test_actors_find_what_one_process_finds(engine, tmp_path):
    draw, space = np.random.default_rng(0), Space("toy", "1", 4)
    queries, rows = (Embeddings.of(draw.integers(-1, 2, (n, 4)).astype(np.float32), space) for n in (9, 40_000))
    expected = search(queries, rows, 20)
    with spreading(engine, tmp_path / "work") as workers:
        for gallery in (workers.held(rows), workers.file(write_vectors(rows, tmp_path / "rows.npy"))):
            came = gallery.search(queries, 20)
            assert came.ids == expected.ids
            assert came.scores.tobytes() == expected.scores.tobytes()
