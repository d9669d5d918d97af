"""One pass over rows as they are: what is counted, measured and suspected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from embridge.adapters.base import row_lengths
from embridge.jobs._mixing import RowSample, suspected_mixing
from embridge.jobs._repeats import Names, Repeats, Tally
from embridge.jobs.inspection import Inspection
from embridge.space import Space
from embridge.stores.places import RawRows

__all__ = ["look", "parts_of_file", "parts_of_store"]

_NO_VECTOR = "no vector"
_SHOWN = 20
_MANY_ALIKE, _FEW_ALIKE = 0.01, 10  # a share of the rows, and the fewest rows

Part = tuple[tuple[str, ...] | None, np.ndarray, tuple[tuple[str, str], ...]]
"""Ids or None, vectors, and odd rows with their reasons."""


def parts_of_file(chunks: Iterable[tuple[tuple[str, ...] | None, np.ndarray]]) -> Iterable[Part]:
    """The chunks of a file of vectors, in which no row is odd."""
    return ((ids, vectors, ()) for ids, vectors in chunks)


def parts_of_store(rows: Iterable[RawRows]) -> Iterable[Part]:
    """The rows of a store."""
    return ((part.ids, part.vectors, part.odd) for part in rows)


def look(where: str, space: Space | None, parts: Iterable[Part], *, drawn: RowSample | None = None) -> Inspection:
    """Look at rows, and let a sample be drawn of all that have a vector."""
    seen = _Seen()
    for ids, vectors, odd in parts:
        seen.odd.update(reason for _, reason in odd)
        seen.odd_examples += odd[: _SHOWN - len(seen.odd_examples)]
        if not len(vectors):
            continue
        names = np.array([None] * len(vectors) if ids is None else [str(name) for name in ids], object)
        if drawn is not None:
            drawn.offer(names, vectors)
        seen.take(names, vectors, named=ids is not None)
    return seen.inspection(where, space)


class _Seen:
    """What has been seen so far."""

    def __init__(self) -> None:
        self.ids, self.names, self.vectors = Tally(), Names(), Tally()
        self.odd: Counter[str] = Counter()
        self.odd_examples: list[tuple[str, str]] = []
        self.lengths: list[np.ndarray] = []
        self.sample = RowSample()
        self.bad_ids: list[str] = []
        self.bad, self.dim, self.dtype, self.rows = 0, 0, "", 0

    def take(self, ids: np.ndarray, vectors: np.ndarray, *, named: bool) -> None:
        self.dim, self.dtype, self.rows = vectors.shape[1], str(vectors.dtype), self.rows + len(vectors)
        whole = np.isfinite(vectors).all(axis=1)
        if named:
            self.ids.add(name.encode(errors="surrogatepass") for name in ids)
            self.names.add(ids.tolist())
            self.bad_ids += ids[~whole][: _SHOWN - len(self.bad_ids)].tolist()
        self.bad += int((~whole).sum())
        good = np.ascontiguousarray(vectors[whole])
        self.vectors.add(map(bytes, good))
        good = good.astype(np.float32)
        self.lengths.append(row_lengths(good))
        self.sample.offer(ids[whole][self.lengths[-1] > 0], good[self.lengths[-1] > 0])

    def inspection(self, where: str, space: Space | None) -> Inspection:
        without = sum(count for reason, count in self.odd.items() if reason.startswith(_NO_VECTOR))
        odd = self.odd.total() - without
        examples = tuple(one for one in self.odd_examples if not one[1].startswith(_NO_VECTOR))
        if self.rows == 0:
            dim = 0 if space is None else space.dim
            return Inspection(
                where, space, 0, dim, "", (0.0, 0.0, 0.0), 0, 0, 0, 0, (*_odd(odd, examples), "no rows"), (),
                rows_without_vector=without, odd_rows=odd, odd=examples,
            )  # fmt: skip
        lengths = np.concatenate(self.lengths)
        zero = int((lengths == 0).sum())
        ids, vectors = self.ids.repeats(_SHOWN), self.vectors.repeats(0)
        extremes = (float(lengths.min()), float(lengths.mean()), float(lengths.max())) if len(lengths) else (0.0,) * 3
        mixing = suspected_mixing(self.sample.rows)
        strangers = () if mixing is None or not ids.values else tuple(self.sample.ids[mixing.strangers].tolist())
        suspicions = (
            *_suspicions(self.dtype, zero, lengths),
            *((mixing.sentence,) if mixing else ()),
            *_repeats(vectors),
        )
        return Inspection(
            where, space, self.rows, self.dim, self.dtype, extremes, self.bad, zero, ids.repeats,
            vectors.repeats,
            (*_problems(self.dtype, self.bad, ids.repeats, space, self.dim), *_odd(odd, examples)),
            suspicions, rows_without_vector=without, odd_rows=odd, odd=examples,
            not_finite_ids=tuple(self.bad_ids), repeated_ids=tuple(self.names.at(ids.places)),
            looked_at_rows=len(self.sample.rows), stranger_ids=strangers,
        )  # fmt: skip


def _odd(odd: int, examples: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    if not odd:
        return ()
    shown = ", ".join(f"{name!r} ({reason})" for name, reason in examples[:3])
    return (f"{odd:,} rows have something else than such a vector{f': {shown}' if shown else ''}",)


def _problems(dtype: str, bad: int, repeated: int, space: Space | None, dim: int) -> tuple[str, ...]:
    problems = []
    if bad:
        problems.append(f"{bad} rows hold NaN or infinity")
    if repeated:
        problems.append(f"{repeated} ids repeat")
    if dtype not in ("float32", "float16", "float64"):
        problems.append(f"vectors are {dtype}, not floats")
    if space is not None and space.dim != dim:
        problems.append(f"the space says {space.dim} dimensions, the rows have {dim}")
    return tuple(problems)


def _suspicions(dtype: str, zero: int, lengths: np.ndarray) -> tuple[str, ...]:
    suspicions = []
    if dtype in ("float16", "float64"):
        suspicions.append(f"vectors are {dtype}: they are read only where cast is set, and are float32 then")
    if zero:
        suspicions.append(f"{zero} rows are zero: nothing was encoded there, and they match nothing")
    unit = np.abs(lengths - 1) < 1e-3
    if len(unit) and 0.01 < unit.mean() < 0.99:
        suspicions.append(
            f"{unit.mean():.0%} of the rows have length one and the others have not: two ways of writing?"
        )
    return tuple(suspicions)


def _repeats(seen: Repeats) -> tuple[str, ...]:
    """Alike items give alike vectors, and that is no fault; one vector for a large part of all rows mostly is."""
    rows, twins, most = seen.values, seen.repeats, seen.most
    if not twins:
        return ()
    if most >= max(_FEW_ALIKE, _MANY_ALIKE * rows):
        return (
            f"one vector stands in {most:,} of {rows:,} rows: did the encoder fail there, or were the items empty?",
        )
    return (
        f"{twins:,} rows ({twins / rows:.0%}) repeat an earlier row's vector, none more than {most:,} times: items that "
        "are alike to the model, and found together; fine, unless they should all differ",
    )
