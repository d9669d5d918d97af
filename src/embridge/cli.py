"""The command line: every command calls the library; progress goes to stderr, results to stdout."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from embridge import __version__
from embridge.errors import EmbridgeError

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Ends with the exit code that an error of the library carries, and with 130 when interrupted."""

    def invoke(self, ctx: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = _show_warning
            return self._invoke(ctx)

    def _invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EmbridgeError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from error
        except OSError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            typer.echo("interrupted: what was written before is whole; run the same command again", err=True)
            raise typer.Exit(130) from None


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """One plain line, without the line of code that gave it."""
    typer.echo(f"warning: {message}", err=True)


app = typer.Typer(
    name="embridge",
    cls=_Commands,
    help="Upgrade your embedding model, keep your index.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_LEGEND = """\
old/old: the old model on its index; new/old: the new model through the upgrade, same index;
new/new: everything re-encoded; naive: the new model on the old index, no bridge.
R@k: Recall@k ± half its 95 % interval; flips: queries lost and won since old/old"""

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")]
Config = Annotated[Path, typer.Argument(help="The YAML settings file.", show_default=False)]


def _print_version(wanted: bool | None) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool | None, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = None,
) -> None:
    """Upgrade your embedding model, keep your index."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the store, the upgrade and the pages.")] = Path("embridge-demo"),
    as_json: Json = False,
) -> None:
    """Run the whole job on built-in data: index, fit, measure, search. No download."""
    from embridge.demo import run_demo
    from embridge.terminal import progress_bars

    with progress_bars() as progress:
        result = run_demo(out, progress=progress)
    if as_json:
        _print_json(result.to_dict())
        return
    _print_report(result.report)
    typer.echo(f"\n{result.verdict.sentence}\n")
    typer.echo(
        f"searches  {result.page}\nstore     {result.store}\nupgrade   {result.upgrade}\nseconds   {result.seconds:.1f}"
    )


@app.command()
def inspect(
    path: Annotated[
        Path, typer.Argument(help="A file of vectors (npy, parquet, arrow) or a store.", show_default=False)
    ],
    check_index: Annotated[
        int, typer.Option(min=0, help="Search a store for so many of its rows, and compare with exact search.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Show spaces, dims, norms, NaN, duplicates and suspected mixing. Ends with 1 if the vectors are unusable."""
    from embridge.inspection import inspect_path
    from embridge.terminal import progress_bars

    with progress_bars() as progress:
        found = inspect_path(path, check_index=check_index, progress=progress)
    if as_json:
        _print_json({"schema": "embridge.inspection/1", "inspections": [one.to_dict() for one in found]})
    else:
        _print_inspections(found)
    if any(one.problems for one in found):
        raise typer.Exit(1)


@app.command()
def fit(config: Config, as_json: Json = False) -> None:
    """Fit the bridge that the settings describe, and write the upgrade."""
    from embridge.pipeline import fit_upgrade
    from embridge.settings import load_settings
    from embridge.terminal import progress_bars

    settings = load_settings(config)
    with progress_bars() as progress:
        upgrade = fit_upgrade(settings, progress=progress)
    made = upgrade.provenance
    result = {
        "schema": "embridge.fit/1",
        "upgrade": str(settings.upgrade),
        "method": made.method,
        "new": upgrade.new_space.to_dict() | {"id": upgrade.new_space.id},
        "old": upgrade.old_space.to_dict() | {"id": upgrade.old_space.id},
        "figures": dict(made.figures),
    }
    if as_json:
        _print_json(result)
        return
    typer.echo(f"{settings.upgrade}: {made.method}, from {upgrade.new_space} to {upgrade.old_space}; {made.data}")


@app.command()
def evaluate(config: Config, as_json: Json = False) -> None:
    """Measure the upgrade on judged pairs, and write the report."""
    from embridge.evaluation import decide
    from embridge.pipeline import evaluate_upgrade
    from embridge.settings import load_settings
    from embridge.terminal import progress_bars

    settings = load_settings(config)
    with progress_bars() as progress:
        report = evaluate_upgrade(settings, progress=progress)
    verdict = decide(report)
    if as_json:
        _print_json(
            {
                "schema": "embridge.evaluation/1",
                "cells": report.figures(),
                "compatible": report.compatibility(),
                "decision": verdict.decision,
                "verdict": verdict.sentence,
                "report": str(settings.report),
            }
        )
        return
    _print_report(report)
    typer.echo(f"\n{verdict.sentence}\n\nreport  {settings.report}")


@app.command()
def search(
    store: Annotated[Path, typer.Argument(help="The store's folder.", show_default=False)],
    query: Annotated[str, typer.Argument(help="The text, or with --image the path of a picture.", show_default=False)],
    upgrade: Annotated[Path | None, typer.Option(help="The upgrade's folder: query with the new model.")] = None,
    encoder: Annotated[str | None, typer.Option(help="The query's encoder, if not the one the upgrade names.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 10,
    image: Annotated[bool, typer.Option("--image", help="The query is a picture.")] = False,
    as_json: Json = False,
) -> None:
    """Search a store; with --upgrade the new model searches the old index."""
    from embridge.searching import search_store

    found = search_store(store, query, upgrade=upgrade, encoder=encoder, k=k, image=image)
    if as_json:
        _print_json(found.to_dict())
        return
    from embridge.terminal import print_table

    columns, rows = found.table()
    print_table(columns, rows)


def main() -> None:
    """Run the command line."""
    app()


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=str))


def _print_report(report: Any) -> None:
    from embridge.evaluation.render.terminal import report_tables
    from embridge.terminal import print_table

    for table in report_tables(report):
        print_table(table.columns, table.rows, title=table.title)
    typer.echo(_LEGEND)


def _print_inspections(found: list[Any]) -> None:
    from embridge.terminal import print_table

    for one in found:
        small, mean, large = one.norms
        rows = [
            ["space", str(one.space or "not said in the file")],
            ["rows", f"{one.rows:,}"],
            ["dim, dtype", f"{one.dim}, {one.dtype}"],
            ["norms: smallest, mean, largest", f"{small:.4f}, {mean:.4f}, {large:.4f}"],
            ["rows with NaN or infinity", f"{one.not_finite_rows:,}"],
            ["rows of zeros", f"{one.zero_rows:,}"],
            ["repeated ids", f"{one.duplicate_ids:,}"],
            ["repeated vectors", f"{one.duplicate_vectors:,}"],
        ]
        if (check := one.index_check) is not None:
            rows += [
                [f"recall at {check.k} against exact search", f"{check.mean.value:.3f} ± {check.mean.half:.3f}"],
                ["queries checked, median milliseconds", f"{len(check.shares):,}, {check.search_p50_milliseconds:.2f}"],
            ]
        rows += [["problem", text] for text in one.problems] + [["look at", text] for text in one.suspicions]
        print_table(["", ""], rows, title=one.where)
