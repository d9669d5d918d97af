"""The folder of benchmarks: each says what it answers, and none needs the code of another."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
NAMES = sorted(path.parent.name for path in BENCHMARKS.glob("*/run.py"))


@pytest.fixture
def record(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.record")


def test_each_has_a_folder_with_settings_and_results(record):
    assert record.benchmarks() == NAMES
    results = {path.stem for path in (BENCHMARKS / "results").glob("*.json")}
    results |= {path.name for path in (BENCHMARKS / "results").iterdir() if path.is_dir()}
    assert results == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_answers_and_how_long_it_takes(record, name):
    about = record.about(name)
    assert about.keys() == {"question", "kind", "takes", "data"}
    assert about["kind"] in {"maps", "speed", "training"}
    assert "about" not in record.read_config(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_can_be_run(monkeypatch, name):
    monkeypatch.syspath_prepend(ROOT)
    assert callable(importlib.import_module(f"benchmarks.{name}.run").main)


@pytest.mark.parametrize("name", NAMES)
def test_each_touches_its_own_folder_only(name):
    others = "|".join(set(NAMES) - {name})
    for path in (BENCHMARKS / name).glob("*.py"):
        assert not re.findall(rf"benchmarks\.(?:{others})\b", path.read_text()), path


def test_what_is_shared_knows_of_no_benchmark():
    for path in {*BENCHMARKS.rglob("*.py")} - {path for name in NAMES for path in (BENCHMARKS / name).rglob("*.py")}:
        assert not re.findall(rf"benchmarks\.(?:{'|'.join(NAMES)})\b", path.read_text()), path
