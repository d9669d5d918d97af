import inspect
import re
import tomllib
from pathlib import Path

import pytest

from embridge import errors
from embridge.errors import EmbridgeError, MissingExtra, require

ROOT = Path(__file__).parents[1]


def drawn():
    """(name, parent, exit code) of every line of the tree in the docstring."""
    lines = errors.__doc__.split("```")[1].strip().splitlines()
    above = []
    for line in lines:
        name = re.search(r"\w+", line)
        depth = name.start() // 4
        above[depth:] = [name.group()]
        code = re.search(r"exit code (\d+)", line)
        yield name.group(), above[depth - 1] if depth else "Exception", int(code.group(1)) if code else None


def test_the_tree_in_the_docstring_is_the_tree():
    tree = {name: (parent, code) for name, parent, code in drawn()}
    classes = {name: c for name, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, EmbridgeError)}
    assert set(tree) == set(classes) == set(errors.__all__) - {"require"}
    for name, (parent, code) in tree.items():
        assert classes[name].__bases__[0].__name__ == parent, name
        assert classes[name].exit_code == (1 if code is None else code), name


def test_errors_can_be_caught_as_builtin_ones():
    for error in (errors.InvalidInput, errors.SpaceMismatch, errors.ArtefactError, errors.SettingsError):
        assert issubclass(error, ValueError)
    assert issubclass(errors.MissingExtra, ImportError)


def test_require_imports_what_is_there():
    assert require("json.decoder", extra="clip").__name__ == "json.decoder"


def test_require_names_the_extra():
    with pytest.raises(MissingExtra, match=r"nowhere_xyz is needed here .* pip install 'embridge\[clip\]'"):
        require("nowhere_xyz", extra="clip")


def test_require_names_the_module_that_another_one_needs(tmp_path, monkeypatch):
    (tmp_path / "half_installed.py").write_text("import nowhere_xyz")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra, match="half_installed is needed here and nowhere_xyz is not installed"):
        require("half_installed", extra="lancedb")


def test_every_extra_that_is_named_exists():
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        extra
        for file in (ROOT / "src").rglob("*.py")
        for extra in re.findall(r"""require\([^)]*extra=["'](\w+)["']""", file.read_text())
    }
    assert len(named) >= 4
    assert named <= set(known)
