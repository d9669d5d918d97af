"""Looking before trusting: at vectors in a file or a store, and at what else embridge writes and reads."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from embridge.errors import InvalidInput, SettingsError, StoreError
from embridge.jobs._looking import look, parts_of_file, parts_of_store
from embridge.jobs._places import heard, likely_ids, names_store, usual_id, with_table
from embridge.jobs.describe import describe
from embridge.jobs.description import Description
from embridge.jobs.inspection import Inspection
from embridge.progress import Progress, silent
from embridge.space import Space
from embridge.stores import open_store
from embridge.stores.ann_recall import ann_recall, draw_queries
from embridge.stores.base import Store
from embridge.stores.capabilities import Capabilities
from embridge.stores.places import Place, Table
from embridge.stores.urls import StoreUrl, parse_url, without_passwords
from embridge.vector_files import binding, raw_chunks

__all__ = ["inspect_file", "inspect_path", "inspect_store"]

_CHUNK_ROWS = 16_384
_CHECKED_K = 10
_ID_UNKNOWN = "no column is known that holds the ids"


def inspect_file(path: Path | str) -> Inspection:
    """Inspect an npy, Parquet or Arrow file in chunks; unlike `embridge.read_vectors`, bad rows are counted, not refused.

    Args:
        path: The file.

    Returns:
        What was found.

    Raises:
        InvalidInput: The file cannot be read at all.

    Examples:
        >>> import numpy as np
        >>> _ = np.save("rows.npy", np.array([[1.0, np.nan], [0.0, 0.0]], np.float32))
        >>> found = inspect_file("rows.npy")
        >>> found.not_finite_rows, found.zero_rows
        (1, 1)
    """
    bound = binding(path)
    found = look(str(path), bound.space, parts_of_file(raw_chunks(path, rows=_CHUNK_ROWS)))
    problems, suspicions = ((text,) if text else () for text in (bound.problem, bound.caution))
    return replace(found, problems=(*problems, *found.problems), suspicions=(*suspicions, *found.suspicions))


def inspect_store(
    store: Store, name: str, *, check_index: int = 0, seed: int = 0, progress: Progress = silent
) -> list[Inspection]:
    """Inspect every space of a store, and every column of vectors that nobody has declared yet. Nothing is written.

    Args:
        store: The store.
        name: What it is called in the results.
        check_index: So many stored rows, drawn with the seed, are searched for in the store and exactly, each without itself,
            to measure recall at 10 (see `ann_recall`).
        seed: Of these rows.
        progress: Hears how many are done.

    Returns:
        What was found, one a space or column.

    Examples:
        >>> import numpy as np
        >>> from embridge import Embeddings
        >>> from embridge.stores.memory import MemoryStore
        >>> store, rows = MemoryStore(), Embeddings.of(np.eye(3, dtype=np.float32), Space("toy", "1", 3))
        >>> store.add_space(rows.space)
        >>> store.upsert(rows)
        >>> [found.rows for found in inspect_store(store, "memory")]
        [3]
    """
    tables = {table.name: table for table in store.tables()}
    declared = [store.declaration(space) for space in store.spaces()]
    inspections = []
    for one in declared:
        table = tables.get(one.place.table)
        try:
            found = _of_place(store, one.place, one.space, name, table, progress)
            found = replace(found, encoder=one.encoder, indexes=tuple(store.indexes(one.space)))
        except (StoreError, InvalidInput) as error:  # what is declared may have been renamed, dropped or made anew
            text = f"it was declared, and cannot be looked at: {error}"
            found = replace(_unseen(one.place, one.space, name, table), problems=(text,), encoder=one.encoder)
        inspections.append(_checked(found, store, one.space, (check_index, seed), progress) if check_index else found)
    taken = {(one.place.table, one.place.vector) for one in declared}
    for table in tables.values():
        for vector in table.vectors:
            if (table.name, vector) not in taken:
                place = Place(table.name, vector, usual_id(table) or "")
                inspections.append(_undeclared(store, place, name, table, progress))
    return inspections


def _of_place(
    store: Store, place: Place, space: Space | None, name: str, table: Table | None, progress: Progress
) -> Inspection:
    where = f"{name} [{space.id if space else '.'.join(filter(None, (place.table, place.vector)))}]"
    total = None if table is None else table.rows
    found = look(where, space, heard(parts_of_store(store.raw(place, rows=_CHUNK_ROWS)), total, where, progress))
    without = found.rows_without_vector
    if total is not None:  # a store may pass by rows without a vector
        without = max(without, total - found.rows - found.odd_rows)
    return replace(found, place=place, rows_without_vector=without, capabilities=_able(store))


def _undeclared(store: Store, place: Place, name: str, table: Table, progress: Progress) -> Inspection:
    """Of a place that nobody declared, of which even the column of ids may not be known."""
    known, reason = usual_id(table) is not None, _ID_UNKNOWN
    for column in [place.id] if known else likely_ids(table):
        try:
            found = _of_place(store, replace(place, id=column), None, name, table, progress)
            return found if known else _by_a_guess(found, store, table, progress)
        except (StoreError, InvalidInput) as error:
            reason = str(error)
    texts = ((f"cannot be looked at: {reason}",), ()) if known else ((), (f"not looked at: {reason}",))
    unseen = _unseen(place, None, name, table)
    return replace(unseen, problems=texts[0], suspicions=texts[1], capabilities=_able(store))


def _able(store: Store) -> Capabilities | None:
    """What the store can do; None where something declared is gone, which tells how it is searched."""
    try:
        return store.capabilities
    except StoreError:
        return None


def _unseen(place: Place, space: Space | None, name: str, table: Table | None) -> Inspection:
    """Of vectors that cannot be read."""
    column = table.vectors.get(place.vector) if table else None
    dim, rows = (column.dim if column else None) or 0, table.rows if table else 0
    where = f"{name} [{space.id if space else place.table}]"
    return Inspection(where, space, rows, dim, "", (0.0, 0.0, 0.0), 0, 0, 0, 0, (), (), place=place)


def _by_a_guess(found: Inspection, store: Store, table: Table, progress: Progress) -> Inspection:
    """What was found with a column taken for the ids; where that does not tell rows apart, without any."""
    assert found.place is not None
    text = f"nobody says which column holds the ids: {found.place.id} was taken, which is another in every row"
    if found.duplicate_ids or found.odd_rows:
        rows = parts_of_store(store.raw(found.place, rows=_CHUNK_ROWS))
        parts = heard(((None, vectors, odd) for _, vectors, odd in rows), table.rows, found.where, progress)
        place, without, able = replace(found.place, id=""), found.rows_without_vector, found.capabilities
        found = replace(look(found.where, None, parts), place=place, rows_without_vector=without, capabilities=able)
        text = _ID_UNKNOWN
    return replace(found, suspicions=(*found.suspicions, text))


def _checked(one: Inspection, store: Store, space: Space, drawn: tuple[int, int], progress: Progress) -> Inspection:
    count, seed = drawn
    if one.rows - (one.zero_rows if space.metric == "cosine" else 0) < 2:
        return replace(one, suspicions=(*one.suspicions, "search was not checked: fewer than two rows can be found"))
    queries = draw_queries(store, space, count, seed=seed)
    return replace(one, index_check=ann_recall(store, queries, _CHECKED_K, one_set=True, seed=seed, progress=progress))


def inspect_path(
    path: Path | str,
    *,
    check_index: int = 0,
    declarations: Path | str | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> list[Inspection | Description]:
    """Inspect a file of vectors or every space of a store, or tell what else a file or folder is.

    Args:
        path: A file of vectors, a store's URL or folder, an upgrade, a report, a model, a cache of captions or a settings file.
        check_index: For a store, see `inspect_store`.
        declarations: For a store, see `embridge.open_store`.
        seed: Of the rows that are searched for.
        progress: Hears how many are done.

    Returns:
        What was found: one of a file, one a space of a store. What holds no vectors is told as `describe` does.

    Raises:
        ArtefactError: It is an upgrade, a report or a model that is truncated, altered or of another version.
        SettingsError: The search of what is no store is to be checked, or a settings file has mistakes.
        InvalidInput: There is nothing under that name, or nothing that embridge writes or reads.

    Examples:
        >>> import numpy as np
        >>> _ = np.save("rows.npy", np.eye(3, dtype=np.float32))
        >>> [found.dim for found in inspect_path("rows.npy")]
        [3]
    """
    if not (is_store := names_store(path)) and not Path(path).exists():
        raise InvalidInput(
            f"{without_passwords(str(path))} does not exist; expected a file of vectors, a store's URL or folder, or an upgrade's"
        )
    description = None if is_store else describe(Path(path))
    if is_store or (description is None and Path(path).is_dir()):
        address = parse_url(path)
        name = str(address) if is_store else str(path)
        with closing(open_store(address, declarations=declarations)) as store:
            found = inspect_store(store, name, check_index=check_index, seed=seed, progress=progress)
        if not found:
            raise InvalidInput(f"{name} holds no vectors; expected a table with a column of them, or another URL")
        return [_with_declaration(one, address, declarations) for one in found]
    if check_index or declarations is not None:
        what = "a file" if description is None else description.named_kind
        thing = "index to check" if check_index else "declarations"
        raise SettingsError(f"{path} is {what}, which has no {thing}; name a store's folder")
    return [inspect_file(path) if description is None else description]


def _with_declaration(one: Inspection, address: StoreUrl, declarations: Path | str | None) -> Inspection:
    """With what is declared of a table under its own URL, where the URL of the whole database was looked at."""
    if one.space is not None or one.place is None or (own := with_table(address, one.place.table)) == address:
        return one
    with closing(open_store(own, declarations=declarations)) as store:
        for declared in map(store.declaration, store.spaces()):
            if declared.place.vector == one.place.vector:
                indexes = tuple(store.indexes(declared.space))
                where = f"{own} [{declared.space.id}]"
                return replace(one, where=where, space=declared.space, encoder=declared.encoder, indexes=indexes)
    return one
