from math import log2
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    auc,
    average_precision_score,
    label_ranking_average_precision_score,
    ndcg_score,
    top_k_accuracy_score,
)

from embridge.errors import InvalidInput
from embridge.evaluation.metrics import average_precision, cmc_at_k, first_hits, mrr, ndcg_at_k, recall_at_k

# ---- every metric of many queries, and of one query from its formula


def counted(function, **conventions):
    return lambda case, k, empty: function(case.gains, k, relevant=case.relevant, empty=empty, **conventions)


def discounted(growth):
    return lambda case, k, empty: ndcg_at_k(case.gains, k, ideal=case.ideal, growth=growth, empty=empty)


OURS = {
    "cmc": counted(cmc_at_k),
    "recall any": counted(recall_at_k, rule="any"),
    "recall share": counted(recall_at_k, rule="share"),
    "mrr": counted(mrr),
    "ap step relevant": counted(average_precision, estimator="step", denominator="relevant"),
    "ap step min": counted(average_precision, estimator="step", denominator="min(relevant, k)"),
    "ap trapezoid relevant": counted(average_precision, estimator="trapezoid", denominator="relevant"),
    "ap trapezoid min": counted(average_precision, estimator="trapezoid", denominator="min(relevant, k)"),
    "ndcg linear": discounted("linear"),
    "ndcg exponential": discounted("exponential"),
}


def naive_hit(ranked, judged, k):
    for gain in ranked[:k]:
        if gain > 0:
            return 1.0
    return 0.0


def naive_share(ranked, judged, k):
    return sum(1 for gain in ranked[:k] if gain > 0) / sum(1 for gain in judged if gain > 0)


def naive_reciprocal_rank(ranked, judged, k):
    for rank, gain in enumerate(ranked[:k], start=1):
        if gain > 0:
            return 1 / rank
    return 0.0


def naive_average_precision(estimator, denominator):
    def one(ranked, judged, k):
        relevant = sum(1 for gain in judged if gain > 0)
        found, total = 0, 0.0
        for rank, gain in enumerate(ranked[:k], start=1):
            if gain > 0:
                before = found / (rank - 1) if rank > 1 else 1.0
                found += 1
                total += found / rank if estimator == "step" else (before + found / rank) / 2
        return total / (relevant if denominator == "relevant" else min(relevant, k))

    return one


def naive_ndcg(value):
    def one(ranked, judged, k):
        reached = sum(value(gain) / log2(rank + 1) for rank, gain in enumerate(ranked[:k], start=1))
        best = sorted(judged, reverse=True)[:k]
        return reached / sum(value(gain) / log2(rank + 1) for rank, gain in enumerate(best, start=1))

    return one


NAIVE = {
    "cmc": naive_hit,
    "recall any": naive_hit,
    "recall share": naive_share,
    "mrr": naive_reciprocal_rank,
    "ap step relevant": naive_average_precision("step", "relevant"),
    "ap step min": naive_average_precision("step", "min(relevant, k)"),
    "ap trapezoid relevant": naive_average_precision("trapezoid", "relevant"),
    "ap trapezoid min": naive_average_precision("trapezoid", "min(relevant, k)"),
    "ndcg linear": naive_ndcg(lambda gain: gain),
    "ndcg exponential": naive_ndcg(lambda gain: 2**gain - 1),
}
ALL = pytest.mark.parametrize("name", OURS)
EMPTY = {"skip": np.nan, "zero": 0.0}


def ranked_judgements(seed, *, queries=8, items=20, empties=True):
    """Judgements [q, n] of 0 to 3 in ranked order; some queries have nothing relevant."""
    generator = np.random.default_rng(seed)
    graded = generator.integers(0, 4, (queries, items)) * (generator.random((queries, items)) < 0.3)
    if empties:
        graded[generator.random(queries) < 0.2] = 0
    else:
        graded[:, -1] = np.where(graded.any(axis=1), graded[:, -1], 2)
    return graded.astype(np.float32)


