import numpy as np
import pytest

from embridge.methods.validation import held_out_score


def naive(mapped, old):
    """The mean reciprocal rank of each own vector, behind all of the same cosine; by float64 cosines, rounded; none is 0."""
    cosines = np.zeros((len(mapped), len(old)))
    for i, x in enumerate(mapped.astype(np.float64)):
        for j, y in enumerate(old.astype(np.float64)):
            lengths = np.linalg.norm(x) * np.linalg.norm(y)
            cosines[i, j] = round(x @ y / lengths, 10) if lengths > 0 else 0.0
    ranks = (cosines >= cosines.diagonal()[:, None]).sum(axis=1)
    return np.where((ranks > 0) & (ranks <= 10), 1 / np.maximum(ranks, 1), 0).mean()


@pytest.mark.parametrize("rows", [1, 8, 11, 60])
@pytest.mark.parametrize("noise", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("fault", ["none", "repeats", "zeros", "lengths", "nan"])
def test_the_held_out_score_is_that_of_float64(rows, noise, fault):
    generator = np.random.default_rng(rows)
    old = generator.normal(size=(rows, 5)).astype(np.float32)
    mapped = old + noise * generator.normal(size=old.shape).astype(np.float32)
    if fault == "repeats":
        old[1::3] = old[0]
    if fault == "zeros":
        mapped[::5], old[1::4] = 0, 0
    if fault == "lengths":
        mapped, old = mapped * np.float32(1e25), old * np.float32(1e-25)
    if fault == "nan":
        mapped[::2] = np.nan
    assert held_out_score(mapped, old) == pytest.approx(naive(mapped, old), abs=1e-12)


def test_scores_closer_than_float32_tells_them_apart_are_told_apart():
    old = np.array([[1, 0], [1, 1e-4], [0, 1]], np.float32)
    assert held_out_score(old, old) == 1.0
    assert held_out_score(old[[1, 0, 2]], old) == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
