from threading import Thread

import numpy as np
import pytest
from numbers_encoder import NumbersEncoder

from embridge.adapters import Identity, Prefix, Provenance
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SpaceMismatch, StoreError
from embridge.rollout import moves
from embridge.rollout.backfill import Backfill
from embridge.rollout.gallery import Gallery
from embridge.rollout.journal import current_state, record_move
from embridge.rollout.state import RolloutState
from embridge.space import Space
from embridge.stores import Condition, MemoryStore

OLD, NEW = Space("mini", "1", 2, "dot"), Space("maxi", "1", 3, "dot")
UPGRADE = Upgrade(Identity(NEW, NEW), Prefix(NEW, OLD), Provenance("prefix"))
TEXTS = {"east": "1 0 0", "north": "0 1 0", "far north": "0 2 0", "up": "0 0 1"}


def said(move):
    return {"move": move, "by": "me", "at_seconds": 0.0, "why": {}}


def go(store, move):
    before = current_state(store.documents)
    assert record_move(store.documents, before, move(before), entry=said("move"))


@pytest.fixture
def store():
    store = MemoryStore(OLD, NEW)
    vectors = NumbersEncoder(OLD).encode(list(TEXTS.values()), modality="text")
    store.upsert(Embeddings(tuple(TEXTS), vectors, OLD), {"kind": ["a", "a", "b", "b"]})
    assert record_move(store.documents, None, RolloutState(OLD, NEW, "upgrade", "a1"), entry=said("prepare"))
    return store


def gallery(store, **options):
    return Gallery(
        store,
        UPGRADE,
        **{"new": NumbersEncoder(NEW), "old": NumbersEncoder(OLD), "merge": "raw", "follow_seconds": 0} | options,
    )


def test_each_state_answers_as_it_says(store):
    opened = gallery(store)
    for move, expected, ids in (
        (lambda state: moves.shadow(state, 0.5), "old", ("far north", "north")),
        (lambda state: moves.bridge(state, 1.0), "bridge", ("far north", "north")),
        (moves.backfill, "mixed", ("far north", "north")),
        (lambda state: moves.complete(state, missing=0), "new", ("up",)),
        (moves.roll_back, "old", ("far north", "north")),
    ):
        go(store, move)
        if expected == "mixed":
            opened.write(["up"], ["0 0 1"], {"kind": ["b"]})
        answer = opened.search(["0 1 0.5"], 2)
        assert (answer.served, answer.hits.ids[0]) == (expected, ids)
        assert opened.search(["0 1 0.5"], 2, client="old").hits.ids == (("far north", "north"),)
        assert answer.version == current_state(store.documents).version


def test_filters_hold_in_both_kinds_of_rows(store):
    go(store, lambda state: moves.bridge(state, 1.0))
    go(store, moves.backfill)
    opened = gallery(store)
    opened.write(["up"], ["0 0 1"], {"kind": ["b"]})
    only = (Condition("kind", "==", "b"),)
    assert set(opened.search(["0 1 1"], 9, filter=only).hits.ids[0]) == {"far north", "up"}


def test_the_canary_is_answered_by_the_new_model_and_the_others_by_the_old(store):
    go(store, lambda state: moves.bridge(state, 0.25))
    opened = gallery(store)
    assert [opened.search(["0 1 0"], 1, draw=draw).served for draw in (0.0, 0.24, 0.25, 0.9)] == [
        "bridge", "bridge", "old", "old",
    ]  # fmt: skip
    drawn = {opened.search(["0 1 0"], 1).served for _ in range(200)}
    assert drawn == {"bridge", "old"}


