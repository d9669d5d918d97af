"""Pairs that can teach nothing are refused or warned of, by every method that fits on pairs."""

import warnings

import numpy as np
import pytest

from embridge import Embeddings, Space
from embridge.errors import InvalidInput
from embridge.methods import METHODS, Pairs, make
from embridge.methods.signal import check_signal, own_is_higher

PAIRED = sorted(name for name, record in METHODS.items() if "pairs" in record.needs)
ROWS = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
ALIKE = np.tile(ROWS[:1], (100, 1)) * np.linspace(1, 2, 100, dtype=np.float32)[:, None]


def pairs_of(new, old):
    sides = (Embeddings.of(x.astype(np.float32), Space(m, "1", x.shape[1])) for x, m in ((new, "new"), (old, "old")))
    return Pairs(*sides, labels=np.arange(len(new)) % 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize(("new", "old", "side"), [(ROWS, ALIKE, "old"), (ALIKE, ROWS, "new"), (ALIKE, ALIKE, "new")])
def test_a_side_that_is_all_alike_is_refused(name, new, old, side):
    with pytest.raises(InvalidInput, match=f"all 100 {side} vectors point the same way"):
        make(name, {}).fit(pairs_of(new, old))


@pytest.mark.slow
@pytest.mark.parametrize("rows", [100, 5_000])
@pytest.mark.parametrize("dim", [8, 300])
def test_shuffled_pairs_are_warned_of_and_others_are_not(rows, dim):
    draw = np.random.default_rng(rows + dim)
    new = draw.normal(size=(rows, dim))
    turned = new @ np.linalg.qr(draw.normal(size=(dim, dim)))[0]
    noisy, bent = turned + 2 * draw.normal(size=turned.shape), np.abs(turned) + turned / 3
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fit a map into")
        for old in (turned, turned[:, : dim // 2], noisy, bent):
            check_signal(pairs_of(new, old))
        for old in (draw.permutation(turned), draw.normal(size=turned.shape), np.roll(turned, 1, axis=0)):
            with pytest.warns(UserWarning, match="the pairs look shuffled: mapped vectors of .* no better than chance"):
                check_signal(pairs_of(new, old))


@pytest.mark.parametrize("rows", [1, 2, 20])
def test_few_pairs_are_called_few_and_nothing_else(rows):
    new = np.random.default_rng(rows).normal(size=(rows, 384))
    with pytest.warns(UserWarning, match="pairs fit a map into 384 dimensions") as found:
        check_signal(pairs_of(new, np.random.default_rng(0).permutation(new)))
    assert len(found) == 1


def test_chance_is_one_half_and_repeated_answers_too():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(2, 300, 16))
    sides = [tuple(side[part].astype(np.float32) for side in (x, y)) for part in (slice(100), slice(100, 300))]
    assert own_is_higher(*sides) == pytest.approx(0.5, abs=0.08)
    (queries, answers) = sides[1]
    assert own_is_higher(sides[0], (queries, np.tile(answers[:1], (200, 1)))) == 0.5
