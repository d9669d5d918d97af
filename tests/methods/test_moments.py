import numpy as np
import pytest
from paired_vectors import pairs_of, unit

from embridge.embeddings import HalfEmbeddings
from embridge.methods import Pairs, moments
from embridge.methods.moments import Moments, leading, polar


def sums(new, old, weights=None):
    """The same, by loops over pairs in float64."""
    weights = np.ones(len(new)) if weights is None else weights / weights.mean()
    cross = sum(w * np.outer(x, y) for w, x, y in zip(weights, new, old, strict=True))
    gram = sum(w * np.outer(x, x) for w, x in zip(weights, new, strict=True))
    return weights.sum(), weights @ new, weights @ old, cross, gram


def near(actual, expected, *, rtol=1e-6):
    parts = (actual.total, actual.new, actual.old, actual.cross, actual.gram)
    for part, other in zip(parts, expected, strict=True):
        np.testing.assert_allclose(part, other, rtol=rtol, atol=rtol * np.abs(other).max())


@pytest.mark.parametrize("mean", [0.0, 3.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_they_are_the_sums(monkeypatch, mean, weighted, dtype):
    monkeypatch.setattr(moments, "_CHUNK_ROWS", 37)
    generator = np.random.default_rng(0)
    new, old = unit(generator.normal(size=(150, 6)) + mean), unit(generator.normal(size=(150, 4)) + mean)
    weights = generator.uniform(0.1, 9, 150) if weighted else None
    near(Moments.of(pairs_of(new * 5, old, weights), gram=True, dtype=dtype), sums(new, old, weights))


def test_parts_add_up_and_are_subtracted():
    generator = np.random.default_rng(1)
    new, old, weights = (
        unit(generator.normal(size=(90, 5)) + 1),
        unit(generator.normal(size=(90, 5))),
        np.arange(1, 91.0),
    )
    pairs, some = pairs_of(new, old, weights), np.arange(0, 90, 7)
    every, part = (Moments.of(pairs, rows, gram=True) for rows in (None, some))
    rest = Moments.of(pairs, np.setdiff1d(np.arange(90), some), gram=True)
    near(every - part, (rest.total, rest.new, rest.old, rest.cross, rest.gram))
    near(rest + part, (every.total, every.new, every.old, every.cross, every.gram))
    assert (Moments.of(pairs) - part).gram is None


def test_what_is_left_of_large_means_keeps_its_digits():
    """Deviations a thousandth of the mean: products of float32 rows would keep one digit of theirs."""
    generator = np.random.default_rng(2)
    rows = [1e-3 * generator.normal(size=(3_000, 8)) + 1 for _ in range(2)]
    pairs = pairs_of(*rows)
    new, old = (side.vectors.astype(np.float64) for side in (pairs.new, pairs.old))
    new, old = unit(new), unit(old)
    exact = (new - new.mean(axis=0)).T @ (old - old.mean(axis=0))
    # the rows themselves are rounded once more where they are made unit ones
    np.testing.assert_allclose(Moments.of(pairs).centred_cross(), exact, atol=1e-3 * np.abs(exact).max())


def test_half_precision_is_read_a_part_at_a_time(monkeypatch, make_pairs):
    pairs = make_pairs()
    halves = [HalfEmbeddings(s.ids, s.vectors.astype(np.float16), s.space) for s in (pairs.new, pairs.old)]
    monkeypatch.setattr(HalfEmbeddings, "vectors", property(lambda _: pytest.fail("all rows were read")))
    np.testing.assert_allclose(Moments.of(Pairs(*halves)).cross, Moments.of(pairs).cross, atol=0.05)


def of_spectrum(a, b, values):
    generator = np.random.default_rng(3)
    u, v = (np.linalg.qr(generator.normal(size=(d, len(values))))[0] for d in (a, b))
    return (u * values) @ v.T, u @ v.T


@pytest.mark.parametrize(("a", "b"), [(12, 12), (20, 12), (12, 20), (7, 1), (1, 7)])
@pytest.mark.parametrize("smallest", [1.0, 1e-3, 1e-5, 1e-8])
def test_the_polar_factor_is_that_of_the_decomposition(a, b, smallest):
    matrix, expected = of_spectrum(a, b, 40 * np.geomspace(1, smallest, min(a, b)))
    np.testing.assert_allclose(polar(matrix), expected, atol=1e-7)


@pytest.mark.parametrize(("a", "b"), [(12, 12), (20, 12), (12, 20)])
@pytest.mark.parametrize("rank", [0, 1, 5])
def test_what_has_no_direction_is_completed_to_an_isometry(a, b, rank):
    matrix, fixed = of_spectrum(a, b, np.arange(1.0, rank + 1)) if rank else (np.zeros((a, b)), np.zeros((a, b)))
    factor = polar(matrix)
    gram = factor.T @ factor if a >= b else factor @ factor.T
    np.testing.assert_allclose(gram, np.eye(min(a, b)), atol=1e-8)
    np.testing.assert_allclose(factor @ (fixed.T @ fixed), fixed, atol=1e-8)  # the same where there are directions
    assert factor.tobytes() == polar(matrix).tobytes()


@pytest.mark.parametrize(("a", "b"), [(40, 40), (60, 30), (30, 60)])
def test_the_leading_directions_are_those_of_the_decomposition(a, b):
    matrix, _ = of_spectrum(a, b, 0.5 ** np.arange(min(a, b)))
    u, _, vt = np.linalg.svd(matrix)
    for found, exact in zip(leading(matrix.astype(np.float32), 12), (u.T, vt), strict=True):
        np.testing.assert_allclose(found.T @ found, np.eye(12), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(exact[:6] @ found, axis=1), 1, atol=1e-3)
