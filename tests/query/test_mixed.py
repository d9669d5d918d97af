import itertools
import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embridge.adapters import Identity, Prefix, Provenance, Upgrade
from embridge.adapters.linear import Linear
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SpaceMismatch, WrongDirection
from embridge.evaluation import Side, fit_calibration
from embridge.nearest import search, top_k
from embridge.query import Calibration, Curve, MixedSearch, over
from embridge.space import Space
from embridge.stores import MemoryStore, open_store

MERGES = ["calibrated", "distance-rank", "standard", "rrf", "raw"]
EVERY = pytest.mark.parametrize("merge", MERGES)


@cache
def merge_of(world, name):
    if name in ("rrf", "raw"):
        return name
    new, bridged = Side(world.queries, world.items), Side(world.bridged, world.old_items)
    return fit_calibration(name, new, bridged, world.relevance if name == "calibrated" else None)


def mixed_of(world, name, done, *, kept=True, **rest):
    """Where the items of ``done`` are backfilled, and their old rows kept or not."""
    done = set(done)
    new = world.items.take([row for row, i in enumerate(world.items.ids) if i in done])
    old = world.old_items.take([row for row, i in enumerate(world.old_items.ids) if kept or i not in done])
    backfilled = done.intersection if kept else None
    return MixedSearch(over(old), over(new), world.upgrade, merge_of(world, name), backfilled=backfilled, **rest)


def plain(world, merge, done, k):
    """Every item by its one row, valued on its own, sorted."""
    answers = []
    for i in range(len(world.queries)):
        listed = []
        for flag, (query, gallery, mine) in enumerate(
            [(world.queries, world.items, True), (world.bridged, world.old_items, False)]
        ):
            rows = [row for row, name in enumerate(gallery.ids) if (name in done) is mine]
            if not rows:
                continue
            found = top_k(query.vectors[i : i + 1], gallery.vectors[rows], len(rows))
            for rank, (row, score) in enumerate(zip(found.rows[0], found.scores[0].astype(float), strict=True)):
                if merge == "rrf":
                    value = 1 / (61 + rank)
                elif merge == "raw":
                    value = score
                else:
                    value = float((merge.new if mine else merge.old)(np.array([score]))[0])
                listed.append((-value, rank, flag, gallery.ids[rows[row]]))
        answers.append(tuple(name for *_, name in sorted(listed)[:k]))
    return tuple(answers)


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize(
    "share", [0.5, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.0, 0.1, 0.9, 1.0))]
)
def test_against_a_plain_loop(world, merge, share):
    drawn = np.random.default_rng(1).permutation(len(world.items))[: int(share * len(world.items))]
    done = {world.items.ids[row] for row in drawn}
    lines = plain(world, merge_of(world, merge), done, 10)
    for kept, k in itertools.product((True, False), (1, 10)):
        found = mixed_of(world, merge, done, kept=kept).search(world.queries, k)
        assert found.ids == tuple(line[:k] for line in lines), (kept, k)


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("k", [1, 25, 240, 500])
def test_nothing_and_all_backfilled_rank_as_one_search(world, merge, k):
    nothing = mixed_of(world, merge, ()).search(world.queries, k)
    assert nothing.ids == search(world.bridged, world.old_items, k).ids
    everything = search(world.queries, world.items, k).ids
    for kept in (True, False):
        assert mixed_of(world, merge, world.items.ids, kept=kept).search(world.queries, k).ids == everything


@pytest.mark.slow
@EVERY
@given(data=st.data())
def test_no_order_within_a_space_changes_and_no_id_comes_twice(worlds, merge, data):
    world = worlds(items=30, queries=3, seed=data.draw(st.integers(0, 5)))
    done = data.draw(st.sets(st.sampled_from(world.items.ids)))
    found = mixed_of(world, merge, done).search(world.queries, 30)
    new, old = search(world.queries, world.items, 30).ids, search(world.bridged, world.old_items, 30).ids
    for line, of_new, of_old in zip(found.ids, new, old, strict=True):
        assert sorted(line) == sorted(world.items.ids)
        assert [name for name in line if name in done] == [name for name in of_new if name in done]
        assert [name for name in line if name not in done] == [name for name in of_old if name not in done]
    assert (np.diff(found.scores, axis=1) <= 0).all()


@pytest.mark.slow
@EVERY
def test_a_shorter_answer_begins_a_longer_one(world, merge):
    mixed = mixed_of(world, merge, world.items.ids[:120])
    long = mixed.search(world.queries, 40)
    for k in (1, 3, 12):
        short = mixed.search(world.queries, k)
        assert short.ids == tuple(line[:k] for line in long.ids)
        assert np.array_equal(short.scores, long.scores[:, :k])


