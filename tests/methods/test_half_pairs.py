"""Pairs stored at half precision: the same maps, without the memory."""

import os
import subprocess
import sys

import numpy as np
import pytest

from embridge import Embeddings
from embridge.adapters.base import normalized
from embridge.datasets import glyph_models
from embridge.datasets.glyphs import undrawn_names
from embridge.embeddings import HalfEmbeddings
from embridge.encoders import load
from embridge.methods import METHODS, Pairs, make, moments
from embridge.methods.procrustes import fit_rotation
from embridge.methods.unit_rows import UnitRows
from embridge.methods.validation import held_out_score

WITHIN = """
import resource
import sys
import numpy as np
import torch
from embridge import Space
from embridge.embeddings import HalfEmbeddings
from embridge.methods import Pairs, make

torch.set_num_threads(1)
rows, dims, sides = 300_000, {"new": 96, "old": 128}, []
ids = tuple(map(str, range(rows)))
for seed, (name, dim) in enumerate(dims.items()):
    made = np.lib.format.open_memmap(f"{name}.npy", "w+", np.float16, (rows, dim))
    for start in range(0, rows, 50_000):
        made[start : start + 50_000] = np.random.default_rng([seed, start]).integers(-9, 10, (50_000, dim), np.int8)
    made.flush()
    sides.append(HalfEmbeddings(ids, np.load(f"{name}.npy", mmap_mode="r"), Space(name, "1", dim)))
pairs = Pairs(*sides)
make("xbt", {"hidden_width": 16, "training": {"min_steps": 20}}).fit(pairs.take(np.arange(500)))  # what torch needs to begin with
held_bytes = next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith("VmData"))
copy_bytes = 4 * rows * sum(dims.values())
limit_bytes = held_bytes + copy_bytes * 4 // 5
resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))
try:
    copies = [side.vectors for side in sides]
except MemoryError:
    print("no room for one float32 copy")
upgrade = make("xbt", {"hidden_width": 16, "training": {"epochs": 1, "patience": 1}}).fit(pairs)
print(upgrade.provenance.figures["steps"], "steps")
"""


def half(side):
    return HalfEmbeddings(side.ids, side.vectors.astype(np.float16), side.space)


def halved(pairs):
    return Pairs(half(pairs.new), half(pairs.old), pairs.weights, pairs.labels)


def widened(pairs):
    """What is stored at half precision, as float32 in memory."""
    new, old = (Embeddings(s.ids, s.vectors, s.space) for s in (pairs.new, pairs.old))
    return Pairs(new, old, pairs.weights, pairs.labels)


def quick(name):
    training = {"epochs": 1, "min_steps": 60, "batch_size": 64}
    trained = {"hidden_width": 32, "training": training}
    if name == "choose":
        return {"candidates": ["procrustes", "ridge", "xbt"], "settings": {"xbt": trained}}
    if name == "xbt":
        return trained
    return {"training": training} if METHODS[name].cost == "trained" else {}


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, record in METHODS.items() if "one dim" not in record.needs])
def test_every_method_makes_the_same_bytes_of_stored_pairs_as_of_those_numbers_in_memory(make_pairs, name):
    pairs = halved(make_pairs(rows=400))
    pairs = Pairs(pairs.new, pairs.old, np.linspace(1, 2, 400), np.arange(400) % 20)
    actual, expected = (make(name, quick(name)).fit(p, seed=3) for p in (pairs, widened(pairs)))
    assert actual.provenance.data == expected.provenance.data
    weights = actual.bridge.weights()
    assert {n: w.tobytes() for n, w in expected.bridge.weights().items()} == {
        n: w.tobytes() for n, w in weights.items()
    }


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_a_rotation_of_many_parts_is_that_of_one(make_pairs, monkeypatch, center, weighted):
    pairs = make_pairs(rows=500, noise=0.5)
    if weighted:
        pairs = Pairs(pairs.new, pairs.old, np.random.default_rng(1).uniform(0.1, 5, 500))
    rows = np.random.default_rng(2).permutation(500)[:333]
    whole, some = fit_rotation(pairs, center=center), fit_rotation(pairs.take(rows), center=center)
    monkeypatch.setattr(moments, "_CHUNK_ROWS", 37)
    for expected, actual in (
        (whole, fit_rotation(pairs, center=center)),
        (some, fit_rotation(pairs, center=center, rows=rows)),
        (some, fit_rotation(pairs.take(rows), center=center)),
    ):
        np.testing.assert_allclose(actual.weight, expected.weight, atol=1e-6)
        if center:
            np.testing.assert_allclose(actual.bias, expected.bias, atol=1e-6)


