"""Which test files run together: those that need a server share one process, and so one server of each kind.

And which are not even imported in the fast run: files that say of all their tests that they are slow.
"""

from functools import cache

import pytest

SERVERS = ("postgres_server", "chroma_server", "ray_cluster")
ALL_SLOW = "\npytestmark = pytest.mark.slow"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadFileScheduling

    class FilesTogether(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "servers" if needs_server(config.rootpath / file) else file

    return FilesTogether(config, log) if config.getvalue("dist") == "loadfile" else None


@cache
def needs_server(file):
    return any(server in file.read_text() for server in SERVERS)


def pytest_ignore_collect(collection_path, config):
    fast = config.option.markexpr == "not slow" and collection_path.suffix == ".py"
    return True if fast and ALL_SLOW in collection_path.read_text() else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """A test that needs a server is slow."""
    for item in items:
        if set(SERVERS) & set(item.fixturenames):
            item.add_marker("slow")