def values(name, graded, k, *, depth=None, empty="error"):
    """The metric of rankings cut at a depth."""
    ideal = np.ascontiguousarray(-np.sort(-graded, axis=1))
    case = SimpleNamespace(gains=graded[:, :depth], relevant=(graded > 0).sum(axis=1), ideal=ideal)
    return OURS[name](case, k, empty)


@pytest.mark.slow
@given(
    st.integers(0, 10_000),
    st.integers(1, 6),
    st.integers(1, 15),
    st.integers(1, 20),
    st.booleans(),
    st.sampled_from(sorted(EMPTY)),
)
@ALL
def test_every_metric_is_its_naive_loop(name, seed, queries, items, k, cut, empty):
    graded = ranked_judgements(seed, queries=queries, items=items)
    came = values(name, graded, k, depth=k if cut else None, empty=empty)
    expected = [NAIVE[name](row, row, k) if any(row) else EMPTY[empty] for row in graded.tolist()]
    assert came.dtype == np.float64
    np.testing.assert_allclose(came, expected, rtol=1e-12, atol=1e-12)


@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=6))
def test_first_hits_are_their_naive_loop(rows):
    expected = [next((rank for rank, gain in enumerate(row, start=1) if gain), 0) for row in rows]
    assert first_hits(np.array(rows, np.float32)).tolist() == expected


@pytest.mark.slow
@ALL
def test_a_better_ranking_never_scores_less(name):
    graded = ranked_judgements(3, queries=200, items=12, empties=False)
    for at in range(11):
        better = graded.copy()
        pair = graded[:, at : at + 2]
        better[:, at : at + 2] = np.stack([pair.max(axis=1), pair.min(axis=1)], axis=1)
        for k in (1, 5, 12):
            assert (values(name, better, k) >= values(name, graded, k) - 1e-12).all()


@ALL
def test_values_lie_between_nothing_found_and_a_perfect_ranking(name):
    graded = ranked_judgements(4, queries=300, empties=False)
    perfect = -np.sort(-graded, axis=1)
    for k in (1, 3, 20):
        came = values(name, graded, k)
        assert came.min() >= 0
        assert came.max() <= 1 + 1e-12
        best = values(name, perfect, k)
        short = name in ("recall share", "ap step relevant", "ap trapezoid relevant")  # divided by all relevant items
        relevant = (graded > 0).sum(axis=1)
        np.testing.assert_allclose(best, np.minimum(relevant, k) / relevant if short else 1)
    nothing = np.concatenate([np.zeros((300, 20), np.float32), graded], axis=1)
    assert not values(name, nothing, 20).any()


@ALL
def test_queries_are_judged_one_by_one(name):
    graded = ranked_judgements(5, queries=30)
    order = np.random.default_rng(0).permutation(30)
    whole = values(name, graded, 5, empty="skip")
    np.testing.assert_array_equal(values(name, graded[order], 5, empty="skip"), whole[order])
    alone = [values(name, graded[i : i + 1], 5, empty="skip")[0] for i in range(30)]
    np.testing.assert_array_equal(alone, whole)


# ---- degenerate input


@ALL
def test_a_query_with_nothing_relevant_follows_the_stated_rule(name):
    graded = np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]], np.float32)
    first = values(name, graded[:1], 3)[0]
    np.testing.assert_array_equal(values(name, graded, 3, empty="skip"), [first, np.nan, np.nan])
    np.testing.assert_array_equal(values(name, graded, 3, empty="zero"), [first, 0, 0])
    with pytest.raises(InvalidInput, match="2 of 3 queries have no relevant item, first query 1"):
        values(name, graded, 3, empty="error")


@ALL
def test_k_beyond_the_gallery_is_the_gallery(name):
    graded = ranked_judgements(6, empties=False)
    np.testing.assert_array_equal(values(name, graded, 20), values(name, graded, 1_000))


