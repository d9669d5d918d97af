from dataclasses import replace

import numpy as np
import pytest
from two_models import make_world

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch
from embridge.evaluation import Relevance, Side, choose_alpha, recall_at_k, split_support
from embridge.nearest import search, top_k
from embridge.query import nlerp, slerp
from embridge.space import Space

SPACE = Space("old", "1", 6)


@pytest.fixture(scope="module")
def world():
    return make_world()


def unit(n, *, seed, dim=6):
    x = np.random.default_rng(seed).normal(size=(n, dim))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def rows(vectors, prefix="q"):
    vectors = np.array(vectors, np.float32)
    space = replace(SPACE, dim=vectors.shape[1])
    return Embeddings.of(vectors, space, [f"{prefix}{i}" for i in range(len(vectors))])


def test_a_support_set_is_drawn_evenly_and_repeatably():
    names = [f"q{i}" for i in range(50)]
    support, rest = split_support(names, 20, 3)
    assert sorted([*support, *rest]) == list(range(50))
    assert (len(support), sorted(support)) == (20, support.tolist())
    assert np.array_equal(support, split_support(names, 20, 3)[0])
    assert not np.array_equal(support, split_support(names, 20, 4)[0])
    drawn = np.bincount(np.concatenate([split_support(names, 20, seed)[0] for seed in range(400)]), minlength=50)
    assert (abs(drawn / 400 - 0.4) < 0.12).all()  # five standard deviations


@pytest.mark.parametrize("n", [0, 3, 4])
def test_a_support_set_leaves_queries_to_measure_on(n):
    with pytest.raises(InvalidInput, match=f"from 1 to all but one of 3 queries, came n={n}"):
        split_support(["a", "b", "c"], n, 0)


@pytest.mark.parametrize("kind", ["slerp", "nlerp"])
def test_the_chosen_alpha_is_the_best_of_a_plain_loop(world, kind):
    grid = (0.0, 0.3, 0.6, 1.0)
    old = Side(world.old_queries, world.old_items)
    chosen = choose_alpha(old, world.bridged, world.relevance, metric="recall_share_at_10", kind=kind, grid=grid)
    means = []
    for alpha in grid:
        fused = (slerp if kind == "slerp" else nlerp)(world.old_queries, world.bridged, alpha)
        found = search(fused, world.old_items, 10).ids
        shares = []
        for name, ids in zip(fused.ids, found, strict=True):
            wanted = {i for i, label in world.relevance.gallery.items() if label == world.relevance.queries[name]}
            shares.append(len(wanted & set(ids)) / len(wanted))
        means.append(np.mean(shares))
    np.testing.assert_allclose([value for _, value in chosen.scores], means)
    assert chosen.alpha == grid[int(np.argmax(means))]
    assert chosen.support == world.old_queries.ids
    assert len(set(means)) == 4  # else any alpha would do


def test_adaptive_contains_what_one_alpha_can_do(world):
    settings = {"metric": "map_at_20", "grid": (0.1, 0.3, 0.5, 0.7, 0.9)}
    parts = Side(world.old_queries, world.old_items), world.bridged, world.relevance
    chosen = choose_alpha(*parts, kind="adaptive", **settings)
    plain = choose_alpha(*parts, kind="nlerp", **settings)
    assert (chosen.alpha, chosen.scores) == (None, plain.scores)
    judged = world.relevance.judge(world.queries.ids, world.old_items.ids)

    def mean(fusion):
        ranking = top_k(fusion.apply(world.old_queries, world.bridged).vectors, world.old_items.vectors, 20)
        return recall_at_k(judged.gains(ranking.rows), 20, relevant=judged.relevant, rule="share", empty="error").mean()

    assert mean(chosen) >= mean(plain) - 0.01


