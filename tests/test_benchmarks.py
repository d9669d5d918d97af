"""The folder of benchmarks: each says what it answers."""

import importlib
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


@pytest.mark.parametrize("name", NAMES)
def test_each_can_be_run(monkeypatch, name):
    monkeypatch.syspath_prepend(ROOT)
    assert callable(importlib.import_module(f"benchmarks.{name}.run").main)
