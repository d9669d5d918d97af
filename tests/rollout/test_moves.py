from dataclasses import replace

import pytest

from embridge.errors import InvalidInput
from embridge.rollout import moves
from embridge.rollout.state import RolloutState, Writes, serving, writes
from embridge.space import Space

OLD, NEW = Space("mini", "1", 3), Space("maxi", "1", 5)
PREPARED = RolloutState(OLD, NEW, "upgrade", "a1b2")
SHADOW = moves.shadow(PREPARED, 0.2)
BRIDGED = moves.bridge(SHADOW, 0.5)
FULL = moves.bridge(BRIDGED, 1.0)
BACKFILLING = moves.backfill(FULL)
COMPLETE = moves.complete(BACKFILLING, missing=0)
DROPPED = moves.drop_old(COMPLETE)
ROLLED_BACK = moves.roll_back(BACKFILLING)
STATES = {
    "prepared": PREPARED,
    "shadow": SHADOW,
    "bridged": FULL,
    "backfilling": BACKFILLING,
    "complete": COMPLETE,
    "dropped": DROPPED,
    "rolled back": ROLLED_BACK,
}
MOVES = {
    "shadow": (lambda state: moves.shadow(state, 0.1), {"prepared", "shadow"}),
    "bridge": (lambda state: moves.bridge(state, 0.1), {"prepared", "shadow", "bridged", "backfilling"}),
    "backfill": (moves.backfill, {"bridged"}),
    "complete": (lambda state: moves.complete(state, missing=0), {"backfilling"}),
    "pause": (moves.pause, {"backfilling"}),
    "resume": (moves.resume, {"backfilling"}),
    "roll_back": (moves.roll_back, set(STATES) - {"dropped"}),
    "prepare_again": (lambda state: moves.prepare_again(state, PREPARED), {"rolled back", "dropped"}),
    "drop_old": (moves.drop_old, {"complete"}),
    "keep_old": (moves.keep_old, {"dropped"}),
}


@pytest.mark.parametrize("name", sorted(STATES))
@pytest.mark.parametrize("move", sorted(MOVES))
def test_a_move_fits_some_states_and_refuses_the_others(move, name):
    make, fitting = MOVES[move]
    if name in fitting:
        assert make(STATES[name]).version == STATES[name].version + 1
    else:
        with pytest.raises(InvalidInput, match=r"the rollout (is|to)|nothing was dropped|the old rows were dropped"):
            make(STATES[name])


@pytest.mark.parametrize(
    ("state", "old_client", "new_client", "written"),
    [
        (PREPARED, "old", "old", Writes(old=True, new=False)),
        (SHADOW, "old", "old", Writes(old=True, new=False)),
        (FULL, "old", "bridge", Writes(old=True, new=True)),
        (BACKFILLING, "old", "mixed", Writes(old=True, new=True)),
        (moves.pause(BACKFILLING), "old", "mixed", Writes(old=True, new=True)),
        (COMPLETE, "old", "new", Writes(old=True, new=True)),
        (DROPPED, "new", "new", Writes(old=False, new=True)),
        (ROLLED_BACK, "old", "old", Writes(old=True, new=False)),
        (moves.prepare_again(ROLLED_BACK, PREPARED), "old", "old", Writes(old=True, new=False)),
    ],
)
def test_a_state_says_what_answers_and_what_is_written(state, old_client, new_client, written):
    assert serving(state, client="old", draw=0.0) == old_client
    assert serving(state, client="new", draw=0.0) == new_client
    assert serving(state, client="new", draw=0.999999) == new_client
    assert writes(state) == written


def test_the_canary_takes_its_share_of_draws():
    served = [serving(BRIDGED, client="new", draw=i / 10) for i in range(10)]
    assert served == ["bridge"] * 5 + ["old"] * 5


def test_rows_that_are_missing_and_a_small_canary_keep_a_rollout_from_its_end():
    with pytest.raises(InvalidInput, match=r"1,200 rows have no new vector and would not be found"):
        moves.complete(BACKFILLING, missing=1_200)
    with pytest.raises(InvalidInput, match=r"the canary is 0\.2; serve all queries"):
        moves.complete(moves.bridge(BACKFILLING, 0.2), missing=0)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, "all", float("nan")])
def test_shares_are_above_0_and_up_to_1(share):
    for move in (moves.bridge, moves.shadow):
        with pytest.raises(InvalidInput, match="expected a share above 0 and up to 1"):
            move(PREPARED, share)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phase": "done"}, "phase is one of prepared, shadow"),
        ({"canary": 1.5}, "canary is a share between 0 and 1"),
        ({"canary": "all"}, "canary is a share between 0 and 1"),
        ({"shadow": float("nan")}, "shadow is a share between 0 and 1"),
        ({"version": 0}, "version is a whole number from 1 on"),
        ({"version": True}, "version is a whole number from 1 on"),
        ({"new": OLD}, "leads from one space to another"),
        ({"old_dropped": True}, "old rows are dropped when a rollout is complete"),
    ],
)
@pytest.mark.usefixtures("as_in_production")
def test_a_state_that_cannot_be_is_refused(changes, message):
    with pytest.raises(InvalidInput, match=message):
        replace(PREPARED, **changes)


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_a_state_is_written_and_read(state):
    assert RolloutState.from_dict(state.to_dict()) == state


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d | {"schema": "embridge.rollout/2"},
        lambda d: d | {"more": 1},
        lambda d: {name: value for name, value in d.items() if name != "canary"},
        lambda d: d | {"old": {}},
        lambda d: d | {"old": d["new"]},
        lambda d: [d],
    ],
)
@pytest.mark.usefixtures("as_in_production")
def test_a_document_that_is_no_state_is_refused(spoil):
    with pytest.raises(InvalidInput):
        RolloutState.from_dict(spoil(PREPARED.to_dict()))
