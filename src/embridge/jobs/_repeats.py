"""What comes again in a pass over many values: of each, memory holds a digest."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

__all__ = ["Names", "Repeats", "Tally"]

_DIGEST_BYTES = 16  # so many that two values do not share one by chance, however many there are


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often values came again.

    Attributes:
        values: How many came.
        distinct: How many different ones.
        most: How often the one came that came most often; 0 where none did.
        places: Where those came first that came again, counted from 0: the most frequent ones, in this order.
    """

    values: int
    distinct: int
    most: int
    places: tuple[int, ...]

    @property
    def repeats(self) -> int:
        """How many values had come before."""
        return self.values - self.distinct


class Tally:
    """Counts values as they come."""

    def __init__(self) -> None:
        self._digests = bytearray()

    def add(self, values: Iterable[bytes]) -> None:
        for value in values:
            self._digests += blake2b(value, digest_size=_DIGEST_BYTES).digest()

    def repeats(self, shown: int) -> Repeats:
        """What came again, with the places of so many at most."""
        digests = np.frombuffer(self._digests, np.uint64).reshape(-1, 2)
        order = np.lexsort((digests[:, 1], digests[:, 0]))  # stable: the first of equal ones came first
        ordered = digests[order]
        starts = np.flatnonzero(np.append([True] * (len(order) > 0), (ordered[1:] != ordered[:-1]).any(axis=1)))
        counts, firsts = np.diff(starts, append=len(order)), order[starts]
        again = np.flatnonzero(counts > 1)
        again = again[np.lexsort((firsts[again], -counts[again]))][:shown]
        return Repeats(len(order), len(starts), int(counts.max(initial=0)), tuple(firsts[again].tolist()))


class Names:
    """Texts by their number, packed."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, bytes]] = []
        self._rows = 0

    def add(self, names: Sequence[str]) -> None:
        self._parts.append((self._rows, zlib.compress(json.dumps(list(names)).encode(), level=1)))
        self._rows += len(names)

    def at(self, rows: Iterable[int]) -> list[str]:
        """The texts of those numbers."""
        starts = [start for start, _ in self._parts]
        found = []
        for row in rows:
            start, packed = self._parts[int(np.searchsorted(starts, row, side="right")) - 1]
            found.append(json.loads(zlib.decompress(packed))[row - start])
        return found
