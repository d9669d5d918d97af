"""Prefixes and prompts that one side was encoded with: a direction that all its vectors share, and meaning that is lost."""

import warnings

import numpy as np
import pytest

from embridge import Embeddings, Space
from embridge.adapters.base import normalized
from embridge.methods import Pairs
from embridge.methods.prompts import prompt_shift
from embridge.methods.signal import check_signal

DRAW = np.random.default_rng(0)
ITEMS = DRAW.normal(size=(600, 12)) * np.linspace(2, 0.5, 12)
LIFT = DRAW.normal(size=(12, 24))


def embeddings(rows, model="old", ids=None):
    rows = np.ascontiguousarray(rows, np.float32)
    return Embeddings.of(rows, Space(model, "1", rows.shape[1]), ids)


CLUSTERED = DRAW.normal(size=(40, 64))[DRAW.integers(40, size=448)] + 0.5 * DRAW.normal(size=(448, 64))
LENGTH = np.linalg.norm(CLUSTERED, axis=1).mean()


def narrow(rows):
    """Most of each vector is one direction that all share, as behind a long instruction."""
    return np.hstack([rows / LENGTH, np.full((len(rows), 1), 3.0)])


def test_a_long_prompt_before_the_new_side_alone_is_named():
    turned = CLUSTERED @ np.linalg.qr(DRAW.normal(size=(64, 64)))[0] + 0.3 * DRAW.normal(size=CLUSTERED.shape)
    with pytest.warns(UserWarning, match="the new side looks as if it were encoded with a long prefix or prompt"):
        check_signal(Pairs(embeddings(narrow(CLUSTERED), "new"), embeddings(turned)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_signal(Pairs(embeddings(narrow(CLUSTERED), "new"), embeddings(narrow(turned))))
        check_signal(Pairs(embeddings(CLUSTERED, "new"), embeddings(turned)))
        check_signal(Pairs(embeddings(CLUSTERED, "new"), embeddings(narrow(turned))))


@pytest.mark.parametrize("mean", [0.0, 3.0])
def test_means_that_differ_by_nature_are_not(mean):
    turned = ITEMS @ LIFT @ np.linalg.qr(DRAW.normal(size=(24, 24)))[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_signal(Pairs(embeddings(ITEMS @ LIFT + mean, "new"), embeddings(turned)))
        check_signal(Pairs(embeddings(ITEMS @ LIFT, "new"), embeddings(turned + mean)))


def test_items_that_a_prompt_moved_are_told_by_their_ids():
    plain = ITEMS @ LIFT
    moved = normalized(plain.astype(np.float32)) + 0.6 * np.eye(24, dtype=np.float32)[0]
    order = DRAW.permutation(600)
    names = [f"doc {i}" for i in range(600)]
    stored = embeddings(plain[order], ids=[names[i] for i in order])
    assert prompt_shift(embeddings(moved, ids=names), stored) == pytest.approx(0.86, abs=0.03)
    assert prompt_shift(embeddings(plain, ids=names), stored) is None
    rounded = plain.astype(np.float16).astype(np.float32)
    assert prompt_shift(embeddings(rounded, ids=names), stored) is None


@pytest.mark.parametrize("shared", [0, 49])
def test_few_shared_ids_say_nothing(shared):
    rows = ITEMS[:60]
    other = [f"{i}" if i < shared else f"other {i}" for i in range(60)]
    assert prompt_shift(embeddings(rows + 3), embeddings(rows, ids=other)) is None


def test_row_numbers_that_two_files_share_by_chance_say_nothing():
    assert prompt_shift(embeddings(ITEMS + 3), embeddings(DRAW.permutation(ITEMS))) is None


def test_other_vectors_of_the_same_items_that_moved_every_way_say_nothing():
    noise = 0.7 * ITEMS.std() * DRAW.normal(size=ITEMS.shape)
    assert prompt_shift(embeddings(ITEMS + noise), embeddings(ITEMS)) is None
