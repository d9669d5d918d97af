import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import geometric_slerp

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SpaceMismatch
from embridge.nearest import top_k
from embridge.query import (
    Fusion,
    adaptive_alpha,
    cosines,
    interpolate_scores,
    nlerp,
    slerp,
)
from embridge.space import Space

SPACE = Space("old", "1", 6)
SEEDS = st.integers(0, 2**32 - 1)
SHARES = st.floats(0, 1)
BOTH = pytest.mark.parametrize("fuse", [slerp, nlerp])


def unit(n, *, seed, dim=6):
    x = np.random.default_rng(seed).normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def rows(vectors, space=SPACE, prefix="q"):
    vectors = np.array(vectors, np.float32)
    return Embeddings.of(vectors, replace(space, dim=vectors.shape[1]), [f"{prefix}{i}" for i in range(len(vectors))])


def pair(seed, n=5):
    return rows(unit(n, seed=seed)), rows(unit(n, seed=seed + 1))


@pytest.mark.slow
@given(SEEDS, SHARES)
def test_slerp_is_scipys(seed, alpha):
    u, v = pair(seed, 3)
    made = slerp(u, v, alpha).vectors
    for row in range(3):
        ends = (x.vectors[row].astype(float) for x in (u, v))
        start, end = (x / np.linalg.norm(x) for x in ends)
        np.testing.assert_allclose(made[row], geometric_slerp(start, end, alpha), atol=1e-6)


@pytest.mark.slow
@given(SEEDS)
def test_nlerp_meets_scipy_in_the_middle(seed):
    u, v = pair(seed, 3)
    made = nlerp(u, v, 0.5).vectors
    for row in range(3):
        ends = (x.vectors[row].astype(float) for x in (u, v))
        start, end = (x / np.linalg.norm(x) for x in ends)
        np.testing.assert_allclose(made[row], geometric_slerp(start, end, 0.5), atol=1e-6)


@pytest.mark.slow
@BOTH
@given(SEEDS, SHARES)
def test_the_formula_of_the_module(fuse, seed, alpha):
    u, v = pair(seed)
    made = fuse(u, v, alpha).vectors
    for row, (x, y) in enumerate(zip(u.vectors.astype(float), v.vectors.astype(float), strict=True)):
        angle = np.arccos(np.clip(x @ y, -1, 1))
        if fuse is slerp:
            expected = (np.sin((1 - alpha) * angle) * x + np.sin(alpha * angle) * y) / np.sin(angle)
        else:
            expected = (1 - alpha) * x + alpha * y
        np.testing.assert_allclose(made[row], expected / np.linalg.norm(expected), atol=2e-6)


@pytest.mark.slow
@given(SEEDS, SHARES)
def test_slerp_goes_its_share_of_the_angle_and_nlerp_lies_on_the_same_arc(seed, alpha):
    u, v = pair(seed)
    whole = np.arccos(np.clip(cosines(u, v), -1, 1))
    gone = np.arccos(np.clip(cosines(u, slerp(u, v, alpha)), -1, 1))
    np.testing.assert_allclose(gone, alpha * whole, atol=2e-3)
    chord = nlerp(u, v, alpha)
    parts = [np.arccos(np.clip(cosines(x, chord), -1, 1)) for x in (u, v)]
    np.testing.assert_allclose(sum(parts), whole, atol=3e-3)


@BOTH
def test_the_ends_are_the_given_vectors_to_the_last_bit(fuse):
    u, v = rows(3 * unit(4, seed=0)), rows(unit(4, seed=1) / 7)
    assert fuse(u, v, 0.0).vectors.tobytes() == u.vectors.tobytes()
    assert fuse(u, v, 1).vectors.tobytes() == v.vectors.tobytes()
    both = fuse(u, v, np.array([0.0, 1.0, 0.0, 1.0]))
    assert np.array_equal(both.vectors, np.where([[True], [False], [True], [False]], u.vectors, v.vectors))
    assert (both.ids, both.space) == (u.ids, u.space)


