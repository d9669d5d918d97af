"""Every example in a docstring runs. They are read from the source: wrapped functions hide theirs from doctest."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"


def examples():
    for file in sorted(SOURCE.rglob("*.py")):
        source = file.read_text()
        if ">>>" not in source:
            continue
        parts = file.relative_to(SOURCE).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for node in documented(ast.parse(source)):
            docstring = ast.get_docstring(node)
            if docstring and ">>>" in docstring:
                yield pytest.param(module, docstring, id=f"{module}.{getattr(node, 'name', '')}")


def documented(node):
    """A module, a class or a function, and those in it."""
    yield node
    for part in node.body:
        if isinstance(part, (ast.ClassDef, ast.FunctionDef)):
            yield from documented(part)


EXAMPLES = list(examples())


@pytest.mark.parametrize(("module", "docstring"), EXAMPLES)
def test_examples_run(module, docstring, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = dict(vars(importlib.import_module(module)))
    test = doctest.DocTestParser().get_doctest(docstring, names, module, None, 0)
    told = []
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=told.append)
    assert result.attempted > 0
    assert result.failed == 0, "".join(told)


def test_the_library_has_examples():
    assert len(EXAMPLES) >= 10
