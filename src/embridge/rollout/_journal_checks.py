"""What was done to a journal: entries that were changed or are missing, and states that contradict them."""

from __future__ import annotations

from contextlib import suppress

from embridge.errors import InvalidInput, StoreError
from embridge.rollout.journal import STILL_POSSIBLE, Entry, entry_at, last_of
from embridge.rollout.state import RolloutState
from embridge.stores.documents import STATE, Documents

__all__ = ["journal_fault", "last_entries"]


def last_entries(documents: Documents, state: RolloutState | None, count: int) -> tuple[Entry, ...]:
    """The last moves that led to a state, as far as they can be read; those before are not looked at.

    Args:
        documents: Of the store.
        state: The state.
        count: How many at most.

    Returns:
        The entries, the first one first.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> last_entries(MemoryDocuments(), None, 5)
        ()
    """
    found, version = [], 0 if state is None else state.version
    for number in range(max(1, version - count + 1), version + 1):
        with suppress(StoreError):
            found.append(entry_at(documents, number))
    return tuple(entry for entry in found if entry is not None)


def journal_fault(documents: Documents) -> str:
    """What is wrong with the state and its journal, which is read from its begin.

    Args:
        documents: Of the store.

    Returns:
        It in words, and what to do; empty where all is well.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> journal_fault(MemoryDocuments())
        ''
    """
    try:
        last = last_of(documents)
    except StoreError as error:
        return f"{error}; {STILL_POSSIBLE}"
    document, number = documents.read(STATE), 0 if last is None else last.state.version
    try:
        state = None if document is None else RolloutState.from_dict(document)
    except InvalidInput as error:
        return f"{error}; the journal says what it was, and the next move writes it again"
    if state is None or state.version < number:
        return ""
    if state.version > number:
        return f"entry {number + 1} of the journal is missing, and the state is of version {state.version:,}; {STILL_POSSIBLE}"
    if last is not None and state != last.state:
        return f"the rollout's state is not what entry {number} of the journal led to: it was changed; {STILL_POSSIBLE}"
    return ""
