"""The whole job on built-in data: `run_demo`."""

from embridge.jobs.demo._job import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]
