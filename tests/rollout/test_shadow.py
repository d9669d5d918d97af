"""Queries are asked both ways beside the caller, who waits for nothing and hears of nothing."""

from collections import Counter
from threading import Event

import numpy as np
import pytest
from numbers_encoder import NumbersEncoder

from embridge.adapters import Identity, Prefix, Provenance
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import StoreError
from embridge.nearest import Hits
from embridge.rollout import moves
from embridge.rollout.gallery import Gallery
from embridge.rollout.journal import current_state, record_move
from embridge.rollout.shadow import Shadow
from embridge.rollout.shadow_log import ShadowLog, ShadowSample, add_to_log, compare_hits, read_log
from embridge.rollout.state import RolloutState
from embridge.space import Space
from embridge.stores import Condition, MemoryStore
from embridge.stores.documents import MemoryDocuments

OLD, NEW = Space("mini", "1", 2, "dot"), Space("maxi", "1", 3, "dot")
UPGRADE = Upgrade(Identity(NEW, NEW), Prefix(NEW, OLD), Provenance("prefix"))
STATE = moves.shadow(RolloutState(OLD, NEW, "upgrade", "a1"), 1.0)
HITS = Hits((("a", "b"),), np.array([[2, 1]], np.float32))


def alike(queries):
    return Hits(HITS.ids * len(queries), np.repeat(HITS.scores, len(queries), axis=0))


class Turned(NumbersEncoder):
    """A new model that sees the first two numbers the other way round."""

    def encode(self, items, **how):
        return super().encode(items, **how)[:, [1, 0, 2]]


@pytest.fixture
def store():
    store = MemoryStore(OLD, NEW)
    rows = np.array([[1, 0], [0, 1], [0, 2], [0, 0.5]], np.float32)
    store.upsert(Embeddings(("east", "north", "far north", "near"), rows, OLD), {"kind": ["a", "a", "b", "b"]})
    first = RolloutState(OLD, NEW, "upgrade", "a1")
    entry = {"move": "prepare", "by": "me", "at_seconds": 0.0, "why": {}}
    assert record_move(store.documents, None, first, entry=entry)
    assert record_move(store.documents, first, moves.shadow(first, 1.0), entry=entry | {"move": "shadow"})
    return store


def asked(gallery):
    gallery._shadow.flush()
    return read_log(gallery.store.documents, "sampled", upgrade_id="a1")


def test_callers_get_old_answers_and_the_log_says_how_far_the_bridge_agrees(store):
    gallery = Gallery(store, UPGRADE, new=Turned(NEW), old=NumbersEncoder(OLD), follow_seconds=0)
    answer = gallery.search(["0 1 9", "3 0 9"], 2)
    assert (answer.served, answer.hits.ids) == ("old", (("far north", "north"), ("east", "far north")))
    only = (Condition("kind", "==", "b"),)
    assert gallery.search(["0 1 9"], 2, filter=only).hits.ids == (("far north", "near"),)
    log = asked(gallery)
    assert (log.compared, log.empty, log.dropped, log.failed) == (3, 0, 0, {})
    # the bridge turns both queries: it finds east, far north for the first and far north, north for the second
    assert [sample.overlap for sample in log.samples] == [0.5, 0.5, 1.0]
    assert [sample.top1 for sample in log.samples] == [0.0, 0.0, 1.0]
    assert [(sample.old_score, sample.bridged_score) for sample in log.samples] == [(2, 1), (3, 2), (2, 0)]
    assert all(sample.old_seconds > 0 and sample.bridged_seconds > 0 for sample in log.samples)
    assert "0 1 9" not in str(store.documents.read("shadow/sampled"))


def test_images_are_asked_both_ways_and_a_gallery_that_is_closed_writes_what_was_compared(store):
    class Pixels(NumbersEncoder):
        def encode(self, items, *, modality, role="document"):
            assert (modality, role) == ("image", "query")
            return np.array([image.ravel()[: self.space.dim] for image in items], np.float32)

    gallery = Gallery(store, UPGRADE, new=Pixels(NEW), old=Pixels(OLD), follow_seconds=0)
    assert gallery.search([np.array([[0, 1], [9, 9]])], 1, modality="image").hits.ids == (("far north",),)
    gallery._shadow._calls.join()
    gallery.close()
    assert read_log(store.documents, "sampled", upgrade_id="a1").samples[0].overlap == 1.0


def test_old_clients_and_other_states_have_no_shadow(store):
    gallery = Gallery(store, UPGRADE, new=NumbersEncoder(NEW), old=NumbersEncoder(OLD), follow_seconds=0)
    gallery.search(["0 1 0"], 1, client="old")
    state = current_state(store.documents)
    entry = {"move": "bridge", "by": "me", "at_seconds": 0.0, "why": {}}
    assert record_move(store.documents, state, moves.bridge(state, 1.0), entry=entry)
    assert gallery.search(["0 1 0"], 1).served == "bridge"
    assert asked(gallery) is None


def test_a_failure_is_counted_by_its_kind_and_nothing_else_is_kept_of_it(store):
    gallery = Gallery(store, UPGRADE, old=NumbersEncoder(OLD), follow_seconds=0)  # the new model is not at hand
    assert gallery.search(["0 1 0"], 1).hits.ids == (("far north",),)
    vectors = Embeddings(("q",), np.array([[0, 1]], np.float32), OLD)
    assert gallery.search(vectors, 1).hits.ids == (("far north",),)
    assert asked(gallery).failed == {"InvalidInput": 1, "vectors of the old model": 1}


