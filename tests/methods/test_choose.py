import dataclasses

import numpy as np
import pytest

from embridge import Embeddings, Space
from embridge.adapters import Linear
from embridge.errors import GateRefused, SettingsError
from embridge.evaluation import Relevance, Scope, Side
from embridge.evaluation.statistics import Drawn
from embridge.methods import METHODS, Pairs, make
from embridge.methods.candidate_scores import Scores, scores_of_queries, with_few_queries
from embridge.methods.choice import JudgedQueries, multiply_adds
from embridge.methods.choose import Choose, choose
from embridge.testing import check_method

CLOSED_FORM = ("procrustes", "ridge", "low-rank")


@pytest.mark.slow
def test_contract(make_pairs):
    assert check_method(Choose(candidates=("procrustes",)), make_pairs()) == []


@pytest.mark.slow
def test_the_table_says_why(make_pairs):
    choice = choose(make_pairs(rows=600), Choose(candidates=(*CLOSED_FORM, "mean-shift")))
    assert choice.method in CLOSED_FORM
    by_name = {c.method: c for c in choice.candidates}
    assert by_name[choice.method].why.startswith("chosen: ")
    assert by_name["mean-shift"].why.startswith("left out: ")  # 24 and 16 dimensions
    assert by_name["mean-shift"].score is None
    columns, rows = choice.table()
    assert [row[0] for row in rows] == [*(c.method for c in choice.candidates), "old model"]
    assert {len(row) for row in rows} == {len(columns)}
    assert choice.reason == f"{choice.method}: {by_name[choice.method].why}"
    figures = choice.upgrade.provenance.figures
    assert figures["chosen_from"] == [dataclasses.asdict(c) for c in choice.candidates]
    assert figures["status_quo"] == dataclasses.asdict(choice.status_quo)


def test_the_upgrade_is_fitted_on_all_pairs(make_pairs):
    pairs = make_pairs(rows=400)
    choice = choose(pairs, Choose(candidates=("procrustes",)), seed=5)
    alone = make("procrustes").fit(pairs, seed=5)
    for name, array in alone.bridge.weights().items():
        np.testing.assert_array_equal(array, choice.upgrade.bridge.weights()[name])
    assert choice.upgrade.provenance.data.startswith("400 pairs")


@pytest.mark.slow
def test_the_cheaper_is_taken_where_none_is_shown_to_be_better(make_pairs):
    """A planted rotation without noise: every map finds everything, so the one with the fewest products wins."""
    choice = choose(
        make_pairs(rows=800, noise=0.0),
        Choose(candidates=CLOSED_FORM, settings={"low-rank": {"rank": 16}} if "low-rank" in CLOSED_FORM else {}),
    )
    scored = [c for c in choice.candidates if c.score is not None]
    level = [c for c in scored if c.behind.low <= 0]
    chosen = next(c for c in scored if c.method == choice.method)
    assert chosen.multiply_adds == min(c.multiply_adds for c in level)
    assert chosen.multiply_adds == multiply_adds(choice.upgrade)


def test_a_map_that_is_shown_to_be_worse_is_not_taken(make_pairs):
    """One of a few directions costs less than the rotation, and finds less."""
    settings = {"low-rank": {"rank": 2}}
    choice = choose(make_pairs(rows=900), Choose(candidates=("procrustes", "low-rank"), settings=settings))
    assert choice.method == "procrustes"
    loser = next(c for c in choice.candidates if c.method == "low-rank")
    assert loser.multiply_adds < multiply_adds(choice.upgrade)
    assert loser.why == "behind the best"
    assert loser.behind.low > 0


@pytest.mark.slow
def test_noise_keeps_the_old_model(make_pairs):
    pairs = make_pairs(rows=300)
    shuffled = Pairs(pairs.new, Embeddings.of(np.random.default_rng(0).permutation(pairs.old.vectors), pairs.old.space))
    with pytest.warns(UserWarning, match="look shuffled"):
        choice = choose(shuffled, Choose(candidates=CLOSED_FORM))
    assert (choice.method, choice.upgrade) == (None, None)
    assert "finds no more than chance" in choice.reason
    refused = pytest.raises(GateRefused, match=r"keep the old model: .* finds no more than chance")
    with pytest.warns(UserWarning, match="look shuffled"), refused:
        Choose(candidates=CLOSED_FORM).fit(shuffled)


@pytest.fixture
def judged(make_pairs):
    """Queries near documents; the old model sees the queries with the noise given."""

    def make(old_noise, new_noise=0.1):
        pairs = make_pairs(rows=800, noise=0.05)
        generator = np.random.default_rng(1)
        documents = [
            Embeddings.of(x.vectors[400:], x.space, [f"d{i}" for i in range(400)]) for x in (pairs.old, pairs.new)
        ]
        queries = [
            Embeddings.of(
                (d.vectors + noise * generator.normal(size=d.vectors.shape)).astype(np.float32),
                d.space,
                [f"q{i}" for i in range(400)],
            )
            for d, noise in zip(documents, (old_noise, new_noise), strict=True)
        ]
        sides = [Side(q, d) for q, d in zip(queries, documents, strict=True)]
        relevance = Relevance.from_pairs((f"q{i}", f"d{i}") for i in range(400))
        scope = Scope(metrics=("recall_at_1",), directions=("",))
        return pairs.take(np.arange(400)), JudgedQueries(*sides, relevance, scope)

    return make


@pytest.mark.slow
def test_judged_queries_decide_where_there_are_any(judged):
    pairs, queries = judged(old_noise=0.4)
    choice = choose(pairs, Choose(candidates=CLOSED_FORM), judged=queries)
    assert choice.method in CLOSED_FORM
    assert all(c.score.value > 0.5 for c in choice.candidates)


