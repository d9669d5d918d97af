"""Looking before trusting: at vectors in a file or a store, and at what else embridge writes and reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from embridge.adapters.base import row_lengths
from embridge.errors import InvalidInput, SettingsError
from embridge.jobs.describe import describe
from embridge.jobs.description import Description
from embridge.jobs.inspection import Inspection
from embridge.nearest import top_k
from embridge.progress import Progress, silent
from embridge.space import Space
from embridge.stores import open_store
from embridge.stores.ann_recall import ann_recall, draw_queries
from embridge.stores.base import Store
from embridge.vector_files import binding, raw_chunks

__all__ = ["inspect_file", "inspect_path", "inspect_store"]

_CHUNK_ROWS = 16_384
_SAMPLE_ROWS = 4_096
_NEIGHBOURS = 12
_SMALLEST_GROUP = 0.05
_MANY_ALIKE, _FEW_ALIKE = 0.01, 10  # a share of the rows, and the fewest rows
_CHECKED_K = 10


def inspect_file(path: Path | str) -> Inspection:
    """Inspect an npy, Parquet or Arrow file in chunks; unlike `embridge.read_vectors`, bad rows are counted, not refused.

    Args:
        path: The file.

    Returns:
        What was found.

    Raises:
        InvalidInput: The file cannot be read at all.

    Examples:
        >>> _ = np.save("rows.npy", np.array([[1.0, np.nan], [0.0, 0.0]], np.float32))
        >>> found = inspect_file("rows.npy")
        >>> found.not_finite_rows, found.zero_rows
        (1, 1)
    """
    bound = binding(path)
    found = _inspect(str(path), bound.space, raw_chunks(path, rows=_CHUNK_ROWS))
    problems, suspicions = ((text,) if text else () for text in (bound.problem, bound.caution))
    return replace(found, problems=(*problems, *found.problems), suspicions=(*suspicions, *found.suspicions))


def inspect_store(
    store: Store, name: str, *, check_index: int = 0, seed: int = 0, progress: Progress = silent
) -> list[Inspection]:
    """Inspect every space of a store.

    Args:
        store: The store.
        name: What it is called in the results.
        check_index: So many stored rows, drawn with the seed, are searched for in the store and exactly, each without itself,
            to measure recall at 10 (see `ann_recall`).
        seed: Of these rows.
        progress: Hears how many are done.

    Returns:
        What was found, one a space.

    Examples:
        >>> from embridge import Embeddings
        >>> from embridge.stores.memory import MemoryStore
        >>> store, rows = MemoryStore(), Embeddings.of(np.eye(3, dtype=np.float32), Space("toy", "1", 3))
        >>> store.add_space(rows.space)
        >>> store.upsert(rows)
        >>> [found.rows for found in inspect_store(store, "memory")]
        [3]
    """
    inspections = []
    for space in store.spaces():
        parts = ((part.ids, part.vectors) for part in store.scan(space, rows=_CHUNK_ROWS))
        one = _inspect(f"{name} [{space.id}]", space, parts)
        if check_index:
            one = _checked(one, store, space, (check_index, seed), progress)
        inspections.append(one)
    return inspections


def _checked(one: Inspection, store: Store, space: Space, drawn: tuple[int, int], progress: Progress) -> Inspection:
    count, seed = drawn
    if one.rows - (one.zero_rows if space.metric == "cosine" else 0) < 2:
        return replace(one, suspicions=(*one.suspicions, "search was not checked: fewer than two rows can be found"))
    queries = draw_queries(store, space, count, seed=seed)
    return replace(one, index_check=ann_recall(store, queries, _CHECKED_K, one_set=True, seed=seed, progress=progress))


def _inspect(
    where: str, space: Space | None, chunks: Iterable[tuple[tuple[str, ...] | None, np.ndarray]]
) -> Inspection:
    ids: Counter[str] = Counter()
    seen: Counter[int] = Counter()
    norms: list[np.ndarray] = []
    sample = _Sample()
    bad, dim, dtype, rows = 0, 0, "", 0
    for names, vectors in chunks:
        dim, dtype, rows = vectors.shape[1], str(vectors.dtype), rows + len(vectors)
        ids.update(names or ())
        whole = np.isfinite(vectors).all(axis=1)
        bad += int((~whole).sum())
        good = np.ascontiguousarray(vectors[whole])
        seen.update(hash(row.tobytes()) for row in good)
        good = good.astype(np.float32)
        norms.append(row_lengths(good))
        sample.offer(good[norms[-1] > 0])
    if rows == 0:
        return _empty(where, space)
    lengths = np.concatenate(norms)
    zero = int((lengths == 0).sum())
    repeated = sum(ids.values()) - len(ids)
    twins = sum(seen.values()) - len(seen)
    extremes = (float(lengths.min()), float(lengths.mean()), float(lengths.max())) if len(lengths) else (0.0, 0.0, 0.0)
    return Inspection(
        where, space, rows, dim, dtype, extremes, bad, zero, repeated, twins,
        _problems(dtype, bad, repeated, space, dim),
        (*_suspicions(dtype, zero, lengths, sample.rows), *_repeats(seen)),
    )  # fmt: skip


class _Sample:
    """As many rows as the sample holds, drawn evenly from all that are offered: those with the smallest draws."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self.draws, self.rows = np.empty(0), np.empty((0, 0), np.float32)

    def offer(self, rows: np.ndarray) -> None:
        draws = np.concatenate([self.draws, self._random.random(len(rows))])
        kept = np.sort(np.argsort(draws)[:_SAMPLE_ROWS])
        self.draws, self.rows = draws[kept], np.concatenate([self.rows, rows])[kept] if len(self.rows) else rows[kept]


