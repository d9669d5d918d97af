"""Every example in a docstring runs. They are read from the source: wrapped functions hide theirs from doctest."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"


def examples():
    for file in sorted(SOURCE.rglob("*.py")):
        parts = file.relative_to(SOURCE).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                docstring = ast.get_docstring(node)
                if docstring and ">>>" in docstring:
                    yield pytest.param(module, docstring, id=f"{module}.{getattr(node, 'name', '')}")


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
