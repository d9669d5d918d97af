"""Random moves, reads, writes, deletes, backfills and kills, against a dictionary of what was accepted.

``EMBRIDGE_KILLS=500`` (``make test-kills``) for more journeys than by default.
"""

import os
import shutil
import tempfile
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numbers_encoder import NumbersEncoder

from embridge.adapters import Identity, Prefix, Provenance
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.items import ItemSource
from embridge.rollout import moves
from embridge.rollout._batch import InRow
from embridge.rollout._open_writes import BACKFILL, open_rows
from embridge.rollout.amendments import on_read
from embridge.rollout.backfill import Backfill, BackfillLimits
from embridge.rollout.gallery import Gallery
from embridge.rollout.journal import current_state, entries, record_move
from embridge.rollout.stale import stale_rows
from embridge.rollout.state import RolloutState
from embridge.space import Space
from embridge.stores import MemoryStore, open_store

KILLS = int(os.environ.get("EMBRIDGE_KILLS", "0"))
OLD, NEW = Space("mini", "1", 2, "dot"), Space("maxi", "1", 3, "dot")
UPGRADE = Upgrade(Identity(NEW, NEW), Prefix(NEW, OLD), Provenance("prefix"))
FIRST = RolloutState(OLD, NEW, "upgrade", "a1")
ALL = 50
NAMES = [f"item {number}" for number in range(4)]
MOVES = {
    "bridge": lambda state: moves.bridge(state, 1.0),
    "backfill": moves.backfill,
    "on read": lambda state: on_read(state, 2),
    "pause": moves.pause,
    "resume": moves.resume,
    "roll back": moves.roll_back,
    "prepare again": lambda state: moves.prepare_again(state, FIRST),
}
STEPS = st.sampled_from([None, None, *((step, after) for step in range(4) for after in (False, True))])


WRITES = st.sampled_from([None, (0, True), (1, False), (1, True), (2, False), (3, True)])
BACK = ("bridge", "backfill", "roll back")
COUNTS = st.sampled_from([4, 3, 2, 1, 0])


class Killed(BaseException):
    pass


IN_ROW = InRow("text", lambda ids, texts: (dict(zip(ids, texts, strict=True)), {}))


class Mortal:
    """A store, with its documents, whose process dies at one of the calls that write: before it takes effect, or after."""

    def __init__(self, whole, clock):
        self._whole, self._clock = whole, clock

    def __getattr__(self, name):
        found = getattr(self._whole, name)
        if name == "documents":
            return Mortal(found, self._clock)
        if name == "bulk":
            return lambda *asked: Mortal(found(*asked), self._clock)
        return partial(self._step, found) if name in ("upsert", "delete", "swap", "write") else found

    def _step(self, effect, *values, **options):
        left, after = self._clock.pop() if self._clock else (None, False)
        if left == 0 and not after:
            raise Killed
        value = effect(*values, **options)
        if left == 0:
            raise Killed
        if left is not None:
            self._clock.append((left - 1, after))
        return value