@ALL
def test_one_query_no_query_and_no_ranking(name):
    assert values(name, np.array([[2.0]], np.float32), 1).tolist() == [1.0]
    assert values(name, np.empty((0, 5), np.float32), 3).shape == (0,)
    assert values(name, np.array([[2, 1]], np.float32), 3, depth=0).tolist() == [0.0]


@ALL
@pytest.mark.parametrize("k", [0, -1])
def test_no_k_is_refused(name, k):
    with pytest.raises(InvalidInput, match=f"k is at least 1, came {k}"):
        values(name, np.ones((1, 3), np.float32), k)


# ---- scikit-learn


def scores_of(graded, seed=0):
    """Distinct scores that rank the columns as they stand, then all columns shuffled."""
    order = np.random.default_rng(seed).permutation(graded.shape[1])
    scores = np.tile(-np.arange(graded.shape[1], dtype=float), (len(graded), 1))
    return graded[:, order], scores[:, order]


def test_average_precision_is_scikit_learns():
    graded = ranked_judgements(7, queries=50, empties=False)
    judged, scores = scores_of(graded)
    right = judged > 0
    expected = [average_precision_score(r, s) for r, s in zip(right, scores, strict=True)]
    np.testing.assert_allclose(values("ap step relevant", graded, 20), expected)
    by_label = label_ranking_average_precision_score(right, scores)
    assert values("ap step relevant", graded, 20).mean() == pytest.approx(by_label)


def test_the_trapezoid_is_the_area_under_precision_and_recall():
    graded = ranked_judgements(8, queries=50, empties=False)
    ranks = np.arange(1, 21)
    for right, came in zip(graded > 0, values("ap trapezoid relevant", graded, 20), strict=True):
        found = right.cumsum()
        points = np.append(0, found / right.sum()), np.append(1, found / ranks)
        assert came == pytest.approx(auc(*points))


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 5, 20, 50])
def test_ndcg_is_scikit_learns(k):
    graded = ranked_judgements(9, queries=50)
    judged, scores = scores_of(graded)
    for name, gain in (("ndcg linear", judged), ("ndcg exponential", 2**judged - 1)):
        expected = [ndcg_score(g[None], s[None], k=k) for g, s in zip(gain, scores, strict=True)]
        np.testing.assert_allclose(values(name, graded, k, empty="zero"), expected, rtol=1e-6)


def test_recall_of_one_right_item_is_scikit_learns_top_k_accuracy():
    scores = np.random.default_rng(10).normal(size=(100, 12))
    right = np.arange(100) % 12
    ranked = (np.argsort(-scores, axis=1) == right[:, None]).astype(np.float32)
    for k in (1, 3, 11):
        assert values("recall any", ranked, k).mean() == pytest.approx(top_k_accuracy_score(right, scores, k=k))


def test_where_scikit_learn_counts_otherwise():
    tied = np.array([[1, 0, 0, 0]], np.float32)  # all scores equal: we rank by row, it averages, or takes the last rank
    same = np.zeros((1, 4))
    assert values("ndcg linear", tied, 4)[0] == 1.0
    assert ndcg_score(tied, same) == pytest.approx(sum(1 / log2(rank + 1) for rank in range(1, 5)) / 4)
    assert values("ap step relevant", tied, 4)[0] == 1.0
    assert label_ranking_average_precision_score(tied > 0, same) == 0.25
    nothing = np.zeros((1, 4), np.float32)  # it counts a query with nothing relevant as perfect
    assert values("ap step relevant", nothing, 4, empty="zero")[0] == 0.0
    assert label_ranking_average_precision_score(nothing > 0, -np.arange(4.0)[None]) == 1.0


# ---- ranx and torchmetrics


