"""The commands that look into vectors and stores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from embridge.cli._app import Json, app, print_json
from embridge.errors import GateRefused, InvalidInput, SettingsError

__all__: list[str] = []

StoreUrl = Annotated[
    str, typer.Argument(help="The store's URL, such as postgresql://…?table=items, or its folder.", show_default=False)
]
Declarations = Annotated[
    Path | None,
    typer.Option(help="A JSON file that says of which models a store's vectors are, in place of the store."),
]


@app.command()
def inspect(
    path: Annotated[
        str,
        typer.Argument(
            help="Vectors (npy, parquet, arrow), a store's URL or folder, an upgrade, a report, …", show_default=False
        ),
    ],
    check_index: Annotated[
        int, typer.Option(min=0, help="Search a store for so many of its rows, and compare with exact search.")
    ] = 0,
    declarations: Declarations = None,
    as_json: Json = False,
) -> None:
    """Show what a file or folder is; of vectors, spaces, norms, NaN and mixing. Ends with 1 if they are unusable."""
    from embridge.cli._terminal import progress_bars
    from embridge.jobs.inspect import inspect_path

    with progress_bars() as progress:
        inspections = inspect_path(path, check_index=check_index, declarations=declarations, progress=progress)
    if as_json:
        print_json({"schema": "embridge.inspection/1", "inspections": [one.to_dict() for one in inspections]})
    else:
        _print_inspections(inspections)
    if any(one.problems for one in inspections):
        raise typer.Exit(1)


@app.command()
def adopt(
    store: StoreUrl,
    encoder: Annotated[str | None, typer.Option(help="The model that made the vectors, such as clip:FOLDER.")] = None,
    table: Annotated[str, typer.Option(help="The table or collection, where there are several.")] = "",
    id_column: Annotated[str, typer.Option("--id", help="The column of the ids, if it is not called so.")] = "",
    vector: Annotated[str, typer.Option(help="The column of the vectors, where there are several.")] = "",
    text: Annotated[str, typer.Option(help="The column of the texts that were encoded.")] = "",
    image: Annotated[str, typer.Option(help="The column of the images: paths, or their bytes.")] = "",
    folder: Annotated[Path | None, typer.Option(help="The folder of the images; without --image, named by id.")] = None,
    url: Annotated[
        str, typer.Option(help="Where the images are: https://HOST/{id}.jpg, or what --image counts from.")
    ] = "",
    settings: Annotated[Path | None, typer.Option(help="A settings file, whose old model made the vectors.")] = None,
    sample: Annotated[int, typer.Option(min=0, help="How many rows are encoded anew.")] = 500,
    min_agreement: Annotated[float, typer.Option(min=0, max=1, help="The share of them that has to agree.")] = 0.99,
    yes: Annotated[bool, typer.Option("--yes", help="Declare it even if the check speaks against it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check, and declare nothing.")] = False,
    declarations: Declarations = None,
    as_json: Json = False,
) -> None:
    """Declare which model made the vectors of an index; rows are checked, none is changed. Ends with 3 if they disagree."""
    from embridge.cli._terminal import print_table, progress_bars
    from embridge.items import ItemSource
    from embridge.jobs.adopt import AdoptionCheck, adopt_index
    from embridge.stores import Place

    if yes and dry_run:
        raise SettingsError("--yes declares and --dry-run does not; name one")
    items = ItemSource.of(text=text, image=image, folder=folder or "", url=url)
    claim = _claim(encoder, settings, Place(table, vector, id_column), items)
    with progress_bars() as progress:
        result = adopt_index(
            store,
            claim,
            check=AdoptionCheck(sample, min_agreement),
            declare="never" if dry_run else "always" if yes else "if it agrees",
            declarations=declarations,
            progress=progress,
        )
    if as_json:
        print_json(result.to_dict())
    else:
        columns, rows = result.table()
        print_table(columns, rows, title=result.store)
    if result.refused and not result.written:
        raise GateRefused(f"{result.store}: {result.agreement.sentence}; --yes declares it all the same")


def _claim(encoder: str | None, settings: Path | None, place: Any, items: Any) -> Any:
    from embridge.jobs.adoption import Claim
    from embridge.jobs.models import options_of

    if (encoder is None) == (settings is None):
        raise SettingsError(
            "which model made the vectors? Name it with --encoder, or its settings file with --settings"
        )
    if encoder is not None:
        return Claim(encoder, place=place, items=items)
    model = _model_of(settings, "old")
    return Claim(model.encoder, options_of(model), place, items)


@app.command()
def search(
    store: StoreUrl,
    query: Annotated[
        str | None, typer.Argument(help="The text, or with --image the path of a picture.", show_default=False)
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="A file of queries instead: texts one a line, csv, jsonl, or vectors.")
    ] = None,
    upgrade: Annotated[Path | None, typer.Option(help="The upgrade's folder: query with the new model.")] = None,
    encoder: Annotated[str | None, typer.Option(help="The query's encoder, if not the one that is declared.")] = None,
    settings: Annotated[Path | None, typer.Option(help="A settings file, whose model encodes the query.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 10,
    image: Annotated[bool, typer.Option("--image", help="The query is a picture.")] = False,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", help="What hits have to meet, such as price<10; all of several.")
    ] = None,
    declarations: Declarations = None,
    as_json: Json = False,
) -> None:
    """Search a store; with --upgrade the new model searches the old index."""
    from embridge.cli._terminal import print_table
    from embridge.jobs._queries import condition_of
    from embridge.jobs.search import SearchOptions, search_queries

    if settings is not None and encoder is not None:
        raise SettingsError("--encoder and --settings both say which model encodes the query; name one")
    if (query is None) == (queries is None):
        raise SettingsError("say what to search for: one query, or a file of them with --queries")
    if query is not None and not query.strip():
        raise InvalidInput("the query is empty; say what to search for")
    model = encoder if settings is None else _model_of(settings, "old" if upgrade is None else "new")
    conditions = tuple(map(condition_of, filters or ()))
    options = SearchOptions(k, upgrade, model, image, conditions, declarations)
    for found in search_queries(store, [query] if query is not None else queries or Path(), options):
        if queries is not None and as_json:
            typer.echo(json.dumps(found.to_dict(), default=str))
        elif as_json:
            print_json(found.to_dict())
        else:
            columns, rows = found.table()
            print_table(columns, rows, title="" if queries is None else found.query)


def _model_of(settings: Path | None, side: str) -> Any:
    from embridge.settings import load_settings

    assert settings is not None
    model = getattr(load_settings(settings), side)
    if model.encoder is None:
        raise SettingsError(f"{settings}: {side} is files of vectors; name a model for queries in {side}.encoder")
    return model


def _print_inspections(inspections: list[Any]) -> None:
    from embridge.cli._terminal import print_table

    for one in inspections:
        columns, rows = one.table()
        print_table(columns, rows, title=one.where)