@pytest.mark.slow
def test_the_old_model_is_kept_where_every_bridge_makes_it_worse(judged):
    pairs, queries = judged(old_noise=0.0, new_noise=0.4)
    choice = choose(pairs, Choose(candidates=CLOSED_FORM), judged=queries)
    assert choice.upgrade is None
    assert choice.reason.startswith("keep the old model: ")
    assert {c.why for c in choice.candidates} == {"is worse than the old model: search"}


def test_models_that_search_images_are_chosen_by_moved_queries_and_items(make_pairs):
    pairs = make_pairs(rows=600)
    plain, moved = (
        choose(pairs, Choose(candidates=("procrustes",), searches=searches)).candidates[0].score.value
        for searches in (("alike",), ("t2i", "i2t"))
    )
    assert moved < plain  # what is moved is harder to find


@pytest.mark.parametrize("name", ["xbt", "mlp"])
def test_a_candidate_without_its_extra_is_left_out(make_pairs, monkeypatch, name):
    from embridge.errors import MissingExtra

    def missing(self, *_, **__):
        raise MissingExtra("torch is needed here")

    monkeypatch.setattr(f"{METHODS[name].module}.{METHODS[name].attribute}.fit", missing)
    choice = choose(make_pairs(), Choose(candidates=("procrustes", name)))
    assert choice.method == "procrustes"
    assert next(c for c in choice.candidates if c.method == name).why == "left out: torch is needed here"
    with pytest.raises(SettingsError, match="no candidate could be fitted: left out: torch is needed here"):
        choose(make_pairs(), Choose(candidates=(name,)))


def test_an_unknown_candidate_is_an_error(make_pairs):
    with pytest.raises(SettingsError, match="a method is one of"):
        choose(make_pairs(), Choose(candidates=("magic",)))


def test_a_search_of_another_name_is_refused():
    with pytest.raises(SettingsError, match="one or more of alike, t2i, i2t; came \\['images'\\]"):
        Choose(searches=("images",))


def test_who_is_far_behind_after_a_trial_is_not_fitted(make_pairs, monkeypatch):
    monkeypatch.setattr("embridge.methods._candidates._BEHIND", -1.0)  # whoever is not far ahead
    choice = choose(make_pairs(rows=400), Choose(candidates=("mlp", "procrustes")))
    assert choice.method == "procrustes"
    mlp = next(c for c in choice.candidates if c.method == "mlp")
    assert mlp.score is None
    assert "behind procrustes after a trial on 360 pairs" in mlp.why


def test_texts_alone_say_too_little_where_images_are_searched(make_pairs):
    choice = choose(make_pairs(rows=400), Choose(candidates=("procrustes", "neighbour-map"), searches=("t2i",)))
    left_out = next(c for c in choice.candidates if c.method == "neighbour-map")
    assert left_out.why.startswith("left out: neighbour-map knows texts alone")


def test_a_fine_tune_of_the_same_model_needs_no_bridge(make_pairs):
    pairs = make_pairs(rows=600)
    moved = pairs.old.vectors + 0.01 * np.random.default_rng(0).normal(size=pairs.old.vectors.shape)
    pairs = Pairs(Embeddings.of(moved.astype(np.float32), Space("tuned", "1", 16)), pairs.old)
    choice = choose(pairs, Choose(candidates=("identity", "procrustes", "ridge")))
    assert choice.method == "identity"
    assert multiply_adds(choice.upgrade) == 0


def test_work_is_counted_up_to_its_end(make_pairs):
    told = []
    choose(make_pairs(rows=300), Choose(candidates=("procrustes", "ridge")), progress=lambda *step: told.append(step))
    done, totals, names = zip(*told, strict=True)
    assert list(done) == sorted(done)
    assert len(set(totals)) == 1
    assert done[-1] == totals[0]
    assert set(names) == {"choose: procrustes", "choose: ridge"}


@pytest.mark.parametrize(("queries", "moved_by"), [(10, 100 / 110), (100, 0.5), (9_900, 0.01)])
def test_few_judged_queries_are_drawn_towards_agreement(queries, moved_by):
    drawn = Drawn(weights=None, groups=None)
    judged = Scores({"a": np.full(queries, 0.4), "b": np.full(queries, 0.6)}, drawn, {}, np.zeros(queries))
    agreement = Scores({"a": np.full(7, 0.5), "b": np.full(7, 0.3)}, drawn, {}, np.zeros(7))
    values = {name: v.mean() for name, v in with_few_queries(judged, agreement).values.items()}
    assert values["a"] == pytest.approx(0.4 + moved_by * (0.5 + 0.05 - 0.4))
    assert values["b"] == pytest.approx(0.6 + moved_by * (0.5 - 0.05 - 0.6))


def test_a_map_below_the_old_model_is_not_taken_where_another_is_above(judged):
    """With so few queries nothing is shown, and the mean decides who is refused."""
    pairs, queries = judged(old_noise=0.35)
    few = queries.old.queries.take(np.arange(12)), queries.new.queries.take(np.arange(12))
    relevance = Relevance.from_pairs((f"q{i}", f"d{i}") for i in range(12))
    sides = [Side(q, s.gallery) for q, s in zip(few, (queries.old, queries.new), strict=True)]
    upgrades = {"procrustes": make("procrustes").fit(pairs)}
    bridge = upgrades["procrustes"].bridge
    collapsed = Linear(bridge.source, bridge.target, np.ones((24, 16), np.float32))
    upgrades["collapsed"] = dataclasses.replace(upgrades["procrustes"], bridge=collapsed)
    scores = scores_of_queries(upgrades, JudgedQueries(*sides, relevance, queries.scope))
    assert set(scores.refused) == {"collapsed"}
