import numpy as np
import pytest
import torch
from torch.nn import functional as F

from embridge.training.xbt.held_out_pairs import HeldOutPairs, mean_reciprocal_rank


def unit(n, d, seed):
    return F.normalize(torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d))), dim=1)


@pytest.mark.parametrize("groups", [list(range(12)), [0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 6, 6]])
def test_it_is_its_definition(groups):
    queries, gallery = unit(12, 4, 0), unit(12, 4, 1)
    total = 0.0
    for i in range(12):
        own = queries[i] @ gallery[i]
        better = [j for j in range(12) if groups[j] != groups[i] and queries[i] @ gallery[j] > own]
        total += 1 / (1 + len(better))
    assert mean_reciprocal_rank(queries, gallery, torch.tensor(groups)) == pytest.approx(total / 12, rel=1e-6)


def test_the_score_is_the_mean_over_both_queries_and_both_galleries():
    old_texts, old_images, images, texts = (unit(9, 4, seed) for seed in range(4))
    groups = torch.tensor([0, 0, 1, 2, 3, 3, 3, 4, 5])
    searches = [(images, old_texts), (images, texts), (texts, old_images), (texts, images)]
    expected = sum(mean_reciprocal_rank(q, g, groups) for q, g in searches) / 4
    assert HeldOutPairs(old_texts, old_images, groups).score(images, texts) == pytest.approx(expected)
    assert HeldOutPairs(texts, texts, groups).score(texts, texts) == 1.0


def test_random_rows_are_at_chance():
    rows = 400
    chance = sum(1 / r for r in range(1, rows + 1)) / rows
    score = HeldOutPairs(unit(rows, 32, 0), unit(rows, 32, 1), torch.arange(rows)).score(
        unit(rows, 32, 2), unit(rows, 32, 3)
    )
    assert score == pytest.approx(chance, abs=0.01)
