"""What a store can do, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Capabilities", "ForeignWrites"]

ForeignWrites = Literal["trigger", "scan", "none"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do, as data: contract checks skip visibly what it cannot.

    Attributes:
        exact: Search finds the nearest rows, always.
        filter: Search takes conditions on the payload.
        persistent: What was written is there after the process ends.
        exact_scores: The score of a hit is what the space's metric says, to rounding, whatever an index stores.
        payload: Rows carry payload columns.
        nul: Ids and texts may hold the character NUL.
        adopt: A table that was there before can be declared to hold a space.
        shared_rows: A row is an item with a vector in each of several spaces, and one payload. Where it is not, each space
            has rows and payloads of its own.
        atomic_switch: Clients that ask for a table by name can be led to another in one step.
        keeps_lengths: Vectors that are compared by cosine come back as they were written. Where they do not, they come back at
            length one, or at their own to rounding; those of the other metrics are kept.
        ids_in_order: Ids are listed in order: text by code points, whole numbers and UUIDs by value. Where they are not, they
            come in an order of the database's own, which stays the same.
        atomic_state: Of several writers of a document exactly one wins, always. Where not, the first write of a document may
            be replaced by one at the same time.
        foreign_writes: How writes of applications that know nothing of this library are noticed: by a trigger, by
            scanning, or not at all.

    Examples:
        >>> Capabilities(exact=True, filter=True, persistent=False).exact
        True
    """

    exact: bool
    filter: bool
    persistent: bool
    exact_scores: bool = True
    payload: bool = True
    nul: bool = True
    adopt: bool = False
    shared_rows: bool = False
    atomic_switch: bool = False
    keeps_lengths: bool = True
    ids_in_order: bool = True
    atomic_state: bool = True
    foreign_writes: ForeignWrites = "none"