class Journey(RuleBasedStateMachine):
    """One controller and one application; after each kill both begin anew."""

    def __init__(self):
        super().__init__()
        self.store = self.opened()
        self.accepted, self.uncertain, self.clock = {}, set(), []

    def opened(self):
        return MemoryStore(OLD, NEW)

    @initialize(
        way=st.sampled_from([BACK, ("bridge", "on read", "backfill"), ("bridge", "backfill"), ("bridge",), ()]),
        rows=COUNTS,
        written=st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
    )
    def begin(self, way, rows, written):
        """Far along the way at once: steps at random seldom come there, and the first ones drawn are the plainest."""
        for number, name in enumerate(NAMES[:3]):
            self.accepted[name] = f"{number + 1} 1 {9 - number}"
        names = tuple(self.accepted)
        vectors = NumbersEncoder(OLD).encode(list(self.accepted.values()), modality="text")
        self.store.upsert(Embeddings(names, vectors, OLD), {"text": list(self.accepted.values())})
        assert record_move(self.store.documents, None, FIRST, entry=self.entry("prepare"))
        for name in way:
            self.move(name, MOVES[name])
            if rows and name == "backfill":
                self.backfilled(None, BackfillLimits(most_rows=rows))
        for name in written:
            self.writes(name, 9, None)

    def entry(self, move):
        return {"move": move, "by": "me", "at_seconds": 0.0, "why": {}}

    def mortal(self, dies):
        self.clock[:] = [] if dies is None else [dies]
        return Mortal(self.store, self.clock)

    def gallery(self, dies=None):
        encoders = {"new": NumbersEncoder(NEW), "old": NumbersEncoder(OLD)}
        items = ItemSource("text", column="text")
        return Gallery(self.mortal(dies), UPGRADE, **encoders, merge="raw", follow_seconds=0, items=items)

    def move(self, name, make, dies=None):
        documents = self.mortal(dies).documents
        state = current_state(documents)
        assert record_move(documents, state, make(state), entry=self.entry(name))

    @rule(name=st.sampled_from(sorted(MOVES)), dies=STEPS)
    def moves(self, name, dies):
        with suppress(InvalidInput, Killed):  # it does not fit the state, or is brought to its end later
            self.move(name, MOVES[name], dies)

    @rule(dies=STEPS)
    def completes(self, dies):
        if not (current_state(self.store.documents).phase == "backfilling" and self.backfilled(dies)):
            return
        missing = len(self.store.missing(NEW, OLD, limit=ALL))
        with suppress(InvalidInput, Killed):  # it is paused, or killed
            self.move("complete", lambda state: moves.complete(state, missing=missing), dies)

    @rule(rows=st.integers(1, 3), dies=STEPS)
    def backfills(self, rows, dies):
        if current_state(self.store.documents).phase == "backfilling":
            self.backfilled(dies, BackfillLimits(batch_rows=2, most_rows=rows))

    def backfilled(self, dies, limits=None):
        store = self.mortal(dies)

        def source(ids):
            there = store.fetch(OLD, ids).ids
            return dict(zip(there, store.column(OLD, there, "text"), strict=True)), {}

        def encode(ids, texts):
            return Embeddings(tuple(ids), NumbersEncoder(NEW).encode(texts, modality="text"), NEW)

        try:
            result = Backfill(store, OLD, NEW, source, encode, in_row=IN_ROW).run(limits=limits)
        except Killed:
            return False
        if result.ended == "done":
            self.uncertain -= set(self.store.fetch(OLD, NAMES).ids)
        return result.ended == "done"

    @rule(name=st.sampled_from(NAMES), number=st.integers(1, 9), dies=WRITES)
    def writes(self, name, number, dies):
        text = f"{number} {number} {10 - number}"
        try:
            self.gallery(dies).write([name], [text], {"text": [text]})
            self.accepted[name] = text
            self.uncertain.discard(name)
        except Killed:
            self.settle(name, {self.accepted.get(name), text})

    @rule(name=st.sampled_from(NAMES), dies=STEPS)
    def deletes(self, name, dies):
        try:
            self.gallery(dies).delete([name])
            self.accepted.pop(name, None)
            self.uncertain.discard(name)
        except Killed:
            self.settle(name, {self.accepted.get(name), None})

    def settle(self, name, possible):
        """After a kill an item is what it was or what it was to be, whole."""
        there = self.store.fetch(OLD, [name]).ids
        text = self.store.column(OLD, [name], "text")[0] if there else None
        assert text in possible
        self.uncertain.add(name)
        self.accepted = {k: v for k, v in self.accepted.items() if k != name} | ({name: text} if text else {})

    @rule(k=st.sampled_from([2, ALL]), client=st.sampled_from(["old", "new"]), dies=STEPS)
    def reads(self, k, client, dies):
        try:
            answer = self.gallery(dies).search("1 2 3", k, client=client, draw=0.0)
        except Killed:
            return  # while it encoded what it found
        (found,) = answer.hits.ids
        assert len(found) == len(set(found))
        assert set(found) <= self.accepted.keys() | self.uncertain
        if k == ALL:
            assert self.accepted.keys() - self.uncertain <= set(found)
        assert answer.version == current_state(self.store.documents).version

    @invariant()
    def rows_are_of_what_was_accepted(self):
        if not self.accepted:
            return
        old = self.store.fetch(OLD, NAMES)
        assert self.vectors(old) == self.expected(OLD)
        noted = {*open_rows(self.store.documents), *stale_rows(self.store.documents)}
        noted |= set((self.store.documents.read(BACKFILL) or {}).get("ids", ()))
        new, expected = self.vectors(self.store.fetch(NEW, NAMES)), self.expected(NEW)
        assert {name: new[name] for name in new.keys() - noted} == {
            name: expected.get(name) for name in new.keys() - noted
        }

    def vectors(self, rows):
        return {name: vector.tolist() for name, vector in zip(rows.ids, rows.vectors, strict=True)}

    def expected(self, space):
        return {name: [float(x) for x in text.split()][: space.dim] for name, text in self.accepted.items()}

    @invariant()
    def the_journal_is_a_chain(self):
        state = current_state(self.store.documents)
        if state is not None:
            assert [one.state.version for one in entries(self.store.documents)] == list(range(1, state.version + 1))

    def teardown(self):
        """From wherever it is, it goes on to the end, and loses nothing."""
        if current_state(self.store.documents) is None:
            return
        way = ("roll back", "prepare again", "bridge", "backfill")
        for name in way:
            self.move(name, MOVES[name])
        assert self.backfilled(None)
        self.store.delete(self.store.missing(OLD, NEW, limit=ALL))
        self.move("complete", lambda state: moves.complete(state, missing=0))
        assert self.vectors(self.store.fetch(NEW, NAMES)) == self.expected(NEW)
        self.move("drop", moves.drop_old)
        self.store.drop_space(OLD)
        assert set(self.gallery().search("1 2 3", ALL).hits.ids[0]) == self.accepted.keys()


class LanceJourney(Journey):
    def opened(self):
        self.folder = tempfile.mkdtemp()
        store = open_store(f"lancedb:{self.folder}/shop", create=True)
        for space in (OLD, NEW):
            store.add_space(space)
        return store

    def teardown(self):
        try:
            super().teardown()
        finally:
            self.store.close()
            shutil.rmtree(self.folder)


def of(journey, examples, steps):
    case = journey.TestCase
    case.settings = settings(
        max_examples=max(examples, KILLS * examples // 40),
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    return case


TestMemory = pytest.mark.slow(of(Journey, 60, 14))
TestLance = pytest.mark.slow(of(LanceJourney, 3, 6))