def test_an_id_in_both_counts_by_its_new_row():
    """Its old row would be first, its new one is last."""
    new, old = Space("new", "1", 2), Space("old", "1", 2)
    upgrade = Upgrade(Identity(new, new), Identity(new, old), Provenance("none"))
    query = Embeddings.of(np.array([[1, 0]], np.float32), new, ["q"])
    in_old = Embeddings.of(np.array([[1, 0], [1, 0.1], [1, 0.5]], np.float32), old, ["both", "a", "b"])
    in_new = Embeddings.of(np.array([[0, 1], [1, 0.2]], np.float32), new, ["both", "c"])
    mixed = MixedSearch(over(in_old), over(in_new), upgrade, "raw", backfilled={"both", "c"}.intersection)
    found = mixed.search(query, 4)
    assert found.ids == (("a", "c", "b", "both"),)
    assert mixed.search(query, 2).ids == (("a", "c"),)
    np.testing.assert_allclose(found.scores[0], [1 / np.hypot(1, x) for x in (0.1, 0.2, 0.5)] + [0], atol=1e-6)
    unsaid = MixedSearch(over(in_old), over(in_new), upgrade, "raw")
    assert unsaid.search(query, 4).ids == found.ids  # both rows are found, and noticed


@pytest.mark.slow
@EVERY
def test_ids_in_both_push_no_others_out(world, merge):
    """All but the worst old rows of every query are backfilled, and the new search finds next to nothing."""
    query = world.queries.take([0])
    ranked = search(world.upgrade.to_index_space(query), world.old_items, 240).ids[0]
    done = set(ranked[:-5])
    nothing = world.items.take([])
    mixed = MixedSearch(
        over(world.old_items), over(nothing), world.upgrade, merge_of(world, merge), backfilled=done.intersection
    )
    assert mixed.search(query, 3).ids == (ranked[-5:-2],)
    assert replace(mixed, most_fetched=236).search(query, 3).ids == (ranked[-5:-4],)
    assert replace(mixed, most_fetched=1).search(query, 3).ids == ((),)


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
def test_an_array_searched_without_its_renewed_rows_answers_as_its_lists_do(world, merge, share):
    done = set(world.items.ids[: int(share * len(world.items))])
    asked = []

    def backfilled(names):
        asked.append(len(names))
        return done.intersection(names)

    def mixed(old_search):
        new = over(world.items.take([row for row, name in enumerate(world.items.ids) if name in done]))
        return MixedSearch(old_search, new, world.upgrade, merge_of(world, merge), backfilled=backfilled)

    array, lists = over(world.old_items), mixed(lambda queries, k: search(queries, world.old_items, k))
    few, many = world.queries.take(range(2)), world.queries
    assert len(few) * 2 * 5 < len(world.items) <= len(many) * 2 * 5
    for queries in (few, many):
        by_array = mixed(array)
        for _ in range(2):
            found = by_array.search(queries, 5)
            assert found.ids == (expected := lists.search(queries, 5)).ids
            assert np.array_equal(found.scores, expected.scores)
        asked.clear()
        mixed(array).search(queries, 5)
        assert (asked[0] == len(world.items)) is (queries is many)


def test_over_without_ids(world):
    gone = set(world.items.ids[::2])
    rest = world.items.take([row for row, name in enumerate(world.items.ids) if name not in gone])
    assert over(world.items).without(gone)(world.queries, 7).ids == search(world.queries, rest, 7).ids
    assert over(world.items).without(world.items.ids)(world.queries, 7).ids == ((),) * len(world.queries)


@pytest.mark.slow
@pytest.mark.parametrize("merge", ["raw", "standard", "distance-rank"])
def test_the_old_list_is_read_no_deeper_than_it_can_matter(world, merge):
    depths = []

    def old_search(queries, k):
        depths.append(k)
        return search(queries, world.old_items, k)

    done = set(world.items.ids)
    mixed = MixedSearch(
        old_search, over(world.items), world.upgrade, merge_of(world, merge), backfilled=done.intersection
    )
    found = mixed.search(world.queries.take(range(32)), 5).ids
    assert depths[0] == 10
    assert all(b == 4 * a for a, b in itertools.pairwise(depths))
    rounds, deepest = len(depths), depths[-1]
    depths.clear()
    assert mixed.search(world.queries.take(range(32)), 5).ids == found  # begun where most lists were deep enough
    assert 5 <= depths[0] <= deepest
    assert len(depths) <= rounds + 1
    unmixed = []
    shallow = MixedSearch(
        lambda q, k: unmixed.append(k) or search(q, world.old_items, k),
        over(world.items.take([])),
        world.upgrade,
        "raw",
    )
    shallow.search(world.queries, 5)
    assert unmixed == [5]


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("kind", ["memory", "lancedb"])
def test_over_stores_as_over_arrays(world, merge, kind, tmp_path):
    store = MemoryStore() if kind == "memory" else open_store(tmp_path / "store", create=True)
    for space in (world.items.space, world.old_items.space):
        store.add_space(space)
    done = world.items.ids[::3]
    store.upsert(world.old_items)
    mixed = MixedSearch(
        store.search, store.search, world.upgrade, merge_of(world, merge), backfilled=set(done).intersection
    )
    queries = world.queries.take(range(8))
    assert mixed.search(queries, 10).ids != mixed_of(world, merge, done).search(queries, 10).ids
    store.upsert(world.encode(done))
    found, expected = mixed.search(queries, 10), mixed_of(world, merge, done).search(queries, 10)
    if (merge, kind) == ("calibrated", "lancedb"):  # a step of it lies between two scores, which LanceDB rounds
        same = [len(set(a) & set(b)) for a, b in zip(found.ids, expected.ids, strict=True)]
        assert sum(same) >= 0.9 * 80
    else:
        assert found.ids == expected.ids
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


