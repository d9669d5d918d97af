"""Write the tables and plots of README and docs from ``results``; ``--check`` only says whether they are up to date.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``, on any page. The tables of a benchmark are the ``TABLES``
of its own ``tables.py``, each with its name; those over many benchmarks, and the plots, are in ``rendering``.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from benchmarks.record import FOLDER, about, benchmarks
from benchmarks.rendering import limits, plots, records, summary_page
from benchmarks.rendering.markdown import table

__all__ = ["MARK", "pages", "tables"]

ROOT = FOLDER.parent
MARK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def pages() -> list[Path]:
    """Where tables may stand."""
    return [ROOT / "README.md", FOLDER / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def tables() -> dict[str, Callable[[], str]]:
    """Every table by name: those of each benchmark, those over many, of the library's records, and the list of benchmarks."""
    by_name: dict[str, Callable[[], str]] = (
        {"benchmarks": every_benchmark} | summary_page.TABLES | records.TABLES | limits.TABLES
    )
    for benchmark in benchmarks():
        if (FOLDER / benchmark / "tables.py").exists():
            own = import_module(f"benchmarks.{benchmark}.tables").TABLES
            if again := own.keys() & by_name.keys():
                sys.exit(f"benchmarks/{benchmark}/tables.py: another benchmark has a table {', '.join(sorted(again))}")
            by_name |= own
    return by_name


def every_benchmark() -> str:
    """What each benchmark says of itself."""
    lines = [[f"`{name}`", *(about(name)[key] for key in ("question", "takes", "data"))] for name in benchmarks()]
    return table(["folder", "question", "takes", "data"], lines, words=range(4))


def rendered(page: Path, by_name: dict[str, Callable[[], str]]) -> str:
    """The page with its tables made again."""
    text = page.read_text()
    unknown = [name for _, name, _ in MARK.findall(text) if name not in by_name]
    if unknown:
        sys.exit(f"{page.relative_to(ROOT)}: no benchmark has a table {', '.join(unknown)}")
    return MARK.sub(lambda mark: f"{mark[1]}{by_name[mark[2]]()}\n{mark[3]}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check, by_name = parser.parse_args().check, tables()
    texts = {page: rendered(page, by_name) for page in pages()}
    texts |= {ROOT / "docs" / "images" / name: draw() for name, draw in plots.PLOTS.items()}
    stale = [path for path, text in texts.items() if not path.exists() or text != path.read_text()]
    if check and stale:
        names = ", ".join(path.relative_to(ROOT).as_posix() for path in stale)
        sys.exit(f"not up to date with benchmarks/results: {names}; run make tables")
    for path in stale:
        path.write_text(texts[path])


if __name__ == "__main__":
    main()