def _empty(where: str, space: Space | None) -> Inspection:
    dim = 0 if space is None else space.dim
    return Inspection(where, space, 0, dim, "", (0.0, 0.0, 0.0), 0, 0, 0, 0, (), ("no rows",))


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


def _suspicions(dtype: str, zero: int, lengths: np.ndarray, sample: np.ndarray) -> tuple[str, ...]:
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
    mixed = _mixing(sample)
    return (*suspicions, *([mixed] if mixed else []))


def _repeats(seen: Counter[int]) -> tuple[str, ...]:
    """Alike items give alike vectors, and that is no fault; one vector for a large part of all rows mostly is."""
    rows, twins = seen.total(), seen.total() - len(seen)
    if not twins:
        return ()
    most = max(seen.values())
    if most >= max(_FEW_ALIKE, _MANY_ALIKE * rows):
        return (
            f"one vector stands in {most:,} of {rows:,} rows: did the encoder fail there, or were the items empty?",
        )
    return (
        f"{twins:,} rows ({twins / rows:.0%}) repeat an earlier row's vector, none more than {most:,} times: items that "
        "are alike to the model, and found together; fine, unless they should all differ",
    )


def _mixing(sample: np.ndarray) -> str | None:
    """Groups of rows that are never among each other's near neighbours look like vectors of two models in one column.

    Between two models' vectors there is no likeness, while each has its own within; so the graph that joins every row
    of a sample to its twelve nearest falls apart. A group counts from a twentieth of the rows on.
    """
    if len(sample) < 100:
        return None
    neighbours = top_k(sample, sample, min(_NEIGHBOURS + 1, len(sample))).rows
    _, sizes = np.unique(_groups(neighbours), return_counts=True)
    shares = np.sort(sizes / len(sample))[::-1]
    large = shares[shares >= _SMALLEST_GROUP]
    if len(large) < 2:
        return None
    sizes_in_words = ", ".join(f"{share:.0%}" for share in large)
    return (
        f"the rows fall into groups ({sizes_in_words}) that are never among each other's nearest: suspected mixing of two "
        "models, or of texts and images, in one space"
    )


def _groups(neighbours: np.ndarray) -> np.ndarray:
    """The connected components of a neighbour graph, as the lowest row number of each row's component."""
    label = np.arange(len(neighbours))
    while True:
        lowest = label[neighbours].min(axis=1)
        spread = lowest.copy()
        np.minimum.at(spread, neighbours.ravel(), np.repeat(lowest, neighbours.shape[1]))
        spread = spread[spread]
        if (spread == label).all():
            return label
        label = spread


def inspect_path(
    path: Path | str, *, check_index: int = 0, seed: int = 0, progress: Progress = silent
) -> list[Inspection | Description]:
    """Inspect a file of vectors or every space of a store, or tell what else a file or folder is.

    Args:
        path: A file of vectors, a store, an upgrade, a report, a model, a cache of captions or a settings file.
        check_index: For a store, see `inspect_store`.
        seed: Of the rows that are searched for.
        progress: Hears how many are done.

    Returns:
        What was found: one of a file, one a space of a store. What holds no vectors is told as `describe` does.

    Raises:
        ArtefactError: It is an upgrade, a report or a model that is truncated, altered or of another version.
        SettingsError: The search of what is no store is to be checked, or a settings file has mistakes.
        InvalidInput: There is nothing under that name, or nothing that embridge writes or reads.

    Examples:
        >>> _ = np.save("rows.npy", np.eye(3, dtype=np.float32))
        >>> [found.dim for found in inspect_path("rows.npy")]
        [3]
    """
    path = Path(path)
    if not path.exists():
        raise InvalidInput(f"{path} does not exist; expected a file of vectors, a store's folder or an upgrade's")
    description = describe(path)
    if description is None and path.is_dir():
        return [*inspect_store(open_store(path), str(path), check_index=check_index, seed=seed, progress=progress)]
    if check_index:
        what = "a file" if description is None else description.named_kind
        raise SettingsError(f"{path} is {what}, which has no index to check; name a store's folder")
    return [inspect_file(path) if description is None else description]
