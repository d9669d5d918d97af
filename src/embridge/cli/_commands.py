"""The commands of models and upgrades: each calls the library; progress goes to stderr, results to stdout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embridge.cli._app import EngineName, Json, WorkerLogs, app, print_json
from embridge.errors import GateRefused, SettingsError

if TYPE_CHECKING:
    from embridge.scale import Engine
    from embridge.settings import Settings

__all__: list[str] = []

Config = Annotated[Path, typer.Argument(help="The YAML settings file.", show_default=False)]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the store, the upgrade and the pages.")] = Path("embridge-demo"),
    as_json: Json = False,
) -> None:
    """Run the whole job on built-in data: index, fit, measure, search. No download."""
    from embridge.cli._terminal import print_lines, print_summary, print_table, progress_bars
    from embridge.jobs.demo import run_demo

    with progress_bars() as progress:
        result = run_demo(out, progress=progress)
    if as_json:
        print_json(result.to_dict())
        return
    print_summary(result.summary, brief=True)
    print_table(*result.live.table())
    files = [f"{what:9} {path}" for what, path in result.files.items()]
    print_lines("", *files, f"seconds   {result.seconds:.1f}")


@app.command()
def fit(
    config: Annotated[Path | None, typer.Argument(help="The YAML settings file.", show_default=False)] = None,
    store: Annotated[
        str | None, typer.Option(help="In place of the file: the URL of the store to upgrade.", show_default=False)
    ] = None,
    new: Annotated[
        str | None, typer.Option(help="With --store: the new model, such as clip:FOLDER.", show_default=False)
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="With --store: which of its spaces, by id or model.", show_default=False)
    ] = None,
    upgrade: Annotated[
        Path | None, typer.Option(help="With --store: the folder to write.", show_default="upgrade")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Fit this method, whatever the settings say.", show_default=False)
    ] = None,
    finetune_pairs: Annotated[
        Path | None,
        typer.Option(help="Image-text pairs: finetune the new model, on top of the bridge.", show_default=False),
    ] = None,
    engine: EngineName = None,
    worker_logs: WorkerLogs = False,
    as_json: Json = False,
) -> None:
    """Choose and fit the bridge, and write the upgrade. Ends with 3 if the old model should be kept."""
    from embridge.cli._terminal import print_lines, print_table, progress_bars
    from embridge.jobs.fit import fit_upgrade

    settings = _fit_settings(config, store, new, {"--space": space, "--upgrade": upgrade})
    settings = settings.with_fit(method=method, finetune_pairs=finetune_pairs)
    with _engine_of(settings, engine, worker_logs) as workers, progress_bars() as progress:
        fitted = fit_upgrade(settings, engine=workers, progress=progress)
    if as_json:
        print_json(fitted.to_dict() | {"upgrade": str(settings.upgrade) if fitted.upgrade else None})
    elif fitted.choice is not None:
        columns, rows = fitted.table()
        print_table(columns, rows, title=f"Candidates; score: {fitted.score}")
    if fitted.upgrade is None:
        raise GateRefused(fitted.choice.reason if fitted.choice else "nothing was fitted")
    if not as_json:
        print_lines(*filter(None, (f"{settings.upgrade}: {fitted.sentence}", fitted.stretch, fitted.folds)))


def _fit_settings(config: Path | None, store: str | None, new: str | None, further: dict[str, Any]) -> Settings:
    """Those of the file; or, in its place, those that --store and the options beside it say."""
    from embridge.settings import load_settings, store_settings

    given = [name for name, value in {"--store": store, "--new": new, **further}.items() if value is not None]
    if config is not None:
        if given:
            raise SettingsError(f"{given[0]} stands in the place of a settings file; name one of the two")
        return load_settings(config)
    if store is None or new is None:
        raise SettingsError("name a settings file, or --store URL and --new PROVIDER:MODEL")
    return store_settings(store, new, upgrade=further["--upgrade"] or "upgrade", space=further["--space"])


@contextmanager
def _engine_of(settings: Settings, name: str | None, logs: bool) -> Iterator[Engine | None]:
    """The engine of the command line or of the settings; None where neither names one."""
    if name is None and settings.engine is None:
        yield None
        return
    from embridge.settings.engine import EngineSection

    with (settings.engine or EngineSection()).opened(name, logs=logs) as engine:
        yield engine


@app.command()
def evaluate(config: Config, engine: EngineName = None, worker_logs: WorkerLogs = False, as_json: Json = False) -> None:
    """Measure the upgrade on judged data, and write the report and its page. Ends with 3 if a gate was not met."""
    from embridge.cli._terminal import print_lines, print_summary, progress_bars
    from embridge.evaluation import require_gates
    from embridge.jobs.evaluate import evaluate_upgrade
    from embridge.settings import load_settings

    settings = load_settings(config)
    with _engine_of(settings, engine, worker_logs) as workers, progress_bars() as progress:
        summary = evaluate_upgrade(settings, engine=workers, progress=progress)
    files = {"report": str(settings.report), "page": str(settings.report.with_suffix(".html"))}
    if as_json:
        print_json({"schema": "embridge.evaluation/1"} | summary.headline() | files)
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
        print_json(result.to_dict() | files)
        return
    if result.nearest:
        columns, rows = result.table()
        print_table(columns, rows, title="Held-out items")
    print_lines(result.sentence, *(f"{what:8} {path}" for what, path in files.items() if path))
    if result.advice:
        print_lines("", *result.advice)


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
            print_json(comparison.to_dict())
        else:
            print_comparison(comparison, markdown=markdown)
        return
    if items is not None and page is None:
        raise SettingsError("--items FOLDER holds the pictures of a page; name the page with --page FILE")
    summary = show_report(file, page=page, items=items)
    if as_json:
        print_json(summary_to_dict(summary))
    elif markdown:
        from embridge.evaluation.render.markdown import report_markdown

        typer.echo(report_markdown(summary))
    else:
        print_summary(summary)
