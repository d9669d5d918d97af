"""What every held-out score gives to maps that say nothing: no more than chance, and a training that diverged ends."""

import numpy as np
import pytest
import torch
from torch import nn

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Identity, Linear, Provenance
from embridge.errors import InvalidInput
from embridge.methods import Pairs
from embridge.methods.candidate_scores import scores_of_pairs
from embridge.methods.judges import HeldOutCaptions, HeldOutImages
from embridge.methods.pair_rows import Rows
from embridge.methods.real_pairs import RealPairs
from embridge.methods.training_loop import train_by_loss
from embridge.methods.training_settings import Training
from embridge.methods.validation import held_out_score
from embridge.progress import silent
from embridge.training.compatible.held_out_items import nearest_is_right
from embridge.training.xbt.held_out_pairs import mean_reciprocal_rank

N, NEW, OLD = 40, Space("new", "1", 4), Space("old", "1", 4)
ROWS = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
UNIT = ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)
FAULTS = {"alike": np.ones((N, 4), np.float32) / 2, "nan": np.full((N, 4), np.nan, np.float32)}


def by_captions(mapped):
    rows = torch.from_numpy(UNIT)
    return float(HeldOutCaptions((rows, rows), (rows, rows)).values(lambda _: torch.from_numpy(mapped)).mean())


def by_images(mapped):
    new, old = Embeddings.of(UNIT, NEW), Embeddings.of(UNIT, OLD)
    judge = HeldOutImages(RealPairs(new, new, old, old), torch.from_numpy(UNIT))
    return float(judge.values(lambda _: torch.from_numpy(mapped)).mean())


def by_rows(mapped):
    rows = torch.from_numpy(UNIT)
    return mean_reciprocal_rank(torch.from_numpy(mapped), rows, torch.arange(N))


SCORES = {"captions": by_captions, "images": by_images, "pairs": by_rows, "top ten": lambda m: held_out_score(m, UNIT)}


@pytest.mark.parametrize("score", sorted(SCORES))
def test_a_map_into_nan_finds_nothing_and_a_good_one_all(score):
    assert SCORES[score](FAULTS["nan"]) <= 1 / N + 1e-8
    assert SCORES[score](UNIT) > 0.5 - 1e-6  # captions are ranked beside themselves here: second at best


def test_equal_answers_rank_behind_all_that_score_the_same():
    rows = FAULTS["alike"]
    x, new, old = torch.from_numpy(rows), Embeddings.of(rows, NEW), Embeddings.of(rows, OLD)
    found = [
        float(HeldOutCaptions((x, x), (x, x)).values(nn.Identity()).max()),
        RealPairs(new, new, old, old).reciprocal_ranks(lambda mapped: mapped).max(),
        mean_reciprocal_rank(x, x, torch.arange(N)),
        held_out_score(rows, rows),
    ]
    assert max(found) <= 1 / N + 1e-8


def test_a_candidate_that_maps_to_nan_is_out():
    pairs = Pairs(Embeddings.of(ROWS, NEW), Embeddings.of(ROWS, OLD))
    maps = {"good": np.eye(4, dtype=np.float32), "broken": np.full((4, 4), 3e38, np.float32)}
    upgrades = {n: Upgrade(Identity(NEW, NEW), Linear(NEW, OLD, m), Provenance(n)) for n, m in maps.items()}
    with np.errstate(all="ignore"):
        scores = scores_of_pairs(upgrades, pairs, pairs, seed=0)
    assert scores.refused == {"broken": "finds no more than chance"}


def test_the_nearest_of_equals_counts_by_its_share():
    labels = np.repeat(np.arange(4), 10)
    assert nearest_is_right(FAULTS["alike"], FAULTS["alike"], labels) == pytest.approx(9 / 39)
    assert nearest_is_right(FAULTS["nan"], UNIT, labels) == nearest_is_right(UNIT, FAULTS["nan"], labels) == 0


@pytest.mark.parametrize(("broken", "scale"), [("loss", torch.inf), ("loss", torch.nan), ("weights", 1.0)])
def test_a_training_that_diverges_ends_in_one_line(broken, scale):
    module, rows = nn.Linear(4, 4), Rows(*[torch.from_numpy(UNIT)] * 2, torch.ones(N))

    def loss(batch):
        error = (module(batch.source) - batch.target).square().mean() * scale
        return error if broken == "loss" else error + (module.bias * 0).abs().sqrt().sum()  # whose gradient is NaN

    message = rf"diverged: by step 1 of 20 \(toy steps\) the {broken} held NaN or infinity; set a lower learning_rate"
    with pytest.raises(InvalidInput, match=message):
        train_by_loss(module, loss, (rows, rows), Training(min_steps=20), progress=(silent, "toy steps"))
