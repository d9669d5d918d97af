from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numbers_encoder import NumbersEncoder
from PIL import Image

from embridge.embeddings import Embeddings
from embridge.errors import GateRefused, InvalidInput, StoreError
from embridge.rollout._batch import Filling
from embridge.rollout.backfill import Backfill, BackfillLimits
from embridge.rollout.stale import stale_rows
from embridge.space import Space
from embridge.stores import MemoryStore

OLD, NEW = Space("mini", "1", 2, "dot"), Space("maxi", "1", 3, "dot")


class Killed(Exception):
    pass


class World:
    """A store whose items are texts in a payload column, and its backfill; others may write while it encodes."""

    def __init__(self, count):
        self.store, self.model = MemoryStore(OLD, NEW), NumbersEncoder(NEW)
        self.meanwhile = {}
        self.unreadable = set()
        for i in range(count):
            self.write(f"item {i}", f"{i} 1 2")

    def write(self, name, text):
        vector = NumbersEncoder(OLD).encode([text], modality="text")
        self.store.upsert(Embeddings((name,), vector, OLD), {"text": [text]})

    def source(self, ids):
        there = self.store.fetch(OLD, ids).ids
        read = [name for name in there if name not in self.unreadable]
        texts = self.store.column(OLD, read, "text")
        return dict(zip(read, texts, strict=True)), {n: "unreadable" for n in there if n in self.unreadable}

    def encode(self, ids, items):
        vectors = self.model.encode(items, modality="text")
        for name in ids:
            self.meanwhile.pop(name, lambda: None)()
        return Embeddings(tuple(ids), vectors, NEW)

    def backfill(self, workers=0):
        filling = Filling(self.store, OLD, NEW, self.source, self.encode)
        spread = partial(side_by_side, filling, workers) if workers else None
        return Backfill(self.store, OLD, NEW, self.source, self.encode, spread=spread)

    def texts(self):
        names = self.store.ids(OLD, limit=1_000)
        return dict(zip(names, self.store.column(OLD, names, "text"), strict=True))

    def new_vectors(self):
        return {n: v.tolist() for part in self.store.scan(NEW) for n, v in zip(part.ids, part.vectors, strict=True)}

    def expect_whole(self):
        expected = {n: [float(x) for x in t.split()] for n, t in self.texts().items() if n not in self.unreadable}
        assert self.new_vectors() == expected


def side_by_side(filling, workers, batches):
    """As workers do it: as many batches as there are workers are handed out, and the last of them is done first."""
    under_way, batches = [], iter(batches)
    while True:
        under_way += islice(batches, workers - len(under_way))
        if not under_way:
            return
        batch = under_way.pop()
        yield batch, filling(batch)


def test_every_row_gets_a_new_vector_and_the_old_ones_stay():
    world = World(23)
    before = world.store.fetch(OLD, world.texts()).vectors
    seen = []
    result = world.backfill().run(limits=BackfillLimits(batch_rows=5), progress=lambda *step: seen.append(step[:2]))
    assert (result.rows, result.encoded, result.failed, result.ended) == (23, 23, {}, "done")
    assert seen[-1] == (23, 23)
    world.expect_whole()
    np.testing.assert_array_equal(world.store.fetch(OLD, world.texts()).vectors, before)
    again = world.backfill().run()
    assert (again.rows, again.encoded) == (0, 0)


def test_the_order_decides_which_rows_come_first():
    world = World(10)
    world.backfill().run(
        order=["item 7", "nobody", "item 2", "item 7"], limits=BackfillLimits(batch_rows=2, most_rows=3)
    )
    assert set(world.new_vectors()) == {"item 7", "item 2", "item 0"}
    world.backfill().run(order=(name for name in ["item 2", "item 9"]), limits=BackfillLimits(most_rows=1))
    assert set(world.new_vectors()) == {"item 7", "item 2", "item 0", "item 9"}


def test_an_item_changed_while_it_is_encoded_ends_with_its_newest_content():
    world = World(6)
    world.meanwhile = {"item 1": lambda: world.write("item 1", "7 7 7"), "item 3": lambda: world.write("new", "8 8 8")}
    result = world.backfill().run(limits=BackfillLimits(batch_rows=4))
    assert (result.rows, result.encoded) == (7, 8)
    assert world.new_vectors()["item 1"] == [7, 7, 7]
    world.expect_whole()


