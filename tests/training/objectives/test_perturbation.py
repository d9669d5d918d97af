import numpy as np
import pytest
import torch
import torch.nn.functional as F

from embridge.training.objectives import perturbation
from embridge.training.objectives.perturbation import (
    Prototypes,
    moved_from_neighbours,
    pair_hinge,
    random_pairs,
    shift_apart,
)


def unit(n, d, seed):
    return F.normalize(torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)), dim=1)


def confusable(n, d, seed, spread=0.2):
    """Unit rows about one direction."""
    return F.normalize(unit(1, d, seed) + spread * unit(n, d, seed + 1), dim=1)


def everything(n):
    return torch.ones(n, dtype=torch.bool)


def mean_cosine(rows):
    rows = F.normalize(rows, dim=1)
    return float((rows @ rows.T)[~torch.eye(len(rows), dtype=torch.bool)].mean())


def naive_ndpp(p, q, usable, k, a, b, *, twice):
    """The formula, class by class, in numpy's float64."""
    p = p.double().numpy()
    q = None if q is None else q.double().numpy()
    moved = p.copy()
    for c in range(len(p)):
        if not usable[c]:
            continue
        delta = np.zeros(p.shape[1])
        for step, others in ((a, p), (b, q)):
            if others is None:
                continue
            rivals = [j for j in range(len(p)) if j != c and usable[j] and np.abs(others[j]).sum() > 0]
            near = sorted(rivals, key=lambda j: -(p[c] @ others[j]))[:k]
            weights = {j: max(p[c] @ others[j], 0) for j in near}
            away = sum((weights[j] * (p[c] - others[j]) for j in near), np.zeros(p.shape[1]))
            delta += step * away / (sum(weights.values()) + 1e-8)
        moved[c] = p[c] + (a * delta if twice else delta)
        moved[c] /= np.linalg.norm(moved[c])
    return moved


@pytest.mark.parametrize("twice", [True, False])
@pytest.mark.parametrize("with_new", [True, False])
@pytest.mark.parametrize("k", [1, 4, 100])
def test_ndpp_is_its_formula(twice, with_new, k):
    p, q = confusable(12, 6, 0, spread=1.0), unit(12, 6, 5) if with_new else None
    usable = everything(12)
    usable[3] = False
    if q is not None:
        q[7] = 0
    result = moved_from_neighbours(Prototypes(p, q, usable), neighbours=k, old_step=0.4, new_step=0.1, twice=twice)
    np.testing.assert_allclose(result, naive_ndpp(p, q, usable, k, 0.4, 0.1, twice=twice), atol=1e-5)


def test_classes_are_taken_in_parts_without_a_difference(monkeypatch):
    p, q = confusable(30, 6, 0), unit(30, 6, 5)
    settings = {"neighbours": 5, "old_step": 0.4, "new_step": 0.1}
    whole = moved_from_neighbours(Prototypes(p, q, everything(30)), **settings)
    monkeypatch.setattr(perturbation, "_CHUNK_CLASSES", 7)
    torch.testing.assert_close(moved_from_neighbours(Prototypes(p, q, everything(30)), **settings), whole)


@pytest.mark.parametrize("twice", [True, False])
def test_ndpp_separates_what_is_confusable_and_leaves_the_rest(twice):
    settings = {"neighbours": 5, "old_step": 0.4, "new_step": 0.01, "twice": twice}
    apart = torch.eye(8)
    torch.testing.assert_close(moved_from_neighbours(Prototypes(apart, apart, everything(8)), **settings), apart)
    near = confusable(8, 8, 0)
    moved = moved_from_neighbours(Prototypes(near, None, everything(8)), **settings)
    assert mean_cosine(moved) < mean_cosine(near) - 0.005
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(8))


def test_one_application_of_the_step_moves_further_than_two():
    near = confusable(8, 8, 0)
    once, twice = (
        moved_from_neighbours(Prototypes(near, None, everything(8)), neighbours=5, old_step=0.4, new_step=0.01, twice=t)
        for t in (False, True)
    )
    assert mean_cosine(once) < mean_cosine(twice)


def test_the_order_of_the_classes_does_not_matter():
    p, q, order = confusable(9, 5, 0), unit(9, 5, 3), torch.randperm(9, generator=torch.Generator().manual_seed(0))
    settings = {"neighbours": 3, "old_step": 0.4, "new_step": 0.1}
    one = moved_from_neighbours(Prototypes(p, q, everything(9)), **settings)
    torch.testing.assert_close(
        moved_from_neighbours(Prototypes(p[order], q[order], everything(9)), **settings), one[order]
    )


