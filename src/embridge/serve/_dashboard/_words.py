"""The state of a rollout in words: what holds, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from embridge.rollout.state import Phase, RolloutState
from embridge.serve._dashboard._looks import Look

__all__ = ["JOURNEY", "Advice", "advice_of", "possible_moves"]

_APPLY = "embridge apply plan.json"
_STEPS: dict[Phase, tuple[str, str]] = {
    "prepared": ("Try the new model in the shadow, where nobody sees its answers.", f"{_APPLY} --until shadow"),
    "shadow": ("When enough queries agree, let the new model answer.", f"{_APPLY} --until bridged"),
    "bridged": ("Raise the canary when all is well, then encode the gallery again.", _APPLY),
    "backfilling": ("No controller is at work. Apply the plan again: it goes on where it was.", _APPLY),
    "complete": (
        "When nobody needs the old model any more, drop its rows. There is no way back from that.",
        "embridge complete rollout.yaml --drop-old",
    ),
    "rolled back": (
        "Nothing has to be done. Applying the plan once more begins anew, and keeps new rows that are there.",
        f"{_APPLY} --again",
    ),
}
JOURNEY: tuple[Phase, ...] = ("prepared", "shadow", "bridged", "backfilling", "complete")


@dataclass(frozen=True, slots=True)
class Advice:
    """What a look comes to.

    Attributes:
        title: The state in a word or two.
        sentence: What it means for whoever searches.
        step: What to do next.
        command: The command of that; empty where there is none.
    """

    title: str
    sentence: str
    step: str
    command: str = ""


def advice_of(look: Look) -> Advice:
    """The state in words, with the next step."""
    if look.status is None:
        return Advice(
            "No store",
            "This server answers requests for embeddings, and no searches.",
            "To serve searches and follow a rollout here, name the store in the settings.",
            "store: lancedb:shop",
        )
    state = look.status.state
    if state is None:
        return Advice(
            "Not begun",
            "New clients search the old rows through the bridge, old clients search them by the old model.",
            "Plan the rollout; that reads only. Then apply the plan.",
            "embridge plan rollout.yaml",
        )
    title = f"{state.phase.capitalize()}, paused" if state.paused else state.phase.capitalize()
    return Advice(title, _meaning(state), *_next(look, state))


def possible_moves(state: RolloutState | None) -> tuple[str, ...]:
    """The moves that fit a state, of those that have a button."""
    if state is None or state.old_dropped:
        return ()
    moves = {"bridged": ("canary",), "backfilling": ("resume" if state.paused else "pause", "canary")}
    back = () if state.phase in ("prepared", "rolled back") else ("rollback",)
    return (*moves.get(state.phase, ()), *back)


def _meaning(state: RolloutState) -> str:
    if state.old_dropped:
        return "New rows answer everything. The old rows are gone."
    queries = (
        "all queries of new clients" if state.canary == 1 else f"{100 * state.canary:.4g} % of new clients’ queries"
    )
    return {
        "prepared": "The old model answers everything.",
        "shadow": f"The old model answers everything. {100 * state.shadow:.4g} % of the queries are also asked through the "
        "bridge, where nobody sees it.",
        "bridged": f"The new model answers {queries} from the old rows, through the bridge.",
        "backfilling": f"The new model answers {queries} from new rows, and from old ones where there is no new one yet.",
        "complete": "New rows answer new clients. Old clients have their old rows.",
        "rolled back": "The old model answers everything from the old rows, as before.",
    }[state.phase]


def _next(look: Look, state: RolloutState) -> tuple[str, str]:
    if state.old_dropped:
        return "Nothing is left to do.", ""
    if state.phase == "backfilling" and state.paused:
        return "Resume, and apply the plan again: it goes on where it was.", _APPLY
    if look.holder:
        return f"Wait: {look.holder} is at work. Pause it or roll back at any moment.", ""
    if state.phase == "complete" and look.status is not None and look.status.failures:
        return "Some items could not be had. Make them readable, and apply again.", _APPLY
    return _STEPS[state.phase]
