import dataclasses

import numpy as np
import pytest

from embridge import Embeddings
from embridge.errors import GateRefused, SettingsError
from embridge.evaluation import Relevance, Scope, Side
from embridge.methods import METHODS, Pairs, make
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
    assert len(rows) == len(choice.candidates)
    assert {len(row) for row in rows} == {len(columns)}
    assert choice.reason == f"{choice.method}: {by_name[choice.method].why}"
    assert choice.upgrade.provenance.figures["chosen_from"] == [dataclasses.asdict(c) for c in choice.candidates]


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


@pytest.mark.slow
def test_a_map_that_is_shown_to_be_worse_is_not_taken(make_pairs):
    """A rotation fitted without the means, where both sides have large ones, and the affine map."""
    pairs = make_pairs(rows=900)
    generator = np.random.default_rng(0)
    stretched = generator.normal(size=(24, 16)) * np.geomspace(0.1, 3, 16)  # no rotation does this
    old = pairs.new.vectors @ stretched + 0.2 * generator.normal(size=(900, 16))
    pairs = Pairs(pairs.new, Embeddings.of(old.astype(np.float32), pairs.old.space))
    choice = choose(pairs, Choose(candidates=("procrustes", "ridge")))
    assert choice.method == "ridge"
    loser = next(c for c in choice.candidates if c.method == "procrustes")
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


def test_models_that_search_images_are_chosen_by_moved_queries_too(make_pairs):
    pairs = make_pairs(rows=600)
    plain, moved = (
        choose(pairs, Choose(candidates=("procrustes",), cross_modal=c)).candidates[0].score.value
        for c in (False, True)
    )
    assert moved != plain


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