def naive_hinge(moved, new, pairs, margin, *, cosine):
    def direction(x):
        x = x.double().numpy()
        return x / np.linalg.norm(x) if cosine else x

    total = 0.0
    for i, j in pairs.tolist():
        total += max(float(direction(moved[i]) @ direction(moved[j])) - margin, 0)
        if new is not None:
            total += max(float(direction(moved[i]) @ direction(new[j])) - margin, 0)
    return total / len(pairs)


@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("with_new", [True, False])
def test_the_hinge_is_its_formula(cosine, with_new):
    moved, new = 1.5 * confusable(10, 6, 0, spread=1.0), confusable(10, 6, 0) if with_new else None
    pairs = random_pairs(torch.arange(10), 40, torch.Generator().manual_seed(0))
    result = pair_hinge(moved, new, pairs, margin=0.6, cosine=cosine)
    assert result.item() > 0.01
    assert result.item() == pytest.approx(naive_hinge(moved, new, pairs, 0.6, cosine=cosine), rel=1e-5)


@pytest.mark.slow
def test_odpp_turns_prototypes_apart_and_does_not_shorten_them():
    near, start = confusable(10, 8, 0), torch.zeros(10, 8)
    turned, shortened = (
        near + shift_apart(Prototypes(near, None, everything(10)), start, steps=300, margin=0.8, cosine=c)
        for c in (True, False)
    )
    assert mean_cosine(turned) < 0.85 < 0.95 < mean_cosine(near)
    assert turned.norm(dim=1).mean() == pytest.approx(1, abs=0.03)
    assert shortened.norm(dim=1).mean() < 0.93
    assert mean_cosine(shortened) > mean_cosine(turned) + 0.01


@pytest.mark.slow
def test_odpp_also_turns_from_the_new_prototypes():
    old, new = torch.eye(4)[:3], F.normalize(torch.eye(4)[[1, 2, 0]] + 0.1, dim=1)
    alone = shift_apart(Prototypes(old, None, everything(3)), torch.zeros(3, 4), steps=50, margin=0.5)
    beside = shift_apart(Prototypes(old, new, everything(3)), torch.zeros(3, 4), steps=50, margin=0.5)
    assert alone.tolist() == torch.zeros(3, 4).tolist()
    assert beside.abs().max() > 0.01


def test_odpp_goes_on_from_where_it_was_and_is_the_same_for_the_same_seed():
    near, start = confusable(10, 8, 0), torch.zeros(10, 8)
    some = shift_apart(Prototypes(near, None, everything(10)), start, steps=20, margin=0.8)
    assert torch.equal(some, shift_apart(Prototypes(near, None, everything(10)), start, steps=20, margin=0.8))
    assert not torch.equal(
        some, shift_apart(Prototypes(near, None, everything(10)), start, steps=20, margin=0.8, seed=1)
    )
    more = shift_apart(Prototypes(near, None, everything(10)), some, steps=20, margin=0.8)
    assert mean_cosine(near + more) < mean_cosine(near + some)
    assert start.abs().max() == 0


def test_odpp_works_where_gradients_are_off_and_leaves_unused_classes():
    near, usable = confusable(6, 8, 0), everything(6)
    usable[2] = False
    with torch.no_grad():
        shift = shift_apart(Prototypes(near, None, usable), torch.zeros(6, 8), steps=10, margin=0.8)
    assert not shift.requires_grad
    assert [bool(row.abs().max() > 0) for row in shift] == [True, True, False, True, True, True]
    usable[1:] = False
    assert shift_apart(Prototypes(near, None, usable), torch.zeros(6, 8), steps=10, margin=0.8).abs().max() == 0


def test_pairs_are_of_two_classes_and_even():
    classes = torch.tensor([2, 5, 7])
    pairs = random_pairs(classes, 6_000, torch.Generator().manual_seed(0)).tolist()
    counts = {}
    for pair in pairs:
        counts[tuple(pair)] = counts.get(tuple(pair), 0) + 1
    assert set(counts) == {(i, j) for i in (2, 5, 7) for j in (2, 5, 7) if i != j}
    assert min(counts.values()) > 850
