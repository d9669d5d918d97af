"""Queries that encode what they find, rows that are noted while they are written, and rows that nobody can encode."""

import numpy as np
import pytest
from numbers_encoder import NumbersEncoder

from embridge.adapters import Identity, Prefix, Provenance
from embridge.adapters.upgrade import Upgrade, fingerprint
from embridge.embeddings import Embeddings
from embridge.errors import GateRefused, InvalidInput
from embridge.items import ItemSource
from embridge.rollout import moves
from embridge.rollout._open_writes import encoded_before, encoded_on_read, open_rows
from embridge.rollout.amendments import bridge_rows, on_read
from embridge.rollout.backfill import Backfill, BackfillLimits
from embridge.rollout.gallery import Gallery
from embridge.rollout.journal import current_state, record_move
from embridge.rollout.state import RolloutState
from embridge.space import Space
from embridge.stores import MemoryStore

OLD, NEW = Space("mini", "1", 2, "dot"), Space("maxi", "1", 3, "dot")
UPGRADE = Upgrade(Identity(NEW, NEW), Prefix(NEW, OLD), Provenance("prefix"))
ITEMS = ItemSource("text", column="text")


class Killed(BaseException):
    pass


def go(store, move):
    before = current_state(store.documents)
    entry = {"move": "move", "by": "me", "at_seconds": 0.0, "why": {}}
    assert record_move(store.documents, before, move(before) if before else move(None), entry=entry)


def write_old(store, name, text):
    vectors = NumbersEncoder(OLD).encode([text], modality="text")
    store.upsert(Embeddings((name,), vectors, OLD), {"text": [text]})


@pytest.fixture
def store():
    """Twelve items whose old vectors lie along a line; the new model sees what the old one does not."""
    store = MemoryStore(OLD, NEW)
    for number in range(12):
        write_old(store, f"item {number:02}", f"{12 - number} 0 {number}")
    go(store, lambda _: RolloutState(OLD, NEW, "upgrade", "a1"))
    go(store, lambda state: moves.bridge(state, 1.0))
    return store


def backfilling(store, items=4, most=0):
    go(store, lambda state: on_read(state, items, most_encoded=most))
    go(store, moves.backfill)


def opened(store, **options):
    given = {"new": NumbersEncoder(NEW), "items": ITEMS, "follow_seconds": 0} | options
    return Gallery(store, UPGRADE, **given)


def source(store, unreadable=()):
    def read(ids):
        there = store.fetch(OLD, ids).ids
        read = [name for name in there if name not in unreadable]
        texts = store.column(OLD, read, "text")
        return dict(zip(read, texts, strict=True)), {n: "gone" for n in there if n in unreadable}

    return read


def encode(ids, texts):
    return Embeddings(tuple(ids), NumbersEncoder(NEW).encode(texts, modality="text"), NEW)


def test_a_query_has_the_best_items_of_the_bridge_encoded_and_keeps_their_vectors(store):
    backfilling(store)
    gallery = opened(store)
    answer = gallery.search("1 0 9", 2)  # the bridge finds items 0 to 3; of these the new model likes 3 best
    assert (answer.served, answer.hits.ids) == ("cascade", (("item 03", "item 02"),))
    assert store.ids(NEW, limit=99) == ["item 00", "item 01", "item 02", "item 03"]
    assert gallery.search("1 0 9", 2).hits.ids == answer.hits.ids
    assert gallery.new.texts == ["1 0 9", "12 0 0", "11 0 1", "10 0 2", "9 0 3", "1 0 9"]
    assert Backfill(store, OLD, NEW, source(store), encode).run().rows == 8


def test_an_item_that_somebody_opens_is_encoded_at_once(store):
    gallery = opened(store)
    gallery.opened(["item 07"])
    assert store.count(NEW) == 0
    backfilling(store)
    gallery.opened(["item 07", "nobody", "item 07"])
    assert store.fetch(NEW, ["item 07"]).vectors.tolist() == [[5, 0, 7]]
    assert (store.count(NEW), gallery.new.texts) == (1, ["5 0 7"])


def test_only_a_backfill_that_runs_encodes_on_read(store):
    gallery = opened(store)
    go(store, lambda state: on_read(state, 4))
    assert gallery.search("1 0 9", 2).served == "bridge"
    go(store, moves.backfill)
    go(store, moves.pause)
    assert gallery.search("1 0 9", 2).served == "mixed"
    go(store, moves.resume)
    assert opened(store, items=None).search("1 0 9", 2).served == "mixed"
    vectors = Embeddings(("q",), np.array([[1, 0, 9]], np.float32), NEW)
    assert opened(store, new=None).search(vectors, 2).served == "mixed"
    assert store.count(NEW) == 0
    go(store, moves.roll_back)
    with pytest.raises(InvalidInput, match="encode on read: the rollout is rolled back; nothing is left to encode"):
        on_read(current_state(store.documents), 4)