@pytest.mark.slow
@BOTH
@given(SEEDS, SHARES)
def test_rotations_commute(fuse, seed, alpha):
    u, v = pair(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))[0]
    turned = fuse(rows(u.vectors @ turn), rows(v.vectors @ turn), alpha).vectors
    np.testing.assert_allclose(turned, fuse(u, v, alpha).vectors @ turn, atol=1e-5)


@pytest.mark.slow
@BOTH
@given(SEEDS, SHARES)
def test_lengths_do_not_matter_and_the_way_back_is_the_way(fuse, seed, alpha):
    u, v = pair(seed)
    made = fuse(u, v, alpha)
    longer = fuse(rows(u.vectors * 8), rows(v.vectors / 4), alpha)
    back = fuse(v, u, 1 - alpha)
    for other in (longer, back):
        np.testing.assert_allclose(cosines(made, other), 1, atol=1e-6)


@pytest.mark.slow
@given(SEEDS, SHARES)
def test_nlerp_ranks_as_score_interpolation(seed, alpha):
    u, v = pair(seed)
    gallery = unit(30, seed=seed + 2)
    scores = interpolate_scores(u.vectors @ gallery.T, v.vectors @ gallery.T, alpha)
    ranking = top_k(nlerp(u, v, alpha).vectors, gallery, 30)
    ranked = np.take_along_axis(scores, ranking.rows, axis=1)
    assert (np.diff(ranked, axis=1) <= 1e-6).all()


def test_one_alpha_a_query_is_each_query_alone():
    u, v = pair(3, 4)
    alphas = np.array([0.0, 0.2, 0.7, 1.0])
    for fuse in (slerp, nlerp):
        together = fuse(u, v, alphas).vectors
        alone = [fuse(u.take([i]), v.take([i]), alphas[i]).vectors[0] for i in range(4)]
        np.testing.assert_array_equal(together, alone)


@BOTH
@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.75])
def test_equal_opposite_and_zero_vectors_have_a_stated_outcome(fuse, alpha):
    x, zero = [1.0, 0, 0], [0.0, 0, 0]
    opposite = [-1.0, 0, 0]
    u, v = rows([x, x, x, zero, zero]), rows([x, opposite, zero, x, zero])
    expected = [x, x if alpha <= 0.5 else opposite, x, x, zero]
    assert fuse(u, v, alpha).vectors.tolist() == expected


@BOTH
def test_nearly_opposite_and_nearly_equal_vectors_stay_on_the_sphere(fuse):
    near = np.array([[1, t] for t in (1e-7, 1e-6, 1e-5, 1e-3)], np.float32)
    for sign in (1, -1):
        made = fuse(rows([[1, 0]] * 4), rows(sign * near), 0.4).vectors
        np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)


def test_adaptive_alpha_is_the_logistic_function():
    u, v = pair(5)
    expected = [1 / (1 + np.exp(-(0.3 - 2.0 * c))) for c in cosines(u, v)]
    np.testing.assert_allclose(adaptive_alpha(u, v, 0.3, -2.0), expected)
    assert adaptive_alpha(u, v, 5_000.0, 0.0).tolist() == [1.0] * 5


def test_cosines_against_a_loop():
    u, v = pair(6)
    expected = [float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)) for x, y in zip(u.vectors, v.vectors, strict=True)]
    np.testing.assert_allclose(cosines(u, v), expected, atol=1e-6)
    assert cosines(rows([[0, 0]]), rows([[1, 0]])).tolist() == [0.0]


@pytest.mark.parametrize(
    ("bridged", "error", "message"),
    [
        (rows(unit(5, seed=1), Space("new", "1", 6)), SpaceMismatch, "the bridged queries: expected vectors of old@1"),
        (rows(unit(4, seed=1)), InvalidInput, "the same ones in the same order; 5 and 4 came"),
        (rows(unit(5, seed=1), prefix="p"), InvalidInput, "must be the same ones in the same order"),
    ],
)
def test_two_that_do_not_belong_together_are_refused(bridged, error, message):
    for fuse in (slerp, nlerp):
        with pytest.raises(error, match=message):
            fuse(rows(unit(5, seed=0)), bridged, 0.5)