def test_what_a_slow_shadow_cannot_take_is_dropped_and_the_caller_does_not_wait():
    begun, go = Event(), Event()

    def slow(queries):
        begun.set()
        assert go.wait(60)
        return alike(queries)

    shadow = Shadow(MemoryDocuments())
    shadow.offer(STATE, ["first"], slow, hits=HITS, seconds=0.1)
    assert begun.wait(60)
    for _ in range(70):
        shadow.offer(STATE, ["later"], slow, hits=HITS, seconds=0.1)
    go.set()
    shadow.flush()
    log = read_log(shadow.documents, "sampled", upgrade_id="a1")
    assert (log.compared, log.dropped) == (65, 6)


def test_a_share_is_drawn_query_by_query():
    draws = iter([0.05, 0.5, 0.01, 0.1])
    found = []

    def ask(queries):
        found.append(queries)
        return alike(queries)

    shadow = Shadow(MemoryDocuments(), draw=lambda: next(draws))
    hits = Hits(HITS.ids * 4, np.repeat(HITS.scores, 4, axis=0))
    shadow.offer(moves.shadow(STATE, 0.1), ["a", "b", "c", "d"], ask, hits=hits, seconds=4.0)
    shadow.flush()
    assert found == [["a", "c"]]
    log = read_log(shadow.documents, "sampled", upgrade_id="a1")
    assert [sample.old_seconds for sample in log.samples] == [1.0, 1.0]


def test_a_log_that_cannot_be_written_costs_the_samples_alone():
    class Full(MemoryDocuments):
        def swap(self, *_):
            raise StoreError("the disk is full")

    shadow = Shadow(Full())
    shadow.offer(STATE, ["q"], alike, hits=HITS, seconds=0.1)
    shadow._calls.join()
    for _ in range(2):  # the second time what was counted by the first is kept
        with pytest.raises(StoreError, match="the disk is full"):
            shadow.flush()
    assert (shadow._tallies["a1"].failed, shadow._tallies["a1"].samples) == (Counter({"StoreError": 1}), [])


def test_the_end_of_the_process_writes_what_was_compared():
    shadow = Shadow(MemoryDocuments())
    shadow.offer(STATE, ["q"], alike, hits=HITS, seconds=0.1)
    shadow._calls.join()
    assert read_log(shadow.documents, "sampled", upgrade_id="a1") is None
    thread = shadow._thread
    shadow.close()
    assert not thread.is_alive()
    assert read_log(shadow.documents, "sampled", upgrade_id="a1").compared == 1


def test_hits_are_compared_as_a_naive_loop_does():
    old = Hits((("a", "b", "c"), ("a",), ()), np.zeros((3, 3), np.float32))
    new = Hits((("c", "b", "x"), ("a",), ("a",)), np.full((3, 3), np.inf, np.float32))
    first, second, third = compare_hits(old, new, seconds=(0.5, 0.25))
    assert (first.overlap, first.top1) == (0.6667, 0.0)
    shares = [0, 1 / 2, 2 / 3]
    assert first.rank_biased == pytest.approx(
        sum(0.9**i * s for i, s in enumerate(shares)) / (1 + 0.9 + 0.81), abs=1e-4
    )
    assert first.bridged_score == pytest.approx(3.40282e38)
    assert (second.overlap, second.top1, second.rank_biased, second.old_seconds) == (1.0, 1.0, 1.0, 0.5)
    assert third is None


def test_the_log_keeps_samples_drawn_evenly_from_all():
    draw = np.random.default_rng(0).random
    log = ShadowLog("a1")
    for value in range(400):
        log = log.merged(ShadowLog("a1", (ShadowSample(value, 0, 0, 0, 0, 0, 0),), 1), most=40, draw=draw)
    kept = [sample.overlap for sample in log.samples]
    assert (log.compared, len(set(kept))) == (400, 40)
    assert 120 < np.mean(kept) < 280
    assert ShadowLog.from_dict(log.to_dict()) == log


@pytest.mark.parametrize(
    "change",
    [
        {"samples": [[1, 2]]},
        {"samples": [[1.0] * 6 + [float("nan")]]},
        {"samples": [["x"] * 7]},
        {"compared": -1},
        {"compared": 0},
        {"failed": {"a": 0.5}},
        {"failed": []},
        {"schema": "embridge.shadow/9"},
    ],
)
def test_a_damaged_log_is_an_error_that_says_so(change):
    documents = MemoryDocuments()
    whole = ShadowLog("a1", (ShadowSample(1, 1, 1, 1, 1, 1, 1),), 1).to_dict()
    documents.swap("shadow/sampled", None, whole | change)
    with pytest.raises(StoreError, match="the log of the shadow is damaged"):
        read_log(documents, "sampled", upgrade_id="a1")
    add_to_log(documents, ShadowLog("a1", dropped=1))
    assert read_log(documents, "sampled", upgrade_id="a1") == ShadowLog("a1", dropped=1)


def test_a_log_of_another_upgrade_is_none():
    documents = MemoryDocuments()
    documents.swap("shadow/sampled", None, ShadowLog("b2").to_dict())
    assert read_log(documents, "sampled", upgrade_id="a1") is None
