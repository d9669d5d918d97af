"""The main job on vectors of real CLIPs; skipped, visibly, where the data are not."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from embridge import Embeddings, Space, top_k
from embridge.jobs.inspect import inspect_file
from embridge.methods import Pairs, make

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("EMBRIDGE_DATA") or ROOT.parent / "shared" / "data")
RESULTS = ROOT / "benchmarks" / "results"
FILE = DATA / "clip_lvis" / "clip_lvis1203.npz"

needs_data = pytest.mark.skipif(not FILE.exists(), reason=f"{FILE} is not there; set EMBRIDGE_DATA")


@pytest.fixture(scope="module")
def lvis():
    with np.load(FILE, allow_pickle=False) as data:
        named = {n: data[n].astype(np.float32) for n in data if n != "names"}
    return {n: v / np.linalg.norm(v, axis=1, keepdims=True) for n, v in named.items()}


def embeddings(rows, name):
    return Embeddings.of(rows, Space(name, "", rows.shape[1]))


def recall_at_1(queries, gallery, rows):
    return (top_k(queries, gallery, 1).rows[:, 0] == rows).mean()


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("method", ["procrustes", "xbt"])
@pytest.mark.filterwarnings("ignore:.*pairs fit a map into")
def test_text_alone_bridges_real_clips_to_images(lvis, method):
    order = np.random.default_rng(0).permutation(1_203)
    fitted, held = order[:900], order[900:]
    new, old = (embeddings(lvis[n], n) for n in ("evaclip_vitb16_text", "openai_vitb32_text_a"))
    settings = {"training": {"min_steps": 60}} if method == "xbt" else None
    upgrade = make(method, settings).fit(Pairs(new.take(fitted), old.take(fitted)))
    images = lvis["openai_vitb32_image_exemplar"]
    old_recall = recall_at_1(old.vectors[held], images, held)
    naive = recall_at_1(new.vectors[held], images, held)
    bridged = recall_at_1(upgrade.to_index_space(new.take(held)).vectors, images, held)
    assert 0.55 < old_recall < 0.72
    assert naive < 0.02
    assert bridged > 0.45


@pytest.mark.slow
@needs_data
def test_inspection_suspects_a_mix_of_real_models_and_nothing_else(lvis, tmp_path):
    old, new = lvis["openai_vitb32_text_a"], lvis["evaclip_vitb16_text"]
    for name, rows, mixed in (("old", old, False), ("new", new, False), ("both", np.r_[old[:900], new[900:]], True)):
        np.save(tmp_path / f"{name}.npy", rows)
        found = inspect_file(tmp_path / f"{name}.npy")
        assert any("suspected mixing" in s for s in found.suspicions) == mixed
        assert found.problems == ()


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(RESULTS.rglob("*.json")), ids=lambda p: p.relative_to(RESULTS).as_posix())
def test_benchmark_results_are_tidy(path):
    result = json.loads(path.read_text())
    assert result["schema"] == "embridge.benchmark/1"
    assert result["benchmark"] == path.relative_to(RESULTS).with_suffix("").parts[0]  # or one file a run, in its folder
    assert {"python", "libraries", "cpu", "accelerator", "threads"} <= set(result["environment"])
    assert result["rows"]
    for row in result["rows"]:
        assert {"method", "seed", "setting", "cell", "direction", "metric", "value", "low", "high"} <= set(row)
        assert row["low"] <= row["value"] <= row["high"]