@BOTH
@pytest.mark.parametrize("metric", ["dot", "l2"])
def test_only_cosine_has_unit_vectors(fuse, metric):
    u = rows(unit(2, seed=0), Space("old", "1", 6, metric))
    with pytest.raises(InvalidInput, match="needs a space compared by cosine"):
        fuse(u, u, 0.5)


@BOTH
@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan"), np.array([0.5, 0.5]), np.full((5, 1), 0.5)])
def test_alpha_is_a_share(fuse, alpha):
    u, v = pair(0)
    with pytest.raises(InvalidInput, match="alpha is one number from 0 to 1, or one for each of 5 queries"):
        fuse(u, v, alpha)


def test_scores_of_other_shapes_are_refused(as_in_production):
    with pytest.raises(InvalidInput, match="scores of the same queries and items"):
        interpolate_scores(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32), 0.5)


def test_no_queries_are_no_queries():
    none = rows(unit(2, seed=0)).take([])
    assert len(slerp(none, none, 0.5)) == len(nlerp(none, none, np.empty(0))) == 0


@pytest.mark.parametrize(
    "fusion",
    [
        Fusion(SPACE, "slerp", alpha=0.25, metric="mrr_at_10", support=("a", "b"), scores=((0.25, 0.5),)),
        Fusion(SPACE, "adaptive", bias=0.5, slope=-2.0),
    ],
)
def test_a_fusion_survives_json(fusion):
    again = Fusion.from_dict(json.loads(json.dumps(fusion.to_dict())))
    assert again == fusion
    u, v = pair(0)
    assert np.array_equal(again.apply(u, v).vectors, fusion.apply(u, v).vectors)


def test_a_fusion_applies_its_own_kind():
    u, v = pair(0)
    assert np.array_equal(Fusion(SPACE, "slerp", alpha=0.3).apply(u, v).vectors, slerp(u, v, 0.3).vectors)
    assert np.array_equal(Fusion(SPACE, "nlerp", alpha=0.3).apply(u, v).vectors, nlerp(u, v, 0.3).vectors)
    assert np.array_equal(Fusion(SPACE, "nlerp", alpha=0.0).apply(u, v).vectors, u.vectors)
    adaptive = Fusion(SPACE, "adaptive", bias=0.0, slope=2.0).apply(u, v).vectors
    assert np.array_equal(adaptive, nlerp(u, v, adaptive_alpha(u, v, 0.0, 2.0)).vectors)


def test_a_fusion_is_of_one_space():
    u = rows(unit(2, seed=0), Space("another", "1", 6))
    with pytest.raises(SpaceMismatch, match="the old queries of this fusion: expected vectors of old@1"):
        Fusion(SPACE, "slerp", alpha=0.5).apply(u, u)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"alpha": 1.5}, "alpha from 0 to 1"),
        ({"alpha": float("nan")}, "has finite numbers"),
        ({"alpha": None}, "a fusion by slerp has alpha and no other"),
        ({"bias": 0.0}, "a fusion by slerp has alpha and no other"),
        ({"kind": "adaptive"}, "a fusion by adaptive has bias and slope and no other"),
        ({"kind": "guess"}, "a fusion is one of slerp, nlerp, adaptive, not 'guess'"),
        ({"extra": 1}, "a fusion is written as"),
        ({"scores": [[1]]}, "a fusion is written as"),
        ({"scores": None}, "a fusion is written as"),
        ({"space": {}}, "a space is written as"),
    ],
)
def test_a_fusion_that_says_nonsense_is_refused(as_in_production, changed, message):
    fields = Fusion(SPACE, "slerp", alpha=0.5).to_dict() | changed
    with pytest.raises(InvalidInput, match=message):
        Fusion.from_dict(fields)


@pytest.mark.parametrize("fields", [{}, {"kind": "slerp"}, [], None])
def test_what_is_no_fusion_is_refused(as_in_production, fields):
    with pytest.raises(InvalidInput, match="a fusion is written as"):
        Fusion.from_dict(fields)