@pytest.mark.slow
def test_ranx_gives_the_same_and_differs_where_we_say(monkeypatch):
    import numba

    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)  # to compile takes half a minute, to interpret a second
    from ranx import Qrels, Run, evaluate

    names = {
        "ndcg": "ndcg linear",
        "ndcg_burges": "ndcg exponential",
        "mrr": "mrr",
        "map": "ap step relevant",
        "recall": "recall share",
        "hit_rate": "recall any",
    }
    graded = ranked_judgements(11, queries=40, items=30)
    graded[0] = 0

    def theirs(metric, scores):
        qrels = {f"q{i:02}": {f"d{j:02}": int(g) for j, g in enumerate(row)} for i, row in enumerate(graded)}
        run = {f"q{i:02}": {f"d{j:02}": float(s) for j, s in enumerate(scores)} for i in range(len(graded))}
        return evaluate(Qrels(qrels), Run(run), metric, return_mean=False)

    falling = np.arange(30, 0, -1)
    for k in (1, 5, 30, 50):
        for metric, name in names.items():
            came = theirs(f"{metric}@{k}", falling)
            np.testing.assert_allclose(came, values(name, graded, k, empty="zero"), rtol=1e-6, err_msg=f"{metric}@{k}")
    # map@k divides by all relevant items: a perfect top k of fewer does not score 1
    assert theirs("map@1", falling).max() < 1 == values("ap step min", graded, 1, empty="zero").max()


@pytest.mark.slow
def test_torchmetrics_gives_the_same():
    import torch
    from torchmetrics import retrieval

    graded = ranked_judgements(12, queries=40)
    judged, scores = (torch.tensor(np.ascontiguousarray(x)) for x in scores_of(graded))
    scores = scores.float() + 100  # above 0: see below
    index = torch.arange(40)[:, None].expand(judged.shape)
    cases = {
        retrieval.RetrievalNormalizedDCG: ("ndcg linear", judged.long()),
        retrieval.RetrievalMRR: ("mrr", judged > 0),
        retrieval.RetrievalRecall: ("recall share", judged > 0),
        retrieval.RetrievalHitRate: ("recall any", judged > 0),
        retrieval.RetrievalMAP: ("ap step relevant", judged > 0),
    }
    for empty, theirs in (("zero", "neg"), ("skip", "skip")):
        for k in (1, 5, 20):
            for kind, (name, target) in cases.items():
                if kind is retrieval.RetrievalMAP and k < 20:
                    continue  # its denominator is another one: see below
                came = kind(top_k=k, empty_target_action=theirs)(scores, target, indexes=index).item()
                assert came == pytest.approx(np.nanmean(values(name, graded, k, empty=empty)), abs=1e-6), (name, k)


@pytest.mark.slow
def test_where_torchmetrics_counts_otherwise():
    import torch
    from torchmetrics.functional.retrieval import retrieval_average_precision, retrieval_recall

    graded = np.array([[1, 0, 1, 0, 1]], np.float32)
    scores = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])
    target = torch.tensor(graded[0] > 0)
    # average precision at 3: it divides by the two relevant items found there, we by the three there are
    assert retrieval_average_precision(scores, target, top_k=3).item() == pytest.approx(0.833, abs=5e-4)
    assert values("ap step min", graded, 3)[0] == pytest.approx(0.556, abs=5e-4)
    assert values("ap step relevant", graded, 3)[0] == pytest.approx(0.556, abs=5e-4)
    # a score that is not above 0 is no hit to it, as in cosine similarity it may well be to us
    assert retrieval_recall(scores - 3, target).item() == pytest.approx(1 / 3)
    assert values("recall share", graded, 5)[0] == 1.0


def test_powers_that_overflow_are_refused():
    clicks, ideal = np.array([[3, 1_001]], np.float32), np.array([[1_001, 3]], np.float32)
    with pytest.raises(InvalidInput, match="2\\^gain overflows for gains above 1000"):
        ndcg_at_k(clicks, 2, ideal=ideal, growth="exponential", empty="error")
    assert 0 < ndcg_at_k(clicks, 2, ideal=ideal, growth="linear", empty="error")[0] < 1
    assert ndcg_at_k(ideal - 1, 2, ideal=ideal - 1, growth="exponential", empty="error").tolist() == [1.0]
