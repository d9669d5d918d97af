import importlib
import importlib.metadata
import inspect
import pkgutil

import pytest

import embridge

MODULES = ["embridge", *(m.name for m in pkgutil.walk_packages(embridge.__path__, "embridge."))]


@pytest.mark.parametrize("name", [m for m in MODULES if not m.endswith("__main__")])
def test_exported_names_exist_and_are_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} lacks a docstring"
    exported = getattr(module, "__all__", [])
    assert len(set(exported)) == len(exported)
    for member in exported:
        value = getattr(module, member)
        if inspect.isclass(value) or inspect.isfunction(value):
            written = inspect.getdoc(value) or ""
            made_by_dataclass = written.startswith(f"{member}(")
            assert written, f"{name}.{member} lacks a docstring"
            assert not made_by_dataclass, f"{name}.{member} lacks a docstring of its own"


def test_the_top_level_names_are_importable_by_star():
    namespace = {}
    exec("from embridge import *", namespace)
    assert set(embridge.__all__) <= set(namespace)


def test_the_version_is_the_installed_one():
    assert embridge.__version__ == importlib.metadata.version("embridge")
