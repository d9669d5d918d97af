"""States and journals that somebody changed: readers go by what is whole, and the way back stays open."""

import json

import pytest

from embridge.errors import EmbridgeError, InvalidInput, StoreError
from embridge.rollout import moves
from embridge.rollout._journal_checks import journal_fault, last_entries
from embridge.rollout.journal import current_state, record_move
from embridge.rollout.state import RolloutState
from embridge.space import Space
from embridge.stores.documents import STATE, MemoryDocuments

FIRST = RolloutState(Space("mini", "1", 3), Space("maxi", "1", 5), "upgrade", "a1b2")


def entry(move):
    return {"move": move, "by": "a", "at_seconds": 0.0, "why": {}}


@pytest.fixture
def documents():
    """Of a rollout that is backfilling, at version 3."""
    documents, state = MemoryDocuments(), None
    for name, following in (
        ("prepare", lambda _: FIRST),
        ("bridge", lambda state: moves.bridge(state, 1.0)),
        ("backfill", moves.backfill),
    ):
        after = following(state)
        assert record_move(documents, state, after, entry=entry(name))
        state = after
    return documents


def change(documents, name, **values):
    documents._texts[name] = json.dumps(documents.read(name) | values)


def go_on(documents, move):
    state = current_state(documents)
    return record_move(documents, state, move(state), entry=entry("move"))


def test_a_whole_journal_has_no_fault_and_its_last_entries_are_read_alone(documents):
    assert journal_fault(documents) == ""
    state = current_state(documents)
    assert [one.move for one in last_entries(documents, state, 2)] == ["bridge", "backfill"]
    change(documents, "journal/000001", by="b")
    assert [one.move for one in last_entries(documents, state, 2)] == ["bridge", "backfill"]
    assert journal_fault(documents).startswith(
        "entry 1 of the journal was changed: its hash is not its own; embridge rollback"
    )


@pytest.mark.parametrize(
    "spoil",
    [
        {"phase": "flying"},
        {"phase": 3},
        {"canary": "half"},
        {"paused": "no"},
        {"old_dropped": "false"},
        {"version": "3"},
        {"version": -1},
        {"old": None},
        {"new": [1]},
        {"upgrade": 5},
        {"upgrade_id": None},
        {"on_read": 1.5},
        {"region": "eu"},
    ],
    ids=str,
)
def test_readers_go_by_the_journal_where_the_state_is_damaged_and_a_move_writes_it_again(documents, spoil):
    before = current_state(documents)
    change(documents, STATE, **spoil)
    damaged = documents.read(STATE)
    assert current_state(documents) == before
    assert documents.read(STATE) == damaged
    assert journal_fault(documents).endswith("the journal says what it was, and the next move writes it again")
    assert go_on(documents, moves.pause)
    assert RolloutState.from_dict(documents.read(STATE)) == moves.pause(before)
    assert journal_fault(documents) == ""


def test_what_another_release_wrote_is_left_alone(documents):
    change(documents, STATE, schema="embridge.rollout/2")
    with pytest.raises(InvalidInput, match=r"its schema is 'embridge.rollout/2': another release of embridge wrote it"):
        current_state(documents)


def test_a_state_without_a_journal_that_is_damaged_cannot_be_told():
    documents = MemoryDocuments()
    documents.swap(STATE, None, {"phase": "complete"})
    with pytest.raises(StoreError, match="the journal is empty too: restore both from a copy"):
        current_state(documents)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda d: change(d, "journal/000003", by="b"), "entry 3 of the journal was changed"),
        (lambda d: change(d, "journal/000003", why=5), "entry 3 of the journal is damaged: its why is 5"),
        (lambda d: change(d, STATE, canary=0.5), "is not what entry 3 of the journal led to: it was changed"),
        (lambda d: change(d, STATE, version=10**9), "the state is of version 1,000,000,000"),
        (lambda d: d.swap("journal/000004", None, {"a": 1}), "entry 4 of the journal is damaged: it lacks 'move'"),
    ],
    ids=["changed", "damaged", "another state", "another version", "a torn entry"],
)
def test_where_the_end_of_the_journal_was_changed_the_way_back_alone_is_open(documents, spoil, fault):
    spoil(documents)
    assert current_state(documents).phase == "backfilling"
    assert fault in journal_fault(documents)
    with pytest.raises(StoreError, match=r"embridge rollback leads back to the old model all the same"):
        go_on(documents, moves.pause)
    assert go_on(documents, moves.roll_back)
    assert current_state(documents).phase == "rolled back"
    assert go_on(documents, lambda state: moves.prepare_again(state, FIRST))


def test_an_entry_that_is_missing_is_named_and_moves_go_on(documents):
    del documents._texts["journal/000002"]
    assert "entry 2 of the journal is missing, and the state is of version 3" in journal_fault(documents)
    assert go_on(documents, moves.pause)
    assert "entry 2 of the journal is missing" in journal_fault(documents)


def test_who_may_only_read_goes_by_a_journal_that_is_ahead(documents):
    state = current_state(documents)
    behind = documents.read(STATE)
    assert go_on(documents, moves.pause)
    change(documents, STATE, **behind)

    class ReadOnly:
        read = staticmethod(documents.read)

        def swap(self, name, expected, new):
            raise StoreError("no right to write")

    assert current_state(ReadOnly()) == moves.pause(state)


def ending(call, documents):
    try:
        call(documents)
    except EmbridgeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("value", [None, True, -1, 1.5, "x", [], {}], ids=str)
def test_whatever_is_put_into_a_document_ends_in_words_alone(documents, value):
    """Every value of every document, one at a time: a state, or an error in one line."""
    texts = dict(documents._texts)
    for name, text in texts.items():
        for key in json.loads(text):
            documents._texts = dict(texts)
            change(documents, name, **{key: value})
            for call in (current_state, journal_fault, lambda d: go_on(d, moves.roll_back)):
                assert "\n" not in ending(call, documents)