def test_an_item_deleted_while_it_is_encoded_does_not_come_back():
    world = World(6)
    world.meanwhile = {"item 1": lambda: world.store.delete(["item 1", "item 4"])}
    assert world.backfill().run(limits=BackfillLimits(batch_rows=6)).rows == 4
    assert "item 1" not in world.texts()
    world.expect_whole()
    assert world.store.ids(NEW, limit=9) == ["item 0", "item 2", "item 3", "item 5"]


def test_items_that_cannot_be_had_are_named_and_the_others_go_on():
    world = World(8)
    world.unreadable = {"item 0", "item 5"}
    result = world.backfill().run(limits=BackfillLimits(batch_rows=3))
    assert result.failed == {"item 0": "unreadable", "item 5": "unreadable"}
    assert (result.rows, result.ended) == (6, "done")
    world.expect_whole()
    assert world.store.count(OLD) == 8


def test_a_spend_cap_stops_before_it_is_passed():
    world = World(10)
    limits = BackfillLimits(batch_rows=3, price=0.5, spend_cap=4)
    with pytest.raises(
        GateRefused, match=r"the next 3 items would cost more than the spend cap of 4 \(6 were encoded for 3\)"
    ):
        world.backfill().run(limits=limits)
    assert len(world.new_vectors()) == 6
    with pytest.raises(GateRefused, match=r"6 were encoded for 3"):
        world.backfill().run(limits=limits)
    assert world.backfill().run(limits=BackfillLimits(price=0.5, spend_cap=5)).rows == 4


def test_a_row_that_was_deleted_before_a_kill_does_not_come_back():
    world = World(3)

    def killed(ids):
        if len(world.new_vectors()) == 3:
            raise Killed
        return world.source(ids)

    world.meanwhile = {"item 1": lambda: world.store.delete(["item 1"])}
    with pytest.raises(Killed):
        Backfill(world.store, OLD, NEW, killed, world.encode).run()
    assert "item 1" in world.new_vectors()
    world.backfill().run()
    world.expect_whole()


def test_rows_that_a_kill_left_open_are_all_looked_at_again_whatever_the_limit():
    world = World(6)

    def killed():
        for name in ("item 0", "item 1", "item 2"):
            world.store.upsert(Embeddings((name,), np.ones((1, 3), np.float32), NEW))  # written, and changed at once
            world.write(name, f"5 5 {name[-1]}")
        raise Killed

    world.meanwhile = {"item 0": killed}
    with pytest.raises(Killed):
        world.backfill().run(limits=BackfillLimits(batch_rows=4))
    result = world.backfill().run(limits=BackfillLimits(batch_rows=2, most_rows=2))
    assert (result.rows, result.encoded, result.ended) == (2, 5, "limit")
    assert [world.new_vectors()[f"item {n}"] for n in range(3)] == [[5, 5, 0], [5, 5, 1], [5, 5, 2]]
    assert len(world.new_vectors()) == 5


@pytest.mark.parametrize(
    "content", [bytes, lambda text: Image.new("L", (1, 1), int(text[0])), lambda text: np.array([int(text[0])])]
)
def test_an_image_that_changes_while_it_is_encoded_is_encoded_again(content):
    world = World(2)

    def source(ids):
        texts, missing = world.source(ids)
        return {name: content(text.encode() if content is bytes else text) for name, text in texts.items()}, missing

    def encode(ids, items):
        return world.encode(ids, [world.texts()[name] for name in ids])

    world.meanwhile = {"item 1": lambda: world.write("item 1", "7 7 7")}
    result = Backfill(world.store, OLD, NEW, source, encode).run()
    assert (result.rows, result.encoded) == (2, 3)
    world.expect_whole()


def test_rows_of_their_own_get_the_payload_that_can_be_carried():
    store = MemoryStore(OLD, NEW)
    store.capabilities = replace(MemoryStore.capabilities, shared_rows=False)
    store.upsert(Embeddings(("a",), np.ones((1, 2), np.float32), OLD), {"kind": ["x"]})
    values, written, write = {"kind": ["x"], "my kind": ["y"], "price": [float("nan")]}, [], store.upsert
    store.payload = lambda *_: values
    store.upsert = lambda rows, payload: (written.append(payload), write(rows))
    Backfill(store, OLD, NEW, lambda ids: (dict.fromkeys(ids, "t"), {}), encode_ones).run()
    assert written == [{"kind": ["x"], "price": [None]}]


def encode_ones(ids, items):
    return Embeddings(tuple(ids), np.ones((len(items), 3), np.float32), NEW)