def test_adaptive_learns_whom_to_trust():
    """Where the two agree the old query is right, where they do not the bridge is."""
    gallery = rows(np.eye(6, dtype=np.float32), prefix="i")
    right = np.arange(40) % 6
    agree = np.arange(40) < 20
    noise = 0.05 * np.random.default_rng(0).normal(size=(40, 6))
    wrong = np.eye(6)[(right + 1) % 6]
    best = np.eye(6)[right]
    old = np.where(agree[:, None], best + 0.6 * wrong, wrong) + noise
    bridged = np.where(agree[:, None], 0.7 * best + wrong, best) + noise
    relevance = Relevance.from_pairs((f"q{i}", f"i{right[i]}") for i in range(40))
    chosen = choose_alpha(Side(rows(old), gallery), rows(bridged), relevance, metric="recall_at_1", kind="adaptive")
    found = search(chosen.apply(rows(old), rows(bridged)), gallery, 1).ids
    assert [ids[0] for ids in found] == [f"i{r}" for r in right]
    assert chosen.slope < 0
    assert max(value for _, value in chosen.scores) < 1  # no one alpha does it


def test_no_query_finds_itself_in_one_set():
    x = rows(unit(12, seed=1))
    relevance = Relevance.from_neighbours(x, x, 1)
    settings = {"metric": "recall_at_1", "grid": (0.5,)}
    assert choose_alpha(Side(x, x), x, relevance, **settings).scores == ((0.5, 1.0),)
    some = x.take([0, 3, 5])  # rows of a gallery all the same
    assert choose_alpha(Side(some, x), some, relevance, **settings).scores == ((0.5, 1.0),)
    others = rows(x.vectors, prefix="i")  # the same vectors, of other items: each finds its twin first
    twins = Relevance({q: {i.replace("q", "i"): g for i, g in of.items()} for q, of in relevance.gains.items()})
    assert choose_alpha(Side(x, others), x, twins, **settings).scores == ((0.5, 0.0),)
    itself = Relevance.from_pairs((i, i) for i in x.ids)  # equal ids name a text and its picture
    assert choose_alpha(Side(x, x), x, itself, **settings).scores == ((0.5, 1.0),)


def test_weights_of_a_log_count():
    gallery = rows(np.eye(3, dtype=np.float32), prefix="i")
    old, bridged = gallery.vectors[[0, 1]], gallery.vectors[[1, 2]]
    log = Relevance.from_log([("q0", "i0", 9), ("q1", "i2", 1)])
    table = choose_alpha(Side(rows(old), gallery), rows(bridged), log, metric="recall_at_1", grid=(0.0, 1.0)).scores
    assert table == ((0.0, pytest.approx(0.9)), (1.0, pytest.approx(0.1)))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"metric": "map"}, SettingsError, "map is of whole rankings; choose a fusion by map_at_K"),
        ({"metric": "luck"}, SettingsError, "there is no metric 'luck'"),
        ({"grid": ()}, InvalidInput, "the grid is ascending numbers from 0 to 1, at least one"),
        ({"grid": (0.5, 0.5)}, InvalidInput, "the grid is ascending numbers"),
        ({"grid": (0.5, 1.5)}, InvalidInput, "the grid is ascending numbers"),
        ({"grid": (float("nan"),)}, InvalidInput, "the grid is ascending numbers"),
        (
            {"relevance": Relevance.from_pairs([("x", "y")])},
            InvalidInput,
            "is relevant to any of the 40 support queries",
        ),
    ],
)
def test_what_cannot_be_chosen_by_is_refused(world, changed, error, message):
    settings = {"relevance": world.relevance, "metric": "recall_at_1"} | changed
    old = Side(world.old_queries, world.old_items)
    with pytest.raises(error, match=message):
        choose_alpha(old, world.bridged, settings.pop("relevance"), **settings)


def test_queries_of_another_space_are_refused(world):
    old = Side(world.old_queries, world.old_items)
    with pytest.raises(SpaceMismatch, match="the bridged queries: expected vectors of old@1"):
        choose_alpha(old, world.queries, world.relevance, metric="recall_at_1")
    with pytest.raises(SpaceMismatch, match="the queries of a side: expected vectors of old@1"):
        Side(world.old_queries, rows(unit(3, seed=0)))
