"""The commands that look into vectors and stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from embridge.cli._app import Json, app, print_json
from embridge.errors import SettingsError

__all__: list[str] = []


@app.command()
def inspect(
    path: Annotated[
        Path,
        typer.Argument(help="Vectors (npy, parquet, arrow), a store, an upgrade, a report, …", show_default=False),
    ],
    check_index: Annotated[
        int, typer.Option(min=0, help="Search a store for so many of its rows, and compare with exact search.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Show what a file or folder is; of vectors, spaces, norms, NaN and mixing. Ends with 1 if they are unusable."""
    from embridge.cli._terminal import progress_bars
    from embridge.jobs.inspect import inspect_path

    with progress_bars() as progress:
        inspections = inspect_path(path, check_index=check_index, progress=progress)
    if as_json:
        print_json({"schema": "embridge.inspection/1", "inspections": [one.to_dict() for one in inspections]})
    else:
        _print_inspections(inspections)
    if any(one.problems for one in inspections):
        raise typer.Exit(1)


@app.command()
def search(
    store: Annotated[Path, typer.Argument(help="The store's folder.", show_default=False)],
    query: Annotated[str, typer.Argument(help="The text, or with --image the path of a picture.", show_default=False)],
    upgrade: Annotated[Path | None, typer.Option(help="The upgrade's folder: query with the new model.")] = None,
    encoder: Annotated[str | None, typer.Option(help="The query's encoder, if not the one the upgrade names.")] = None,
    settings: Annotated[Path | None, typer.Option(help="A settings file, whose model encodes the query.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 10,
    image: Annotated[bool, typer.Option("--image", help="The query is a picture.")] = False,
    as_json: Json = False,
) -> None:
    """Search a store; with --upgrade the new model searches the old index."""
    from embridge.jobs.search import search_store

    if settings is not None and encoder is not None:
        raise SettingsError("--encoder and --settings both say which model encodes the query; name one")
    model = encoder if settings is None else _model_of(settings, "old" if upgrade is None else "new")
    hits = search_store(store, query, upgrade=upgrade, encoder=model, k=k, image=image)
    if as_json:
        print_json(hits.to_dict())
        return
    from embridge.cli._terminal import print_table

    columns, rows = hits.table()
    print_table(columns, rows)


def _model_of(settings: Path, side: str) -> Any:
    from embridge.settings import load_settings

    model = getattr(load_settings(settings), side)
    if model.encoder is None:
        raise SettingsError(f"{settings}: {side} is files of vectors; name a model for queries in {side}.encoder")
    return model


def _print_inspections(inspections: list[Any]) -> None:
    from embridge.cli._terminal import print_table

    for one in inspections:
        columns, rows = one.table()
        print_table(columns, rows, title=one.where)