@pytest.mark.parametrize("cap", [4, 5, 6, 7])
def test_items_that_change_while_they_are_encoded_do_not_pass_a_spend_cap(cap):
    world = World(4)
    world.meanwhile = {name: partial(world.write, name, "7 7 7") for name in ("item 1", "item 3")}
    limits = BackfillLimits(batch_rows=2, price=1, spend_cap=cap)
    if cap < 6:
        with pytest.raises(GateRefused, match="more than the spend cap"):
            world.backfill().run(limits=limits)
        assert stale_rows(world.store.documents) == ["item 1", "item 3"]
    else:
        assert world.backfill().run(limits=limits).rows == 4
        world.expect_whole()
    assert len(world.model.texts) <= cap
    world.backfill().run()
    world.expect_whole()
    assert stale_rows(world.store.documents) == []


def test_batches_that_are_under_way_count_for_every_limit():
    world = World(12)
    world.unreadable = {"item 1"}
    seen = []
    noted = [lambda: seen.append(sorted(world.store.documents.read("backfill")["ids"]))]
    world.meanwhile = {f"item {n}": noted[0] for n in range(12)}
    result = world.backfill(3).run(order=["item 1", "item 2"], limits=BackfillLimits(batch_rows=2, most_rows=7))
    assert (result.rows, result.encoded, result.ended) == (7, 7, "limit")
    assert max(map(len, seen)) == 6
    limits = BackfillLimits(batch_rows=2, price=1, spend_cap=10)
    world.unreadable.clear()
    with pytest.raises(GateRefused, match=r"the next 2 items .* \(9 were encoded for 9\)"):
        world.backfill(3).run(limits=limits)
    assert len(world.new_vectors()) == 9
    assert world.store.documents.read("backfill")["ids"] == []
    world.backfill(3).run()
    world.expect_whole()


def test_batches_that_are_under_way_end_before_a_pause():
    world = World(12)
    asked = iter([True, True, True, False])
    result = world.backfill(2).run(limits=BackfillLimits(batch_rows=2), goes_on=lambda: next(asked))
    assert (result.rows, result.ended) == (6, "paused")
    assert world.store.documents.read("backfill")["ids"] == []


def test_a_pause_comes_between_batches():
    world = World(10)
    asked = iter([True, True, False])
    result = world.backfill().run(limits=BackfillLimits(batch_rows=3), goes_on=lambda: next(asked))
    assert (result.rows, result.ended) == (6, "paused")


def test_two_backfills_at_once_are_noticed():
    world = World(4)
    world.meanwhile = {"item 0": lambda: world.backfill().run()}
    with pytest.raises(StoreError, match="another backfill runs in this store"):
        world.backfill().run()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_rows": 0}, "batch_rows is at least 1"),
        ({"rows_per_second": 0}, "rows_per_second is above 0"),
        ({"most_rows": -1}, "most_rows is above 0"),
        ({"spend_cap": 0}, "spend_cap is above 0"),
        ({"price": -0.1}, "price is 0 or more"),
    ],
)
def test_limits_are_checked(values, message):
    with pytest.raises(InvalidInput, match=message):
        BackfillLimits(**values)


CHANGES = st.dictionaries(
    st.integers(0, 11), st.sampled_from(["change", "delete", "add", "kill", "kill after"]), max_size=6
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    changes=CHANGES,
    size=st.integers(1, 5),
    order=st.lists(st.integers(0, 14), max_size=8),
    workers=st.integers(0, 3),
)
def test_whoever_writes_or_kills_meanwhile_all_rows_end_with_their_newest_content(changes, size, order, workers):
    world = World(12)
    deleted = []

    def happens(number, change):
        name = f"item {number}"
        if change == "change":
            world.write(name, f"9 9 {number}")
        elif change == "add":
            world.write(f"added {number}", f"5 5 {number}")
        elif change == "delete":
            world.store.delete([name])
            deleted.append(name)
        elif change == "kill":
            raise Killed
        else:
            world.store.upsert(Embeddings((name,), np.ones((1, 3), np.float32), NEW))  # written, and changed at once
            world.write(name, f"3 3 {number}")
            raise Killed

    world.meanwhile = {f"item {n}": lambda n=n, change=change: happens(n, change) for n, change in changes.items()}
    for _ in range(len(changes) + 1):
        try:
            world.backfill(workers).run(order=[f"item {n}" for n in order], limits=BackfillLimits(batch_rows=size))
        except Killed:
            continue
        break
    world.expect_whole()
    assert not set(deleted) & set(world.texts())
