"""What checks the library's calls in the tests: beartype, taking an int where a float is said."""

from importlib.util import find_spec
from pathlib import Path

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def modules_with_shapes() -> list[str]:
    """The modules that state shapes; in the others there is nothing to check that mypy does not check."""
    source = Path(find_spec("embridge").submodule_search_locations[0])
    files = [file for file in sorted(source.rglob("*.py")) if "from embridge.shapes import" in file.read_text("utf-8")]
    return [".".join(("embridge", *file.relative_to(source).with_suffix("").parts)) for file in files]
