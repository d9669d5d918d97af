"""The command line: every command calls the library; progress goes to stderr, results to stdout."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from embridge import __version__
from embridge._plain_text import one_line
from embridge.cli._endings import endings
from embridge.errors import GateRefused, SettingsError

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Ends as `endings` says, whatever a command raises."""

    def invoke(self, ctx: Any) -> Any:
        with endings(), warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = _show_warning
            return super().invoke(ctx)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """One plain line, without the line of code that gave it."""
    typer.echo(one_line(f"warning: {message}"), err=True)


app = typer.Typer(
    name="embridge",
    cls=_Commands,
    help="Upgrade your embedding model, keep your index.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")]
Config = Annotated[Path, typer.Argument(help="The YAML settings file.", show_default=False)]


def _print_version(asked: bool | None) -> None:
    if asked:
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
    from embridge.cli._terminal import print_lines, print_summary, progress_bars
    from embridge.jobs.demo import run_demo

    with progress_bars() as progress:
        result = run_demo(out, progress=progress)
    if as_json:
        _print_json(result.to_dict())
        return
    print_summary(result.summary, brief=True)
    files = [f"{what:9} {path}" for what, path in result.files.items()]
    print_lines("", *files, f"seconds   {result.seconds:.1f}")


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
        _print_json({"schema": "embridge.inspection/1", "inspections": [one.to_dict() for one in inspections]})
    else:
        _print_inspections(inspections)
    if any(one.problems for one in inspections):
        raise typer.Exit(1)


@app.command()
def fit(
    config: Config,
    method: Annotated[
        str | None, typer.Option(help="Fit this method, whatever the settings say.", show_default=False)
    ] = None,
    finetune_pairs: Annotated[
        Path | None,
        typer.Option(help="Image-text pairs: finetune the new model, on top of the bridge.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Choose and fit the bridge, and write the upgrade. Ends with 3 if the old model should be kept."""
    from embridge.cli._terminal import print_lines, print_table, progress_bars
    from embridge.jobs.fit import fit_upgrade
    from embridge.settings import load_settings

    settings = load_settings(config).with_fit(method=method, finetune_pairs=finetune_pairs)
    with progress_bars() as progress:
        fitted = fit_upgrade(settings, progress=progress)
    if as_json:
        _print_json(fitted.to_dict() | {"upgrade": str(settings.upgrade) if fitted.upgrade else None})
    elif fitted.choice is not None:
        columns, rows = fitted.table()
        print_table(columns, rows, title=f"Candidates; score: {fitted.score}")
    if fitted.upgrade is None:
        raise GateRefused(fitted.choice.reason if fitted.choice else "nothing was fitted")
    if not as_json:
        print_lines(*filter(None, (f"{settings.upgrade}: {fitted.sentence}", fitted.stretch, fitted.folds)))


@app.command()
def evaluate(config: Config, as_json: Json = False) -> None:
    """Measure the upgrade on judged data, and write the report and its page. Ends with 3 if a gate was not met."""
    from embridge.cli._terminal import print_lines, print_summary, progress_bars
    from embridge.evaluation import require_gates
    from embridge.jobs.evaluate import evaluate_upgrade
    from embridge.settings import load_settings

    settings = load_settings(config)
    with progress_bars() as progress:
        summary = evaluate_upgrade(settings, progress=progress)
    files = {"report": str(settings.report), "page": str(settings.report.with_suffix(".html"))}
    if as_json:
        _print_json({"schema": "embridge.evaluation/1"} | summary.headline() | files)
    else:
        print_summary(summary)
        print_lines("", f"report  {files['report']}", f"page    {files['page']}")
    require_gates(summary.gates)


@app.command()
def train(config: Config, as_json: Json = False) -> None:
    """Train a new model beside an old one's vectors, and write the model and its upgrade."""
    from embridge.cli._terminal import print_lines, print_table, progress_bars
    from embridge.jobs.train import train_model
    from embridge.settings.training import load_training_settings

    settings = load_training_settings(config)
    with progress_bars() as progress:
        result = train_model(settings, progress=progress)
    files = {"model": str(settings.model), "upgrade": str(settings.upgrade) if result.upgrade else None}
    if as_json:
        _print_json(result.to_dict() | files)
        return
    if result.nearest:
        columns, rows = result.table()
        print_table(columns, rows, title="Held-out items")
    print_lines(result.sentence, *(f"{what:8} {path}" for what, path in files.items() if path))


@app.command()
def report(
    file: Annotated[Path, typer.Argument(help="The report's JSON, as evaluate wrote it.", show_default=False)],
    page: Annotated[Path | None, typer.Option(help="Write the report as one HTML page.", show_default=False)] = None,
    items: Annotated[
        Path | None, typer.Option(help="Folder of the pictures that the page shows.", show_default=False)
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown instead of tables.")] = False,
    compare: Annotated[
        Path | None, typer.Option(help="Another report on the same queries: what it changes.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a report again, as tables, Markdown or a page, or compare it with another."""
    from embridge.cli._terminal import print_comparison, print_summary
    from embridge.evaluation.report_files import summary_to_dict
    from embridge.jobs.report import compare_reports, show_report

    if as_json and markdown:
        raise SettingsError("--json and --markdown are two forms of what is printed; name one")
    if compare is not None:
        if page is not None or items is not None:
            raise SettingsError("--page is of one report, and --compare prints what two differ in; use them one by one")
        comparison = compare_reports(file, compare)
        if as_json:
            _print_json(comparison.to_dict())
        else:
            print_comparison(comparison, markdown=markdown)
        return
    if items is not None and page is None:
        raise SettingsError("--items FOLDER holds the pictures of a page; name the page with --page FILE")
    summary = show_report(file, page=page, items=items)
    if as_json:
        _print_json(summary_to_dict(summary))
    elif markdown:
        from embridge.evaluation.render.markdown import report_markdown

        typer.echo(report_markdown(summary))
    else:
        print_summary(summary)


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
        _print_json(hits.to_dict())
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


@app.command()
def export(
    upgrade: Annotated[Path, typer.Argument(help="The upgrade's folder.", show_default=False)],
    onnx: Annotated[Path | None, typer.Option(help="Write what maps a query as this ONNX file.")] = None,
    fold: Annotated[str | None, typer.Option(help="Fold the bridge into this encoder, such as clip:FOLDER.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the folded encoder.")] = None,
    as_json: Json = False,
) -> None:
    """Write the upgrade for where embridge does not run: as ONNX, or folded into the new model."""
    from embridge.jobs.export import export_upgrade

    written = export_upgrade(upgrade, onnx=onnx, fold_into=fold, out=out)
    if as_json:
        _print_json({"schema": "embridge.export/1"} | written)
        return
    from embridge.cli._terminal import print_lines

    print_lines(*(f"{kind:7} {path}" for kind, path in written.items()))


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the terminal's encoding lacks is written out
    with contextlib.suppress(RuntimeError, ValueError):  # there may be no stderr
        faulthandler.enable()  # a crash of native code says where, not nothing
    app()


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, default=str))


def _print_inspections(inspections: list[Any]) -> None:
    from embridge.cli._terminal import print_table

    for one in inspections:
        columns, rows = one.table()
        print_table(columns, rows, title=one.where)