def test_what_the_new_model_writes_has_both_rows_and_survives_a_rollback(store):
    go(store, lambda state: moves.bridge(state, 1.0))
    go(store, moves.backfill)
    opened = Gallery(store, UPGRADE, new=NumbersEncoder(NEW), merge="raw", follow_seconds=0)
    opened.write(["south"], ["0 -1 4"], {"kind": ["a"]})
    assert store.fetch(NEW, ["south"]).vectors.tolist() == [[0, -1, 4]]
    assert store.fetch(OLD, ["south"]).vectors.tolist() == [[0, -1]]
    assert opened.search(["0 -1 0"], 1).hits.ids == (("south",),)
    go(store, moves.roll_back)
    assert gallery(store).search(["0 -1"], 1, client="old").hits.ids == (("south",),)
    opened.delete(["south"])
    assert store.count(NEW) == 0
    assert len(store.fetch(OLD, ["south"])) == 0


def test_an_item_that_changes_after_a_rollback_is_encoded_again(store):
    def source(ids):
        return dict(zip(ids, store.column(OLD, ids, "kind"), strict=True)), {}

    def encode(ids, texts):
        return Embeddings(tuple(ids), NumbersEncoder(NEW).encode(texts, modality="text"), NEW)

    go(store, lambda state: moves.bridge(state, 1.0))
    go(store, moves.backfill)
    opened = gallery(store)
    for space in (OLD, NEW):
        vectors = NumbersEncoder(space).encode(list(TEXTS.values()), modality="text")
        store.upsert(Embeddings(tuple(TEXTS), vectors, space), {"kind": list(TEXTS.values())})
    go(store, moves.roll_back)
    opened.write(["up"], ["0 0 7"], {"kind": ["0 0 7"]})
    assert store.fetch(NEW, ["up"]).vectors.tolist() == [[0, 0, 1]]
    go(store, lambda state: moves.prepare_again(state, RolloutState(OLD, NEW, "upgrade", "a1")))
    go(store, lambda state: moves.bridge(state, 1.0))
    go(store, moves.backfill)
    assert Backfill(store, OLD, NEW, source, encode).run().rows == 1
    assert store.fetch(NEW, ["up"]).vectors.tolist() == [[0, 0, 7]]
    assert Backfill(store, OLD, NEW, source, encode).run().rows == 0


def test_the_old_model_writes_the_old_row_where_it_is_at_hand(store):
    go(store, lambda state: moves.bridge(state, 1.0))
    opened = gallery(store)
    opened.write(["x"], ["4 5 6"], {"kind": ["a"]})
    assert opened.old.texts == opened.new.texts == ["4 5 6"]
    go(store, moves.roll_back)
    opened.write(["x"], Embeddings(("_",), np.array([[7, 8]], np.float32), OLD), {"kind": ["a"]})
    assert store.fetch(OLD, ["x"]).vectors.tolist() == [[7, 8]]


def test_a_move_is_followed_in_time_and_by_a_reader_whose_rows_are_gone(store):
    go(store, lambda state: moves.bridge(state, 1.0))
    opened = gallery(store, follow_seconds=3_600)
    assert opened.search(["0 1 0"], 1).served == "bridge"
    go(store, moves.backfill)
    assert opened.search(["0 1 0"], 1).served == "bridge"
    opened.write(list(TEXTS), list(TEXTS.values()), {"kind": ["a", "a", "b", "b"]})
    go(store, lambda state: moves.complete(state, missing=0))
    go(store, moves.drop_old)
    store.drop_space(OLD)
    answer = opened.search(["0 1 0"], 1)
    assert (answer.served, answer.hits.ids) == ("new", (("far north",),))
    opened.write(["west"], ["-1 0 0"], {"kind": ["a"]})
    assert opened.search(["-1 0 0"], 1, client="old").hits.ids == (("west",),)


def test_a_write_that_a_move_overtakes_has_both_rows(store):
    class Overtaken(NumbersEncoder):
        def encode(self, *items, **how):
            if current_state(store.documents).phase == "prepared":
                go(store, lambda state: moves.bridge(state, 1.0))
            return super().encode(*items, **how)

    opened = gallery(store, follow_seconds=3_600, old=Overtaken(OLD))
    opened.write(["west"], ["-1 0 0"], {"kind": ["a"]})
    assert store.fetch(NEW, ["west"]).vectors.tolist() == [[-1, 0, 0]]


