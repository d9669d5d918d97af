"""Shapes are checked in every call of a module that states them; one torch thread; no network."""

import gc
import os
import signal
import sys

os.environ["EMBRIDGE_CHECK_SHAPES"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # for the processes that tests start

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in a shell's background jobs; what is started would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
import shape_checker
from hypothesis import settings
from jaxtyping import config

gc.disable()  # until all is imported, below
sys.dont_write_bytecode = False  # or each of many processes compiles the library again

shape_checker.check_calls()

pytest_plugins = [
    "run_summary", "files_together", "demo_run", "warm_commands", "postgres_server", "chroma_server", "ray_cluster",
]  # fmt: skip

settings.register_profile("embridge", deadline=None, max_examples=40, derandomize=True, database=None)
settings.load_profile("embridge")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What was imported stays; no search for garbage looks through it again."""
    collected = yield
    gc.freeze()
    gc.enable()
    return collected


@pytest.fixture
def as_in_production():
    """No shape checks, so that wrong input meets the library's own errors, as it does for a user."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