def test_an_item_that_cannot_be_had_is_found_through_the_bridge_all_the_same(store):
    store.upsert(Embeddings(("item 01",), np.array([[11, 0]], np.float32), OLD), {"text": [" "]})
    backfilling(store)
    gallery = opened(store)
    assert gallery.search("1 0 0", 3).hits.ids == (("item 00", "item 02", "item 01"),)
    assert store.ids(NEW, limit=99) == ["item 00", "item 02", "item 03"]


def test_the_spend_cap_ends_it_and_the_backfill_counts_what_queries_encoded(store):
    backfilling(store, items=4, most=6)
    gallery = opened(store)
    gallery.search("1 0 9", 2)
    gallery.search("-1 0 9", 2)
    assert store.count(NEW) == 4
    backfilling_again = Backfill(store, OLD, NEW, source(store), encode)
    assert backfilling_again.run().rows == 8


def test_an_item_that_changes_while_a_query_encodes_it_ends_with_its_newest_content(store):
    class Meanwhile(NumbersEncoder):
        def encode(self, items, **how):
            vectors = super().encode(items, **how)
            if "11 0 1" in items:
                write_old(store, "item 01", "11 0 99")
                store.delete(["item 02"])
            return vectors

    backfilling(store)
    answer = opened(store, new=Meanwhile(NEW)).search("1 0 9", 2)
    assert answer.hits.ids == (("item 01", "item 03"),)
    assert store.fetch(NEW, ["item 01", "item 02"]).vectors.tolist() == [[11, 0, 99]]


@pytest.mark.parametrize("spared", [0, 1])
def test_rows_of_a_writer_that_was_killed_are_made_again(store, spared, monkeypatch):
    go(store, moves.backfill)
    Backfill(store, OLD, NEW, source(store), encode).run()
    gallery, write, left = opened(store), MemoryStore.upsert, [spared]

    def dies(self, rows, *more):
        if not left[0]:
            raise Killed
        left[0] -= 1
        write(self, rows, *more)

    monkeypatch.setattr(MemoryStore, "upsert", dies)
    with pytest.raises(Killed):
        gallery.write(["item 05"], ["1 1 77"], {"text": ["1 1 77"]})
    monkeypatch.undo()
    assert Backfill(store, OLD, NEW, source(store), encode).run().rows == 1
    text = store.column(OLD, ["item 05"], "text")[0]
    assert store.fetch(NEW, ["item 05"]).vectors.tolist() == [[float(number) for number in text.split()]]


def test_rows_that_have_no_new_vector_at_the_end_keep_the_place_that_the_bridge_gives_them(store):
    go(store, moves.backfill)
    failed = {"item 01", "item 11"}
    result = Backfill(store, OLD, NEW, source(store, failed), encode).run()
    assert result.failed.keys() == failed
    go(store, lambda state: moves.complete(state, missing=0, unreadable=2))
    gallery = opened(store)
    answer = gallery.search("1 0 0", 3)
    assert (answer.served, answer.hits.ids) == ("mixed", (("item 00", "item 02", "item 01"),))
    assert "item 11" not in gallery.search("1 0 0", 9).hits.ids[0]
    found = gallery.search("1 0 0", 12).hits.ids[0]
    assert (len(found), found[-1]) == (12, "item 11")
    assert opened(store, merge="raw").search("1 0 0", 2).hits.ids == (("item 00", "item 01"),)
    gallery.write(["item 11"], ["9 9 9"], {"text": ["9 9 9"]})
    gallery.delete(["item 01"])
    assert set(gallery.search("1 0 0", 12).hits.ids[0]) == {f"item {number:02}" for number in range(12) if number != 1}
    go(store, lambda state: bridge_rows(state, 0))
    assert gallery.search("1 0 0", 3).served == "new"


def test_what_is_written_while_old_rows_are_dropped_has_its_old_row_if_they_stay(store):
    go(store, moves.backfill)
    Backfill(store, OLD, NEW, source(store), encode).run()
    go(store, lambda state: moves.complete(state, missing=0))
    go(store, moves.drop_old)
    gallery = opened(store)
    gallery.write(["late"], ["0 5 5"], {"text": ["0 5 5"]})
    go(store, moves.keep_old)
    go(store, moves.roll_back)
    assert store.fetch(OLD, ["late"]).vectors.tolist() == [[0, 1]]
    go(store, lambda state: moves.prepare_again(state, RolloutState(OLD, NEW, "upgrade", "a1")))
    for move in (
        lambda state: moves.bridge(state, 1.0),
        moves.backfill,
        lambda state: moves.complete(state, missing=0),
    ):
        go(store, move)
    go(store, moves.drop_old)
    store.drop_space(OLD)
    gallery.write(["later"], ["0 6 6"], {"text": ["0 6 6"]})
    assert store.fetch(NEW, ["late", "later"]).vectors.tolist() == [[0, 5, 5], [0, 6, 6]]