def test_a_batch_is_the_unit_rows_asked_for(make_pairs):
    import torch

    pairs = halved(make_pairs())
    rows = UnitRows(pairs, np.arange(300)[::-3], "cpu")
    assert len(rows) == 100
    new, old = rows.batch(torch.tensor([99, 0]))
    for side, actual in ((pairs.new, new), (pairs.old, old)):
        np.testing.assert_array_equal(actual.numpy(), normalized(side.vectors[[2, 299]]))
    assert rows.first(10_000)[0].shape == (100, 24)


@pytest.fixture(scope="module")
def glyph_pairs():
    texts = undrawn_names()
    texts = [texts[i] for i in np.random.default_rng(0).permutation(len(texts))[:2_500]]
    sides = []
    for name in ("new", "old"):
        encoder = load(f"clip:{glyph_models.folder(name)}", device="cpu")
        sides.append(Embeddings.of(encoder.encode(texts, modality="text"), encoder.space))
    return Pairs(*sides)


def reciprocal_ranks(mapped, old):
    """What `held_out_score` is the mean of: some captions have one old vector, and rank behind all of the same score."""
    scores = mapped.astype(np.float64) @ old.astype(np.float64).T
    ranks = (scores >= scores.diagonal()[:, None] - 1e-12).sum(axis=1)
    return np.where(ranks <= 10, 1 / ranks, 0.0)


def cosines(mapped, old):
    return (mapped * old).sum(axis=1)


FROM_NOTHING = {"hidden_width": 64, "skip": False, "precision": "float32"}
FROM_NOTHING["training"] = {"batch_size": 128, "epochs": 4, "min_steps": 120, "patience": 20}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings", "agreement"),
    [
        # directions in which these captions hardly vary are any rotation's guess; the rest agrees
        ("procrustes", {}, 0.998),
        pytest.param("xbt", FROM_NOTHING, 0.96, marks=pytest.mark.slow),
    ],
)
def test_half_precision_costs_nothing_that_can_be_measured(glyph_pairs, name, settings, agreement):
    """Of fits that differ in nothing else, seed by seed and caption by caption.

    A training stops by its scores, so that rounding, of the numbers or of a processor, can end it an epoch sooner or
    later, as another seed does. So how far the two may be apart is not set here but follows from what they show: five
    standard errors of their mean difference, which another draw of captions moves, and another draw of seeds.
    """
    train, unseen = (glyph_pairs.take(np.arange(*part)) for part in ((0, 2_000), (2_000, 2_500)))
    old, differences = normalized(unseen.old.vectors), {cosines: [], reciprocal_ranks: []}
    for seed in range(4):
        exact, stored = (
            normalized(make(name, settings).fit(pairs, seed=seed).to_index_space(unseen.new).vectors)
            for pairs in (train, halved(train))
        )
        assert cosines(exact, stored).mean() > agreement
        assert held_out_score(exact, old) == pytest.approx(reciprocal_ranks(exact, old).mean(), abs=1e-6)
        assert held_out_score(exact, old) > 0.1  # by chance about 0.006
        for measure, rows in differences.items():
            rows.append(measure(exact, old) - measure(stored, old))
    for measure, rows in differences.items():
        error = np.hypot(standard_error(np.mean(rows, axis=0)), standard_error(np.mean(rows, axis=1)))
        assert abs(np.mean(rows)) <= 5 * error, measure.__name__


def standard_error(values):
    return np.std(values, ddof=1) / len(values) ** 0.5


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit on private memory is Linux's")
def test_a_fit_needs_less_than_one_float32_copy_of_its_pairs(tmp_path):
    environment = os.environ | {"EMBRIDGE_CHECK_SHAPES": ""}
    done = subprocess.run(
        [sys.executable, "-c", WITHIN], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    output = done.stdout.split("\n")
    assert output[0] == "no room for one float32 copy"
    assert int(output[1].split()[0]) > 20
