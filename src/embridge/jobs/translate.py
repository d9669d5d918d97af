"""Mapping a gallery through an upgrade's bridge: the work of ``embridge translate``."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any

from embridge.adapters.upgrade import Upgrade, fingerprint
from embridge.errors import InvalidInput, SettingsError, StoreError
from embridge.items import ItemSource
from embridge.jobs._encoded_tables import EncodeTable
from embridge.jobs._held_space import held_space
from embridge.jobs._mapped_rows import Place, filling_of
from embridge.jobs._shared_store import require_shared
from embridge.progress import Progress, silent
from embridge.rollout._batch import Batch, Filled, Filling, Spread
from embridge.rollout.backfill import Backfill, BackfillLimits
from embridge.rollout.foreign import change_queue
from embridge.rollout.journal import current_state
from embridge.rollout.lease import Lease, this_process
from embridge.scale import Engine, SerialEngine
from embridge.scale._mapping import map_from
from embridge.scale._translate_npy import NpyWorker, npy_start, translate_npy
from embridge.scale._translate_tables import MapTable, TableWorker, VectorsOf
from embridge.space import Space
from embridge.stores import Store, open_store, parse_url
from embridge.vector_files import table_columns
from embridge.vector_files._ranges import Divided, divided

__all__ = ["Translated", "encode_table", "translate_file", "translate_store"]

_BATCH_ROWS = 4_096


@dataclass(frozen=True, slots=True)
class Translated:
    """What was mapped.

    Attributes:
        source: Where rows came from.
        target: Where they went: a file, or a space of the same store.
        old: The space that they were of.
        new: The space that they are of now.
        rows: How many got a vector.

    Examples:
        >>> print(Translated("old.npy", "new.npy", Space("mini", "1", 2), Space("maxi", "1", 3), 1_000))
        1,000 rows of mini@1 from old.npy to new.npy as rows of maxi@1
    """

    source: str
    target: str
    old: Space
    new: Space
    rows: int

    def __str__(self) -> str:
        old, new = (f"{space.model}@{space.revision}" for space in (self.old, self.new))
        return f"{self.rows:,} rows of {old} from {self.source} to {self.target} as rows of {new}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        spaces = {name: space.to_dict() | {"id": space.id} for name, space in (("old", self.old), ("new", self.new))}
        return {"source": self.source, "target": self.target, **spaces, "rows": self.rows}


def translate_file(
    source: Path | str,
    to: Path | str,
    upgrade: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Translated:
    """Map a file of vectors into another; the result is the same, to the bit, whoever works.

    What was done when it was interrupted or killed is kept in a folder beside the target, and is not done again.

    Args:
        source: An npy or Parquet file that says its space.
        to: Of an npy an npy; of Parquet a folder ``NAME.parquet`` with a file for each row group, with all other columns.
        upgrade: The upgrade's folder; its bridge, or its head, begins at the space of the vectors.
        columns: What a table calls its columns ``id`` and ``vector``.
        engine: Whose workers map; this process where None.
        progress: Hears how many rows are done.

    Returns:
        What was mapped.

    Raises:
        InvalidInput: The file cannot be read or written.
        SpaceMismatch: The upgrade does not map vectors of that space.

    Examples:
        >>> translate_file("old.npy", "new.parquet", "upgrade")
        Traceback (most recent call last):
        embridge.errors.SettingsError: an npy is translated into an npy, and Parquet into Parquet; came old.npy, new.parquet
    """
    source, to, upgrade = Path(source).absolute(), Path(to).absolute(), Path(upgrade).absolute()
    if source.suffix != to.suffix or source.suffix not in (".npy", ".parquet"):
        names = f"{source.name}, {to.name}"
        raise SettingsError(f"an npy is translated into an npy, and Parquet into Parquet; came {names}")
    parts = divided(source, columns=columns)
    adapter = map_from(upgrade, parts.space)
    work = _work_folder(to, {"source": _version(source), "upgrade": fingerprint(upgrade), "rows": _BATCH_ROWS})
    run = engine or SerialEngine()
    if source.suffix == ".npy":
        worker = NpyWorker(
            upgrade, parts.space, adapter.target, work, npy_start(len(parts.ids), adapter.target.dim), _BATCH_ROWS
        )
        rows = translate_npy(run, worker, parts, to, progress)
    else:
        vectors = MapTable(upgrade, parts.space, _BATCH_ROWS)
        rows = _write_table(run, vectors, parts, (source, to, work, adapter.target), progress)
    return Translated(str(source), str(to), parts.space, adapter.target, rows)


def encode_table(
    source: Path | str,
    to: Path | str,
    upgrade: Path | str,
    items: ItemSource,
    *,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Translated:
    """Write a Parquet table anew with vectors of an upgrade's new model, which encodes the items again.

    What was done when it was interrupted or killed is kept in a folder beside the target, and is not done again.

    Args:
        source: A Parquet file or folder of vectors.
        to: A folder ``NAME.parquet`` with a file for each row group, with all other columns.
        upgrade: The upgrade's folder, which names its new model.
        items: Where the texts or images of the rows are: a column of the table, or files and addresses by id.
        engine: Whose workers encode, each of which loads the model once; this process where None.
        progress: Hears how many rows are done.

    Returns:
        What was encoded.

    Raises:
        InvalidInput: The file cannot be read or written, or an item cannot be had.
        SettingsError: It is no Parquet, or the upgrade does not name its new model.

    Examples:
        >>> encode_table("old.npy", "new.npy", "upgrade", ItemSource("text", "title"))
        Traceback (most recent call last):
        embridge.errors.SettingsError: items are encoded from Parquet into Parquet; came old.npy, new.npy
    """
    source, to, upgrade = Path(source).absolute(), Path(to).absolute(), Path(upgrade).absolute()
    if (source.suffix, to.suffix) != (".parquet", ".parquet"):
        raise SettingsError(f"items are encoded from Parquet into Parquet; came {source.name}, {to.name}")
    parts, target = divided(source), Upgrade.load(upgrade).head.target
    what = {"source": _version(source), "upgrade": fingerprint(upgrade), "items": items.to_dict()}
    vectors = EncodeTable(upgrade, items)
    into = (source, to, _work_folder(to, what), target)
    rows = _write_table(engine or SerialEngine(), vectors, parts, into, progress)
    return Translated(str(source), str(to), parts.space, target, rows)


def _write_table(
    engine: Engine,
    vectors: Callable[[], VectorsOf],
    parts: Divided,
    into: tuple[Path, Path, Path, Space],
    progress: Progress,
) -> int:
    source, to, work, target = into
    worker, done = TableWorker(vectors, target, work, tuple(table_columns(source)), _BATCH_ROWS), 0
    for _, count in engine.run(worker, parts.ranges):
        done += count
        progress(done, len(parts.ids), f"rows of {target.model}")
    (work / "what.json").unlink()
    work.rename(to)
    return done


def _work_folder(to: Path, what: Mapping[str, Any]) -> Path:
    """The folder of what is under way, emptied where that was of something else."""
    if to.suffix == ".parquet" and to.exists():
        raise InvalidInput(f"{to} is there already; choose another name, or remove it")
    work = to.with_name(f".{to.name}.translating")
    said = work / "what.json"
    if work.exists() and not (said.exists() and json.loads(said.read_text()) == what):
        rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    said.write_text(json.dumps(what))
    return work


def _version(source: Path) -> list[Any]:
    """Which file it is, and as of when."""
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def translate_store(
    url: str,
    upgrade: Path | str,
    *,
    space: str | None = None,
    declarations: Path | None = None,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Translated:
    """Map the vectors of one space of a store into another space of the same store, beside its readers and writers.

    Rows that others write meanwhile are mapped too, and a row whose vector changes is mapped again. Killed, it goes on where
    it was when it is called again.

    Args:
        url: The store, as `embridge.stores.open_store` takes it.
        upgrade: The upgrade's folder; its bridge, or its head, begins at the space of the vectors.
        space: Its id or its model, where the store holds several.
        declarations: As for `embridge.stores.open_store`.
        engine: Whose workers map and write; this process where None.
        progress: Hears how many rows are done.

    Returns:
        What was mapped.

    Raises:
        SettingsError: No such space, or more than one, is held; or workers cannot open the store.
        SpaceMismatch: The upgrade does not map vectors of that space.
        StoreError: The store cannot be read or written, or a rollout runs there.

    Examples:
        >>> translate_store("lancedb:nowhere", "upgrade")
        Traceback (most recent call last):
        embridge.errors.StoreError: ...
    """
    run, where = engine or SerialEngine(), str(parse_url(url))
    require_shared(url, run)
    with closing(open_store(url, declarations=declarations)) as store:
        old = held_space(store, space, where=where, key="--space")
        place = Place(url, Path(upgrade).absolute(), old, declarations)
        filling = filling_of(store, place)
        with Lease(store.documents, this_process()):
            _require_no_rollout(store, where)
            rows = _translated(
                store, filling, None if isinstance(run, SerialEngine) else partial(_spread, run, place), progress
            )
    return Translated(where, where, old, filling.new, rows)


def _translated(store: Store, filling: Filling, spread: Spread | None, progress: Progress) -> int:
    store.add_space(filling.new)
    queue = change_queue(store, filling.old, filling.new, [store.declaration(filling.old).place.vector])
    if queue is not None:
        queue.begin()
    backfill = Backfill(store, filling.old, filling.new, filling.source, filling.encode, queue, spread=spread)
    rows = backfill.run(limits=BackfillLimits(batch_rows=_BATCH_ROWS), progress=progress).rows
    if queue is not None:
        queue.end()
    return rows


def _require_no_rollout(store: Store, where: str) -> None:
    state = current_state(store.documents)
    if state is not None and not state.old_dropped and state.phase not in ("prepared", "rolled back"):
        raise StoreError(
            f"{where}: a rollout is {state.phase}, which writes new vectors itself; end it, or go back, first"
        )


def _spread(engine: Engine, place: Place, batches: Iterable[Batch]) -> Generator[tuple[Batch, Filled], None, None]:
    yield from engine.run(place, batches)