def test_an_open_gallery_follows_to_the_next_upgrade_and_refuses_a_changed_one(store, tmp_path):
    store = MemoryStore(OLD, NEW)
    third = Space("third", "1", 4, "dot")
    for name, upgrade in (
        ("first", UPGRADE),
        ("second", Upgrade(Identity(third, third), Prefix(third, OLD), Provenance("prefix"))),
    ):
        upgrade.save(tmp_path / name)
    write_old(store, "a", "1 0 0")

    def begins(name, new):
        folder = tmp_path / name
        return RolloutState(OLD, new, str(folder), fingerprint(folder))

    go(store, lambda _: begins("first", NEW))
    gallery = Gallery.open(store, old=NumbersEncoder(OLD), follow_seconds=0)
    assert gallery.query_space == NEW
    assert gallery.search("1 0 0", 1).served == "old"
    go(store, moves.roll_back)
    go(store, lambda state: moves.prepare_again(state, begins("second", third)))
    gallery.state()
    assert gallery.query_space == third
    with pytest.raises(InvalidInput, match="first holds another upgrade than the one this rollout began with"):
        Gallery.open(store, tmp_path / "first")
    with pytest.raises(InvalidInput, match=r"cannot be loaded from .*; open the gallery with upgrade=FOLDER"):
        Gallery.open(store, tmp_path / "nowhere")


def test_a_backfill_that_runs_counts_what_queries_encode_meanwhile(store):
    backfilling(store, most=6)
    gallery, read = opened(store), source(store)

    def asking(ids):
        if encoded_before(store.documents, NEW) == 2:
            gallery.search("1 0 9", 2)  # which encodes four items
        return read(ids)

    order = [f"item {number:02}" for number in range(11, 3, -1)]
    limits = BackfillLimits(batch_rows=2, price=1.0, spend_cap=6.0)
    with pytest.raises(GateRefused, match=r"more than the spend cap of 6 \(6 were encoded for 6\)"):
        Backfill(store, OLD, NEW, asking, encode).run(order=order, limits=limits)
    assert (encoded_before(store.documents, NEW), encoded_on_read(store.documents, NEW), store.count(NEW)) == (2, 4, 6)


def test_what_a_rollout_paid_is_not_counted_for_the_next_one(store):
    backfilling(store)
    opened(store).search("1 0 9", 2)
    Backfill(store, OLD, NEW, source(store), encode).run()
    third, before = Space("third", "1", 3, "dot"), (encoded_before(store.documents, NEW), 4)
    store.add_space(third)

    def encode_third(ids, texts):
        return Embeddings(tuple(ids), NumbersEncoder(third).encode(texts, modality="text"), third)

    limits = BackfillLimits(price=1.0, spend_cap=12.0)
    assert Backfill(store, OLD, third, source(store), encode_third).run(limits=limits).rows == 12
    assert (encoded_before(store.documents, NEW), encoded_on_read(store.documents, NEW)) == before == (8, 4)


def test_queries_leave_what_a_backfill_has_taken_since(store):
    """Both look at the spend cap, and then both note what they take."""
    backfilling(store, most=6)
    documents, swap = store.documents, store.documents.swap

    def taken_between(name, expected, new):
        if name == "open writes":
            swap("backfill", documents.read("backfill"), {"old": OLD.id, "ids": [], "encoded": {NEW.id: 4}})
        return swap(name, expected, new)

    documents.swap = taken_between
    assert opened(store).search("1 0 9", 2).served == "cascade"
    assert store.count(NEW) == 0


def test_an_item_that_changed_and_cannot_be_had_is_asked_for_again_by_the_next_backfill(store):
    go(store, moves.backfill)
    Backfill(store, OLD, NEW, source(store), encode).run()
    go(store, moves.roll_back)
    opened(store, old=NumbersEncoder(OLD)).write(["item 03"], ["9 9 9"], {"text": ["9 9 9"]})
    assert Backfill(store, OLD, NEW, source(store, ["item 03"]), encode).run().failed == {"item 03": "gone"}
    assert store.fetch(NEW, ["item 03"]).vectors.tolist() == [[9, 0, 3]]
    for _ in range(2):  # the second time, nothing is left
        result = Backfill(store, OLD, NEW, source(store), encode).run()
    assert (result.encoded, store.fetch(NEW, ["item 03"]).vectors.tolist()) == (0, [[9, 9, 9]])


def test_a_writer_that_is_killed_beside_a_backfill_leaves_no_former_vector(store):
    go(store, moves.backfill)
    gallery, upsert = opened(store, old=NumbersEncoder(OLD)), store.upsert

    def dies(rows, payload=None):
        store.upsert = upsert
        Backfill(store, OLD, NEW, source(store), encode).run()  # of the former content
        upsert(rows, payload)
        raise Killed

    store.upsert = dies
    with pytest.raises(Killed):
        gallery.write(["item 03"], ["9 9 9"], {"text": ["9 9 9"]})
    gallery.close()  # nothing is struck out that was not written
    Backfill(store, OLD, NEW, source(store), encode).run()
    assert store.fetch(NEW, ["item 03"]).vectors.tolist() == [[9, 9, 9]]
    with opened(store, old=NumbersEncoder(OLD)) as gallery:
        gallery.write(["item 04"], ["7 7 7"], {"text": ["7 7 7"]})
        assert "item 04" in open_rows(store.documents)
    assert "item 04" not in open_rows(store.documents)
