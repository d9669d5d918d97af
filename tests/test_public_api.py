"""What is public: listed here, in ``__all__`` and in the reference, documented in one style, and nothing else."""

import ast
import dataclasses
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import typing
from pathlib import Path
from types import FunctionType

import pytest

import embridge

ROOT = Path(__file__).parents[1]
MODULES = ["embridge", *(m.name for m in pkgutil.walk_packages(embridge.__path__, "embridge."))]
MODULES = [name for name in MODULES if not name.endswith("__main__")]
REFERENCE = "\n".join(page.read_text() for page in sorted((ROOT / "docs" / "reference").glob("*.md")))

TOP = [
    "ArtefactError",
    "Cascade",
    "CompatibleTraining",
    "Condition",
    "Embeddings",
    "EmbridgeError",
    "Encoder",
    "Fusion",
    "GateRefused",
    "HalfEmbeddings",
    "Hits",
    "InvalidInput",
    "Method",
    "MissingExtra",
    "MixedSearch",
    "Pairs",
    "Progress",
    "Provenance",
    "Ranking",
    "Relevance",
    "Report",
    "Scope",
    "ServiceError",
    "SettingsError",
    "Side",
    "Space",
    "SpaceMismatch",
    "Store",
    "StoreError",
    "Summary",
    "Upgrade",
    "WrongDirection",
    "XBTFinetune",
    "__version__",
    "concatenate",
    "evaluate",
    "evaluate_upgrade",
    "export_upgrade",
    "fit_upgrade",
    "inspect_path",
    "load_encoder",
    "load_report",
    "load_settings",
    "load_training_settings",
    "make_method",
    "make_objective",
    "open_store",
    "read_vectors",
    "rerank",
    "run_demo",
    "save_report",
    "search",
    "search_store",
    "summarise",
    "top_k",
    "train_model",
    "write_vectors",
]


def documented():
    """Every class and function that the reference lists, by itself or with its module, where it is defined."""
    found = {}
    for path in re.findall(r"^::: (embridge[\w.]*)$", REFERENCE, re.MULTILINE):
        if path in MODULES:
            module = importlib.import_module(path)
            found |= {f"{path}.{name}": getattr(module, name) for name in getattr(module, "__all__", [])}
        else:
            module, _, name = path.rpartition(".")
            found[path] = getattr(importlib.import_module(module), name)
    values = {f"{v.__module__}.{v.__qualname__}": v for v in found.values() if isinstance(v, type | FunctionType)}
    return [pytest.param(value, id=where) for where, value in sorted(values.items()) if where.startswith("embridge.")]


def test_the_top_level_names_are_these():
    assert sorted(embridge.__all__) == sorted(TOP)
    assert {*embridge._HOMES, "__version__"} == set(TOP)
    assert set(TOP) <= set(dir(embridge))
    with pytest.raises(AttributeError, match="module 'embridge' has no attribute 'nothing'"):
        _ = embridge.nothing


def test_type_checkers_see_what_is_imported_lazily():
    tree = ast.parse(Path(embridge.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    homes = {
        alias.asname or alias.name: (line.module, alias.name)
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert homes == {
        name: (f"embridge.{home}", embridge._NAMES_AT_HOME.get(name, name)) for name, home in embridge._HOMES.items()
    }


def test_the_top_level_names_are_importable_by_star():
    namespace = {}
    exec("from embridge import *", namespace)
    assert set(embridge.__all__) <= set(namespace)


def test_the_top_level_names_are_in_the_reference():
    page = (ROOT / "docs" / "reference" / "embridge.md").read_text()
    assert [name for name in TOP if not re.search(rf"\b{name}\b", page)] == []


def test_the_version_is_the_installed_one():
    assert embridge.__version__ == importlib.metadata.version("embridge")


@pytest.mark.parametrize("name", MODULES)
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


@pytest.mark.parametrize("value", documented())
def test_docstrings_have_sections_and_an_example(value):
    """``Args:`` or ``Attributes:`` name every argument, what is returned is told, and an example runs."""
    assert problems(value) == [], f"{value.__module__}.{value.__qualname__}"


def problems(value):
    text = inspect.getdoc(value) or ""
    named = set(re.findall(r"^    \*{0,2}(\w+)(?: \([^)]*\))?:", text, re.MULTILINE))
    arguments = arguments_of(value)
    found = [f"{name} is in no Args section" for name in arguments if name not in named]
    if arguments and not re.search(r"^(Args|Attributes):$", text, re.MULTILINE):
        found.append("no Args section")
    if inspect.isfunction(value) and returns(value) and not re.search(r"^(Returns|Yields):$", text, re.MULTILINE):
        found.append("no Returns section")
    if not re.search(r"^Examples:\n    >>> ", text, re.MULTILINE) and needs_example(value):
        found.append("no Examples section")  # in the plural: mkdocstrings shows it as code
    return found


def arguments_of(value):
    if inspect.isclass(value):
        if dataclasses.is_dataclass(value):
            own = inspect.get_annotations(value)  # those of a base class are documented there
            fields = [field for field in dataclasses.fields(value) if field.init and field.name in own]
            return [field.name for field in fields if not field.name.startswith("_")]
        if not plain(value):
            return []
        value = value.__init__
    names = list(inspect.signature(value).parameters)
    return [name for name in names if name not in ("self", "cls") and not name.startswith("_")]


def plain(kind):
    """A class that people make themselves: no protocol, error, type of a dictionary or settings read from YAML."""
    special = getattr(kind, "_is_protocol", False) or issubclass(kind, BaseException) or typing.is_typeddict(kind)
    return not special and "__init__" in vars(kind) and not inspect.isabstract(kind)


def needs_example(value):
    if inspect.isfunction(value) or dataclasses.is_dataclass(value):
        return True
    return plain(value)


def returns(value):
    annotation = inspect.signature(value).return_annotation
    return annotation not in (None, "None", inspect.Signature.empty)
