"""The commands that write what is held here for use elsewhere, and take it in again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embridge.cli._app import EngineName, Json, WorkerLogs, app, print_json
from embridge.errors import SettingsError

if TYPE_CHECKING:
    from embridge.settings.engine import EngineSection

__all__: list[str] = []

Declarations = Annotated[
    Path | None, typer.Option(help="A file that declares of which model the store's vectors are.", show_default=False)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Read and check, and write nothing.")]


@app.command()
def export(
    source: Annotated[str, typer.Argument(help="An upgrade's folder, or a store's URL.", show_default=False)],
    onnx: Annotated[Path | None, typer.Option(help="Write what maps a query as this ONNX file.")] = None,
    fold: Annotated[str | None, typer.Option(help="Fold the bridge into this encoder, such as clip:FOLDER.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the folded encoder.")] = None,
    to: Annotated[
        Path | None, typer.Option(help="Write a store's rows as this file: Parquet, Arrow or npy.", show_default=False)
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Which of the store's spaces: its id or its model.", show_default=False)
    ] = None,
    declarations: Declarations = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Write an upgrade as ONNX or folded into the new model, or the rows of a store as a file of vectors."""
    of_upgrade = {"--onnx": onnx, "--fold": fold, "--out": out}
    of_store = {"--to": to, "--space": space, "--declarations": declarations, "--dry-run": dry_run or None}
    _require_one_kind(of_upgrade, of_store)
    if _named(of_store) or not _is_upgrade(source, of_upgrade):
        _export_store(source, of_store, as_json=as_json)
        return
    from embridge.jobs.export import export_upgrade

    written = export_upgrade(source, onnx=onnx, fold_into=fold, out=out)
    if as_json:
        print_json({"schema": "embridge.export/1"} | written)
        return
    from embridge.cli._terminal import print_lines

    print_lines(*(f"{kind:7} {path}" for kind, path in written.items()))


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="Vectors: Parquet, Arrow or npy.", show_default=False)],
    store: Annotated[str, typer.Argument(help="The store's URL; made where it is not there.", show_default=False)],
    space: Annotated[
        str | None,
        typer.Option(help="Of which of the store's spaces they are: its id or its model.", show_default=False),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Which model made them, such as clip:FOLDER.", show_default=False)
    ] = None,
    id_column: Annotated[str, typer.Option("--id", help="What the table calls its ids.")] = "id",
    vector_column: Annotated[str, typer.Option("--vector", help="What the table calls its vectors.")] = "vector",
    payload: Annotated[
        str | None, typer.Option(help="Columns that go along, with commas between.", show_default="all")
    ] = None,
    cast: Annotated[bool, typer.Option("--cast", help="Make float16 and float64 float32.")] = False,
    declarations: Declarations = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Write a file of vectors into a store, a part at a time; rows of the same ids are replaced."""
    from embridge.cli._terminal import progress_bars
    from embridge.jobs.import_vectors import VectorFile, import_vectors

    names = {"id": id_column, "vector": vector_column}
    columns = {ours: name for ours, name in names.items() if name != ours}
    chosen = None if payload is None else tuple(filter(None, map(str.strip, payload.split(","))))
    rows = VectorFile(file, space=space, encoder=encoder, columns=columns, payload=chosen, cast=cast)
    with progress_bars() as progress:
        done = import_vectors(rows, store, declarations=declarations, dry_run=dry_run, progress=progress)
    _print_transfer(done, "embridge.import/1", as_json=as_json)


@app.command()
def translate(
    source: Annotated[
        str, typer.Argument(help="Vectors: an npy or Parquet file, or a store's URL.", show_default=False)
    ],
    upgrade: Annotated[Path, typer.Argument(help="The upgrade's folder.", show_default=False)],
    to: Annotated[
        Path | None, typer.Option(help="Of a file: the file to write, of the same kind.", show_default=False)
    ] = None,
    text: Annotated[
        str,
        typer.Option(help="Of Parquet: encode the texts of this column by the new model instead.", show_default=False),
    ] = "",
    image: Annotated[
        str, typer.Option(help="Of Parquet: encode the images of this column, as paths or bytes.", show_default=False)
    ] = "",
    folder: Annotated[
        Path | None, typer.Option(help="The folder that the images' paths count from.", show_default=False)
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Which of the store's spaces: its id or its model.", show_default=False)
    ] = None,
    declarations: Declarations = None,
    engine: EngineName = None,
    worker: Annotated[
        str, typer.Option(help="What each worker gets, such as gpus=1,memory_gb=8,retries=5.", show_default=False)
    ] = "",
    worker_logs: WorkerLogs = False,
    as_json: Json = False,
) -> None:
    """Map a gallery's vectors through an upgrade's bridge. Killed, it goes on where it was when it is called again."""
    from embridge.cli._terminal import progress_bars
    from embridge.items import ItemSource
    from embridge.jobs.translate import encode_table, translate_file, translate_store

    held = {"space": space, "declarations": declarations}
    is_store, items = _require_fitting(source, to, held), ItemSource.of(text=text, image=image, folder=folder or "")
    if is_store and items is not None:
        raise SettingsError(
            "--text, --image and --folder are of a file; rows of a store are encoded again by embridge apply"
        )
    section = _engine_of(engine, worker)
    with section.opened(logs=worker_logs) as workers, progress_bars() as progress:
        if is_store:
            done = translate_store(
                source, upgrade, space=space, declarations=declarations, engine=workers, progress=progress
            )
        elif items is not None:
            done = encode_table(source, to or "", upgrade, items, engine=workers, progress=progress)
        else:
            done = translate_file(source, to or "", upgrade, engine=workers, progress=progress)
    _print_transfer(done, "embridge.translation/1", as_json=as_json)


def _engine_of(name: str | None, given: str) -> EngineSection:
    """The engine, whose workers get what is given as KEY=VALUE with commas between."""
    from embridge.settings.engine import EngineSection
    from embridge.settings.reading import checked_settings

    pairs = [part.partition("=") for part in given.split(",") if part.strip()]
    values: dict[str, Any] = {key.strip(): _number(value.strip()) for key, _, value in pairs}
    if "name" in values:
        raise SettingsError("--worker: the name of an engine is given with --engine")
    named = {} if name is None else {"name": name}
    return checked_settings(named | values, EngineSection, folder=Path.cwd(), where="--worker" if given else "--engine")


def _number(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _require_fitting(source: str, to: Path | None, of_store: dict[str, Any]) -> bool:
    """Whether it is a store; refuses options of a file with a store, and of a store with a file."""
    is_store = "://" in source or Path(source).suffix not in (".npy", ".parquet")
    if is_store and to is not None:
        raise SettingsError(f"--to is of a file, and {source} is a store, whose rows get their vectors there")
    if not is_store and to is None:
        raise SettingsError("a file is translated into another: name it with --to")
    if not is_store and _named(of_store):
        raise SettingsError(f"--{_named(of_store)[0]} is of a store, and {source} is a file")
    return is_store


def _named(options: dict[str, Any]) -> list[str]:
    return [name for name, value in options.items() if value is not None]


def _require_one_kind(of_upgrade: dict[str, Any], of_store: dict[str, Any]) -> None:
    if (upgrade := _named(of_upgrade)) and (store := _named(of_store)):
        raise SettingsError(f"{upgrade[0]} is of an upgrade, and {store[0]} of a store; name options of one of the two")


def _is_upgrade(source: str, of_upgrade: dict[str, Any]) -> bool:
    """Whether an upgrade is to be exported; a store's URL without --to is none."""
    from embridge.stores import STORES

    return bool(_named(of_upgrade)) or not ("://" in source or source.partition(":")[0] in STORES)


def _export_store(source: str, options: dict[str, Any], *, as_json: bool) -> None:
    from embridge.cli._terminal import progress_bars
    from embridge.jobs.transfer import export_store

    to = options["--to"]
    if to is None:
        raise SettingsError(
            "a store's rows are written as a file of vectors: name it with --to FILE.parquet or FILE.npy"
        )
    if (Path(source) / "upgrade.json").exists():
        raise SettingsError(
            f"{source} is an upgrade, and --to is of a store; an upgrade is written with --onnx or --fold"
        )
    with progress_bars() as progress:
        done = export_store(
            source,
            to,
            space=options["--space"],
            declarations=options["--declarations"],
            dry_run=bool(options["--dry-run"]),
            progress=progress,
        )
    _print_transfer(done, "embridge.export/1", as_json=as_json)


def _print_transfer(done: Any, schema: str, *, as_json: bool) -> None:
    from embridge.cli._terminal import print_lines

    if as_json:
        print_json({"schema": schema} | done.to_dict())
    else:
        print_lines(str(done))
