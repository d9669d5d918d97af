from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from embridge.errors import InvalidInput, StoreError
from embridge.rollout import moves
from embridge.rollout.journal import current_state, entries, record_move
from embridge.rollout.state import RolloutState
from embridge.space import Space
from embridge.stores.documents import FileDocuments, MemoryDocuments

FIRST = RolloutState(Space("mini", "1", 3), Space("maxi", "1", 5), "upgrade", "a1b2")


def said(move="move", by="a"):
    return {"move": move, "by": by, "at_seconds": 0.0, "why": {}}


def begun(documents):
    assert record_move(documents, None, FIRST, entry=said("prepare"))
    return documents


@pytest.fixture(params=["memory", "file"])
def documents(request, tmp_path):
    return MemoryDocuments() if request.param == "memory" else FileDocuments(tmp_path / "documents.json")


def test_moves_are_kept_in_order(documents):
    assert current_state(documents) is None
    begun(documents)
    state = FIRST
    for name, following in (("shadow", moves.shadow(state, 0.1)),):
        assert record_move(documents, state, following, entry=said(name))
        state = following
    assert current_state(documents) == state
    assert [(one.move, one.state.version) for one in entries(documents)] == [("prepare", 1), ("shadow", 2)]


def test_of_two_controllers_that_began_at_one_state_one_moves(documents):
    begun(documents)
    assert record_move(documents, FIRST, moves.bridge(FIRST, 0.5), entry=said("bridge"))
    assert not record_move(documents, FIRST, moves.shadow(FIRST, 0.5), entry=said("shadow"))
    assert current_state(documents).phase == "bridged"
    assert not record_move(documents, None, FIRST, entry=said("prepare"))
    with pytest.raises(InvalidInput, match="a move leads to version 2 of the state, came 3"):
        record_move(documents, FIRST, moves.backfill(moves.bridge(FIRST, 1.0)), entry=said())


def test_of_many_controllers_at_once_one_moves(documents):
    begun(documents)
    barrier = Barrier(6)

    def move(number):
        barrier.wait()
        return record_move(documents, FIRST, moves.shadow(FIRST, (number + 1) / 10), entry=said(by=str(number)))

    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(move, range(6)))
    assert sum(won) == 1
    assert [one.by for one in entries(documents)][1:] == [str(won.index(True))]
    assert current_state(documents).shadow == (won.index(True) + 1) / 10


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d | {"by": "someone"}, "entry 2 of the journal was changed: its hash is not its own"),
        (
            lambda d: {name: value for name, value in d.items() if name != "by"},
            "entry 2 of the journal is damaged: it lacks 'by'",
        ),
        (lambda d: d | {"why": 5}, "entry 2 of the journal is damaged: its why is 5"),
        (lambda d: d | {"state": {}}, "entry 2 of the journal is damaged: expected a rollout's state"),
    ],
)
def test_a_changed_entry_is_found(spoil, message):
    documents = begun(MemoryDocuments())
    assert record_move(documents, FIRST, moves.shadow(FIRST, 0.1), entry=said())
    entry = documents.read("journal/000002")
    assert documents.swap("journal/000002", entry, spoil(entry))
    with pytest.raises(StoreError, match=message):
        list(entries(documents))


def test_an_entry_put_in_the_place_of_another_is_found():
    documents, other = begun(MemoryDocuments()), begun(MemoryDocuments())
    two, three = moves.shadow(FIRST, 0.1), moves.bridge(moves.shadow(FIRST, 0.1), 1.0)
    for each, first in ((documents, two), (other, moves.shadow(FIRST, 0.9))):
        assert record_move(each, FIRST, first, entry=said())
    assert record_move(documents, two, three, entry=said())
    assert documents.swap("journal/000002", documents.read("journal/000002"), other.read("journal/000002"))
    with pytest.raises(StoreError, match="entry 3 of the journal does not follow the one before it"):
        list(entries(documents))


class Killed(Exception):
    pass


class Mortal:
    """Documents whose process dies at a step: before it takes effect, or after."""

    def __init__(self, documents):
        self.documents, self.steps, self.after = documents, None, False

    def read(self, name):
        return self._step(lambda: self.documents.read(name))

    def swap(self, name, expected, new):
        return self._step(lambda: self.documents.swap(name, expected, new))

    def _step(self, effect):
        if self.steps is not None:
            self.steps -= 1
        dies = self.steps is not None and self.steps < 0
        if dies and not self.after:
            raise Killed
        value = effect()
        if dies:
            raise Killed
        return value


ALL = (
    lambda state: moves.shadow(state, 0.25),
    lambda state: moves.bridge(state, 0.5),
    lambda state: moves.bridge(state, 1.0),
    moves.backfill,
    moves.pause,
    moves.resume,
    lambda state: moves.complete(state, missing=0),
    moves.roll_back,
    lambda state: moves.prepare_again(state, FIRST),
    moves.drop_old,
)


@pytest.mark.parametrize("lost", [[3], [2, 3], [1, 2, 3]])
def test_a_journal_that_lost_its_last_entries_goes_on_and_says_so(lost):
    documents = begun(MemoryDocuments())
    for move in (lambda state: moves.bridge(state, 1.0), moves.backfill):
        state = current_state(documents)
        assert record_move(documents, state, move(state), entry=said())
    for number in lost:
        del documents._texts[f"journal/{number:06d}"]
    state = current_state(documents)
    assert state.phase == "backfilling"
    assert record_move(documents, state, moves.roll_back(state), entry=said("rollback", by="b"))
    assert current_state(documents).phase == "rolled back"
    written = list(entries(documents))
    assert [one.state.version for one in written] == [1, 2, 3, 4]
    assert [one.move == "lost" for one in written] == [number in lost for number in (1, 2, 3, 4)]
    assert {one.by for one in written[lost[0] - 1 :]} == {"b"}


class Journeys(RuleBasedStateMachine):
    """Two controllers, one of which dies at any step: the journal stays a chain, and the state is its last entry's."""

    @initialize()
    def begin(self):
        self.documents = begun(MemoryDocuments())
        self.moved = [FIRST]

    @rule(move=st.sampled_from(ALL), steps=st.none() | st.integers(0, 6), after=st.booleans())
    def move(self, move, steps, after):
        mortal = Mortal(self.documents)
        mortal.steps, mortal.after = steps, after
        try:
            state = current_state(mortal)
            following = move(state)
            if record_move(mortal, state, following, entry=said()):
                self.moved.append(following)
        except InvalidInput:
            pass  # the move does not fit
        except Killed:
            written = [one.state for one in entries(self.documents)]
            assert written[: len(self.moved)] == self.moved
            assert len(written) <= len(self.moved) + 1
            self.moved = written

    @invariant()
    def the_state_is_that_of_the_last_entry(self):
        if hasattr(self, "documents"):
            assert [one.state for one in entries(self.documents)] == self.moved
            assert current_state(self.documents) == self.moved[-1]


TestJourneys = Journeys.TestCase
TestJourneys.settings = settings(max_examples=40, stateful_step_count=20, deadline=None, derandomize=True)
