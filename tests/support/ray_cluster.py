"""A Ray cluster of two machines that are processes here, of one processor each; the second one may be lost."""

import os
import sys

import pytest

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_health_check_period_ms": "300",
    "RAY_health_check_failure_threshold": "3",
}
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


class TwoNodes:
    def __init__(self):
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        self.second = self.cluster.add_node(**NODE)

    @property
    def address(self):
        return self.cluster.address

    def lose(self):
        """The second machine, and whatever runs there, at once."""
        self.cluster.remove_node(self.second, allow_graceful=False)

    def restore(self):
        self.second = self.cluster.add_node(**NODE)


@pytest.fixture(scope="session")
def ray_cluster():
    values = {**QUIET, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    nodes = TwoNodes()
    yield nodes
    nodes.cluster.shutdown()
    for name, value in before.items():
        os.environ.pop(name)
        if value is not None:
            os.environ[name] = value