def test_the_old_row_is_written_first_so_that_a_backfill_sees_the_change(store, monkeypatch):
    go(store, lambda state: moves.bridge(state, 1.0))
    spaces, write = [], MemoryStore.upsert
    monkeypatch.setattr(
        MemoryStore, "upsert", lambda self, rows, *more: (spaces.append(rows.space), write(self, rows, *more))[1]
    )
    gallery(store).write(["west"], ["-1 0 0"], {"kind": ["a"]})
    assert spaces == [OLD, NEW]


def test_an_open_gallery_refuses_the_rollout_of_another_upgrade(store):
    opened = gallery(store)
    other = RolloutState(OLD, Space("maxi", "2", 3, "dot"), "upgrade", "b2")
    go(store, moves.roll_back)
    go(store, lambda state: moves.prepare_again(state, other))
    with pytest.raises(SpaceMismatch, match="the rollout of this store is of maxi@2"):
        opened.search(["0 1 0"], 1)


def test_readers_of_many_threads_are_answered_at_every_move(store):
    opened, answers, errors = gallery(store, follow_seconds=0.001), [], []
    over = []

    def read():
        try:
            while not over:
                answers.append(opened.search(["0 1 0"], 4))
        except Exception as error:
            errors.append(error)

    threads = [Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for move in (
            lambda state: moves.bridge(state, 1.0),
            moves.backfill,
            moves.roll_back,
            lambda state: moves.prepare_again(state, RolloutState(OLD, NEW, "upgrade", "a1")),
            lambda state: moves.bridge(state, 1.0),
            moves.backfill,
        ):
            go(store, move)
            opened.state(fresh=True)
            opened.write(list(TEXTS)[:2], list(TEXTS.values())[:2], {"kind": ["a", "a"]})
            seen = len(answers)
            while len(answers) < seen + 5 and not errors:
                pass
    finally:
        over.append(True)
        for thread in threads:
            thread.join()
    assert not errors
    for answer in answers:
        assert sorted(answer.hits.ids[0]) == sorted(set(answer.hits.ids[0]))
        assert len(answer.hits.ids[0]) == 4
        assert answer.hits.ids[0][0] == "far north"


def test_a_model_that_has_to_answer_and_is_not_at_hand_is_named(store):
    alone = Gallery(store, UPGRADE, new=NumbersEncoder(NEW))
    with pytest.raises(InvalidInput, match="the old model answers now, and is not at hand; open the gallery with old="):
        alone.search(["0 1 0"], 1)
    go(store, lambda state: moves.bridge(state, 1.0))
    with pytest.raises(InvalidInput, match="the new model answers now, and is not at hand"):
        Gallery(store, UPGRADE, old=NumbersEncoder(OLD)).search(["0 1 0"], 1)
    with pytest.raises(SpaceMismatch, match="the new model answers now; expected its vectors"):
        gallery(store).search(Embeddings(("q",), np.ones((1, 2), np.float32), OLD), 1)


def test_a_gallery_of_another_upgrade_or_without_a_rollout_is_refused(store):
    other = Space("maxi", "2", 3, "dot")
    with pytest.raises(SpaceMismatch, match="the rollout of this store is of maxi@1"):
        Gallery(store, Upgrade(Identity(other, other), Prefix(other, OLD), Provenance("prefix")))
    with pytest.raises(SpaceMismatch, match=r"the upgrade is of maxi@1 .*, and the model gives mini@1"):
        Gallery(store, UPGRADE, new=NumbersEncoder(OLD))
    with pytest.raises(StoreError, match="no rollout has begun in this store"):
        Gallery(MemoryStore(OLD), UPGRADE)


def test_the_payload_of_an_item_that_is_deleted_while_it_is_read_is_none(store):
    opened, fetch = gallery(store), store.fetch

    def deleting(space, ids):
        found = fetch(space, ids)
        if space == OLD:
            store.delete(["east"])
        return found

    store.fetch = deleting
    assert opened.payload(["east", "far north"]) == {"kind": [None, "b"]}