@pytest.mark.parametrize("moment", ["old search", "look for new rows", "new search"])
def test_a_row_written_during_a_search_is_found_once(world, moment):
    """Each query's best item is written between two steps; others are there, so that lists have to be read deeper."""
    queries = world.queries.take(range(6))
    best = [ids[0] for ids in search(queries, world.items, 1).ids]
    done = [name for name in world.items.ids if name not in best][:220]
    store = MemoryStore(world.items.space, world.old_items.space)
    store.upsert(world.old_items)
    store.upsert(world.encode(done))

    def then(step, call):
        def called(*given):
            answer = call(*given)
            if step == moment:
                store.upsert(world.encode(best))
            return answer

        return called

    mixed = MixedSearch(
        then("old search", store.search),
        then("new search", store.search),
        world.upgrade,
        "raw",
        backfilled=then("look for new rows", lambda names: store.fetch(world.items.space, names).ids),
    )
    found = mixed.search(queries, 40).ids
    assert all(len(set(ids)) == len(ids) for ids in found)
    assert [name in ids for name, ids in zip(best, found, strict=True)] == [True] * 6


def test_a_head_writes_what_the_new_search_is_asked():
    new, head, old = Space("new", "1", 4), Space("head", "1", 3), Space("old", "1", 2)
    upgrade = Upgrade(Prefix(new, head), Prefix(head, old), Provenance("prefix"))
    items = Embeddings.of(np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32), new)
    written, index = upgrade.head(items), upgrade.to_index_space(items)
    mixed = MixedSearch(over(index.take([])), over(written), upgrade, "rrf")
    assert mixed.search(items, 4).ids == search(written, written, 4).ids


def test_calibration_helps_where_raw_scores_mislead(world):
    """Old scores moved up by a space with a common offset: raw finds old rows only."""
    offset = np.concatenate([world.old_items.vectors, np.full((240, 1), 60, np.float32)], axis=1)
    old = Space("offset", "1", 13)
    weight = np.zeros((16, 13), np.float32)
    weight[:, :12] = world.upgrade.bridge.weights()["weight"]
    bridge = Linear(world.items.space, old, weight, np.eye(13, dtype=np.float32)[12] * 60)
    upgrade = Upgrade(world.upgrade.head, bridge, Provenance("x"))
    items = world.old_items.with_vectors(offset, old)
    bridged = upgrade.to_index_space(world.queries)
    done = set(world.items.ids[::2])
    settings = {"backfilled": done.intersection}
    new = world.items.take(range(0, 240, 2))

    def found_new(merge):
        found = MixedSearch(over(items), over(new), upgrade, merge, **settings).search(world.queries, 10).ids
        return np.mean([name in done for line in found for name in line])

    assert found_new("raw") == 0
    for kind in ("calibrated", "distance-rank", "standard"):
        fitted = fit_calibration(kind, Side(world.queries, world.items), Side(bridged, items), world.relevance)
        assert 0.3 < found_new(fitted) < 0.95, kind


def test_no_queries_and_wrong_input(world):
    mixed = mixed_of(world, "rrf", world.items.ids[:9])
    assert mixed.search(world.queries.take([]), 3).ids == ()
    with pytest.raises(InvalidInput, match="k is at least 1, came 0"):
        mixed.search(world.queries, 0)
    with pytest.raises(WrongDirection, match="these vectors are of the old model already"):
        mixed.search(world.old_queries, 3)
    third = world.queries.with_vectors(world.queries.vectors, Space("third", "1", 16))
    with pytest.raises(SpaceMismatch, match="queries for this upgrade: expected vectors of new@1"):
        mixed.search(third, 3)
    with pytest.raises(SpaceMismatch, match="the queries: expected vectors of new@1"):
        replace(mixed, old_search=mixed.new_search).search(world.queries, 3)
    with pytest.raises(InvalidInput, match="most_fetched is at least 1, came 0"):
        replace(mixed, most_fetched=0)


