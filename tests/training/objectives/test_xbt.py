import math

import numpy as np
import pytest
import torch

from embridge.errors import SettingsError
from embridge.training.objectives.xbt import Captions, XBTCaptioned, XBTImageText, grouped_info_nce


def unit(n, d, seed):
    return torch.nn.functional.normalize(torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d))), dim=1)


def naive_info_nce(a, b, temperature, groups):
    """Row by row and column by column, as it is written."""
    n, total = len(a), 0.0
    for i in range(n):
        for queries, answers in ((a, b), (b, a)):
            rivals = [j for j in range(n) if j == i or groups[j] != groups[i]]
            scores = {j: float(queries[i] @ answers[j]) / temperature for j in rivals}
            total += math.log(sum(math.exp(s) for s in scores.values())) - scores[i]
    return total / (2 * n)


@pytest.mark.parametrize("groups", [[0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 1, 2]])
def test_the_terms_are_their_formulas(groups):
    images, texts, targets = (unit(6, 4, seed) for seed in range(3))
    codes = None if len(set(groups)) == 6 else torch.tensor(groups)
    terms = XBTImageText(temperature=0.1, keep_weight=3.0)(images, texts, targets, codes)
    moved = sum(1 - float(texts[i] @ targets[i]) for i in range(6)) / 6
    assert terms["image_to_old_text"].item() == pytest.approx(
        naive_info_nce(images, targets, 0.1, groups) / 2, rel=1e-9
    )
    assert terms["image_to_text"].item() == pytest.approx(naive_info_nce(images, texts, 0.1, groups) / 2, rel=1e-9)
    assert terms["keep"].item() == pytest.approx(3 * moved, rel=1e-9)


def test_targets_take_no_gradient_and_the_rest_do():
    images, texts, targets = (unit(5, 4, seed).requires_grad_() for seed in range(3))
    sum(XBTImageText(0.05, 1.0)(images, texts, targets).values()).backward()
    assert targets.grad is None
    assert images.grad.abs().sum() > 0
    assert texts.grad.abs().sum() > 0


def test_random_rows_are_at_chance():
    a, b = (unit(512, 64, seed) for seed in range(2))
    assert grouped_info_nce(a, b, 1.0).item() == pytest.approx(math.log(512), abs=0.02)


def test_the_order_of_the_pairs_does_not_matter():
    images, texts, targets = (unit(6, 4, seed) for seed in range(3))
    groups, order = torch.tensor([0, 0, 1, 2, 2, 3]), torch.tensor([5, 3, 1, 0, 2, 4])
    objective = XBTImageText(0.05, 1.0)
    one, other = (
        objective(images, texts, targets, groups),
        objective(images[order], texts[order], targets[order], groups[order]),
    )
    for name in one:
        torch.testing.assert_close(one[name], other[name])


def test_two_captions_of_one_photo_are_no_rivals():
    rows = torch.eye(3)[[0, 0, 1]]
    assert grouped_info_nce(rows, rows, 0.01).item() > 0.4
    assert grouped_info_nce(rows, rows, 0.01, torch.tensor([7, 7, 2])).item() < 1e-6


@pytest.mark.parametrize(
    ("temperature", "keep"), [(0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (0.1, -1.0), (0.1, math.inf)]
)
def test_impossible_settings_are_refused(temperature, keep):
    with pytest.raises(SettingsError, match="expected temperature > 0 and keep_weight >= 0"):
        XBTImageText(temperature, keep)


def naive_neighbours(seen, images, new, old, temperature):
    """KL of two softmaxes over the captions, image by image."""
    total = 0.0
    for z, mapped in zip(seen, images, strict=True):
        shares = []
        for query, gallery in ((z, new), (mapped, old)):
            powers = [math.exp(float(query @ row) / temperature) for row in gallery]
            shares.append([power / sum(powers) for power in powers])
        total += sum(p * math.log(p / q) for p, q in zip(*shares, strict=True))
    return total / len(seen)


def test_the_terms_beside_captions_of_the_bridge_are_their_formulas():
    images, texts, targets, mapped, old = (unit(n, 4, seed) for n, seed in ((6, 0), (6, 1), (6, 2), (9, 3), (9, 4)))
    seen, new = unit(6, 5, 5), unit(9, 5, 6)
    objective = XBTCaptioned(temperature=0.1, keep_weight=3.0, neighbour_weight=2.0, neighbour_temperature=0.2)
    terms = objective(images, texts, targets, new_without_lora=seen, captions=Captions(new, old, mapped))
    plain = XBTImageText(0.1, 3.0)(images, texts, targets)
    moved = sum(1 - float(mapped[i] @ old[i]) for i in range(9)) / 9
    aligned = naive_info_nce(mapped, old, 0.1, range(9)) + moved
    assert terms["image_to_text"].item() == pytest.approx(2 * plain["image_to_text"].item(), rel=1e-9)
    assert terms["keep"].item() == pytest.approx(plain["keep"].item(), rel=1e-9)
    assert terms["neighbours"].item() == pytest.approx(2 * naive_neighbours(seen, images, new, old, 0.2), rel=1e-9)
    assert terms["captions"].item() == pytest.approx(aligned, rel=1e-9)


@pytest.mark.parametrize("wrong", [{"neighbour_weight": -1.0}, {"neighbour_temperature": 0.0}])
def test_impossible_settings_beside_captions_are_refused(wrong):
    settings = {"temperature": 0.1, "keep_weight": 1.0, "neighbour_weight": 1.0, "neighbour_temperature": 0.05} | wrong
    with pytest.raises(SettingsError, match="expected neighbour_temperature > 0 and neighbour_weight >= 0"):
        XBTCaptioned(**settings)
