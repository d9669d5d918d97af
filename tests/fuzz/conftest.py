import resource
from pathlib import Path

import pytest

MOST_BYTES = 2 << 30


@pytest.fixture(autouse=True)
def _as_a_user_meets_it(as_in_production):
    """The library's own checks, without those of shapes and types that tests add."""


@pytest.fixture(scope="module", autouse=True)
def _bounded_memory():
    """What asks for more than 2 GiB beside what is held raises MemoryError, which no mutant may."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + MOST_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
