"""Actors of a machine whose memory is short, which Ray's monitor ends: on demand, since they take gigabytes."""

import os
from pathlib import Path

import pytest
from ray_cluster import NODE
from shard_work import Work

from embridge.errors import WorkerError
from embridge.scale import EngineSettings, open_engine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("EMBRIDGE_KILLS" not in os.environ, reason="takes 3 GB for a second; EMBRIDGE_KILLS=1 runs it"),
]
ROOM = 1.5e9


@pytest.fixture
def engine(ray_cluster):
    """On a third machine, the one with a GPU, whose monitor leaves this little room."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    memory = {name: int(kilobytes) * 1024 for name, kilobytes, *_ in lines}
    limit = (memory["MemTotal:"] - memory["MemAvailable:"] + ROOM) / memory["MemTotal:"]
    variables = {"RAY_memory_usage_threshold": f"{limit:.4f}", "RAY_memory_monitor_refresh_ms": "50"}
    node = ray_cluster.cluster.add_node(**NODE, num_gpus=1, env_vars=variables)
    with open_engine(f"ray:{ray_cluster.address}", EngineSettings(gpus=1, retries=1)) as opened:
        yield opened
    ray_cluster.cluster.remove_node(node)


def test_a_shard_whose_actor_found_no_memory_is_done_by_another(engine, tmp_path):
    work = Work(str(tmp_path), odd=1, way="greedy once")
    assert sorted(engine.run(work, range(4))) == [(0, 0), (1, 1), (2, 4), (3, 9)]
    assert (len(work.marks("began")), len(work.marks("done")), len(work.marks("prepared"))) == (5, 4, 2)


def test_one_that_never_finds_enough_is_named_with_what_to_do(engine, tmp_path):
    work = Work(str(tmp_path), odd=1, way="greedy")
    with pytest.raises(
        WorkerError, match=r"^1: 2 workers died of it, the last one: out of memory: Ray .*batch_rows of .*memory_gb"
    ):
        list(engine.run(work, range(4)))
    assert work.marks("began 1") == ["began 1"] * 2