def test_nothing_in_either_space_is_nothing_found(world):
    mixed = MixedSearch(over(world.old_items.take([])), over(world.items.take([])), world.upgrade, "raw")
    assert mixed.search(world.queries.take([0, 1]), 3).ids == ((), ())


def test_wrong_merges_are_refused(world, as_in_production):
    parts = over(world.old_items), over(world.items), world.upgrade
    with pytest.raises(InvalidInput, match="merge is a Calibration or one of rrf, raw, not 'best'"):
        MixedSearch(*parts, "best")
    fitted = merge_of(world, "standard")
    elsewhere = Space("third", "1", 12)
    with pytest.raises(SpaceMismatch, match="the old side of the calibration: expected vectors of old@1"):
        MixedSearch(*parts, replace(fitted, old_space=elsewhere))
    with pytest.raises(SpaceMismatch, match="the new side of the calibration: expected vectors of new@1"):
        MixedSearch(*parts, replace(fitted, new_space=elsewhere))
    new, old = Space("new", "1", 2), Space("old", "1", 2, "l2")
    upgrade = Upgrade(Identity(new, new), Identity(new, old), Provenance("none"))
    with pytest.raises(InvalidInput, match="raw scores by l2 and by cosine have nothing in common"):
        MixedSearch(*parts[:2], upgrade, "raw")
    forward = Upgrade(Identity(old, old), Identity(new, old), Provenance("none"), direction="forward")
    with pytest.raises(WrongDirection, match="needs a backward upgrade"):
        MixedSearch(*parts[:2], forward, "rrf")


# --- calibrations


@pytest.mark.slow
@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=8, unique=True),
    st.lists(st.floats(0, 5), min_size=8, max_size=8),
    st.booleans(),
    st.lists(st.floats(-300, 300), min_size=1, max_size=30),
)
def test_a_curve_never_falls(x, y, continued, scores):
    curve = Curve(tuple(sorted(x)), tuple(sorted(y)[: len(x)]), continued)
    values = curve(np.sort(scores))
    assert (np.diff(values) >= -1e-9 * np.abs(values).max()).all()
    np.testing.assert_allclose(curve(np.array(curve.x)), curve.y)


def test_a_curve_stays_level_or_goes_on():
    asked = np.array([-1.0, 0.0, 0.5, 1.0, 3.0])
    assert Curve((0.0, 1.0), (1.0, 3.0))(asked).tolist() == [1, 1, 2, 3, 3]
    assert Curve((0.0, 1.0), (1.0, 3.0), continued=True)(asked).tolist() == [-1, 1, 2, 3, 7]
    assert Curve((0.5,), (2.0,), continued=True)(asked).tolist() == [2] * 5


@pytest.mark.parametrize("name", ["calibrated", "distance-rank", "standard"])
def test_a_calibration_survives_json(world, name):
    fitted = merge_of(world, name)
    again = Calibration.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again == fitted
    assert (again.support, again.kind) == (world.queries.ids, name)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "guess"}, "a calibration is one of calibrated, distance-rank, standard, not 'guess'"),
        ({"old": {"x": [0, 1], "y": [1, 0], "continued": False}}, "a curve has ascending x and y that never falls"),
        ({"old": {"x": [1, 0], "y": [0, 1], "continued": False}}, "a curve has ascending x"),
        ({"old": {"x": [0, float("nan")], "y": [0, 1], "continued": False}}, "a curve has ascending x"),
        ({"old": {"x": [], "y": [], "continued": False}}, "a curve has ascending x"),
        ({"old": {"x": [0], "y": [0, 1], "continued": False}}, "a curve has ascending x"),
        ({"old": {"x": [0], "y": [0]}}, "a calibration is written as"),
        ({"old": 3}, "a calibration is written as"),
        ({"extra": 3}, "a calibration is written as"),
        ({"new_space": {"dim": 3}}, "a space is written as"),
    ],
)
def test_a_calibration_that_says_nonsense_is_refused(world, as_in_production, changed, message):
    with pytest.raises(InvalidInput, match=message):
        Calibration.from_dict(merge_of(world, "standard").to_dict() | changed)


@pytest.mark.parametrize("fields", [{}, [], None, {"kind": "standard"}])
def test_what_is_no_calibration_is_refused(as_in_production, fields):
    with pytest.raises(InvalidInput, match="a calibration is written as"):
        Calibration.from_dict(fields)


def test_over_asks_for_one_space_and_a_hit(world):
    with pytest.raises(SpaceMismatch, match="the queries: expected vectors of new@1"):
        over(world.items)(world.old_queries, 3)
    with pytest.raises(InvalidInput, match="k is at least 1, came 0"):
        over(world.items.take([]))(world.queries, 0)
