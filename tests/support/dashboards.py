"""A server with a dashboard over planted models and a rollout that stands where a test needs it."""

from dataclasses import replace

from served import NEW, OLD, opened, stocked

from embridge.rollout.journal import record_move
from embridge.rollout.state import RolloutState
from embridge.serve._keys import Keys

OPERATORS = ["operator-key-number-1", "operator-key-number-2"]


def begun(phase, **changes):
    """A store whose rollout stands there, two of whose three rows have a new vector."""
    store = stocked()
    store.add_space(NEW)
    state = RolloutState(OLD, NEW, "upgrade", "a1b2", phase=phase, **{"canary": 1.0} | changes)
    entry = {"move": "begin", "by": "a test", "at_seconds": 0.0, "why": {}}
    assert record_move(store.documents, None, state, entry=entry)
    return store


def operated(store, folder, *, rollout="", operators=OPERATORS, **options):
    """What is served, with operators and the settings of a rollout."""
    path = folder / "rollout.yaml"
    path.write_text(f"store: 'memory:'\nupgrade: .\n{rollout}")
    made = opened(store, **options)
    settings = made.settings.model_copy(update={"rollout": path})
    return replace(made, settings=settings, operator_keys=Keys.of(operators))
