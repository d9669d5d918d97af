"""The commands that take a live store through an upgrade."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embridge.cli._app import EngineName, Json, WorkerLogs, app, print_json
from embridge.errors import SettingsError, StoreError

if TYPE_CHECKING:
    from embridge.scale import Engine

__all__: list[str] = []

_UNCHANGED = "a dry run: nothing was changed"

DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")]
RolloutConfig = Annotated[Path, typer.Argument(help="The rollout's settings file.", show_default=False)]


@app.command()
def plan(
    settings: RolloutConfig,
    out: Annotated[Path, typer.Option(help="Where the plan is written.")] = Path("plan.json"),
    assume_rows: Annotated[
        float | None, typer.Option(help="Plan for so many rows, such as 1e9, in place of those that are there.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that encode side by side.")] = 1,
    as_json: Json = False,
) -> None:
    """Say what a rollout will do, how long it takes and what it costs. Changes nothing in the store."""
    from embridge.cli._terminal import progress_bars
    from embridge.jobs.rollout import plan_rollout
    from embridge.rollout.plan import write_plan

    with progress_bars() as progress:
        planned = plan_rollout(settings, assume_rows=_whole(assume_rows), workers=workers, progress=progress)
    write_plan(planned, out)
    _print_plan(planned, as_json, ["", f"plan  {out}", f"next  {planned.following.replace('PLAN', str(out))}"])


@app.command()
def apply(
    plan: Annotated[Path, typer.Argument(help="The plan's file.", show_default=False)],
    until: Annotated[
        str, typer.Option(help="shadow; bridged; a share of the gallery to encode, such as 0.3; or complete.")
    ] = "complete",
    again: Annotated[
        bool, typer.Option("--again", help="Begin anew after a rollback; without it, apply refuses.")
    ] = False,
    dry_run: DryRun = False,
    engine: EngineName = None,
    worker_logs: WorkerLogs = False,
    as_json: Json = False,
) -> None:
    """Take the store along a plan. Stopped or killed, it goes on where it was when it is called again."""
    from embridge.cli._terminal import print_lines, progress_bars
    from embridge.jobs.rollout import apply_plan, check_plan

    if dry_run:
        _print_plan(check_plan(plan, until=until, again=again), as_json, ["", _UNCHANGED])
        return
    with _engine_of(plan, engine, worker_logs) as workers, progress_bars() as progress:
        applied = apply_plan(plan, until=until, again=again, engine=workers, progress=progress)
    if as_json:
        print_json(applied.to_dict())
        return
    print_lines(applied.sentence)


@app.command()
def shadow(
    settings: RolloutConfig,
    queries: Annotated[
        Path | None, typer.Option(help="Ask the queries of this file both ways, in place of those of the settings.")
    ] = None,
    page: Annotated[Path | None, typer.Option(help="Write a page with the figures.")] = None,
    as_json: Json = False,
) -> None:
    """Ask queries with the old model and through the bridge, and say how far both agree. Nobody else sees it."""
    from embridge.cli._terminal import print_lines, print_table, progress_bars
    from embridge.jobs.rollout import shadow_rollout

    with progress_bars() as progress:
        result = shadow_rollout(settings, queries=queries, page=page, progress=progress)
    if as_json:
        print_json(result.to_dict())
        return
    for title, rows in result.tables():
        print_table(["", ""], rows, title=title)
    if not result.figures:
        print_lines("no query was compared yet; name a file with --queries, or embridge apply --until shadow")
    if page is not None:
        print_lines(f"page  {page}")


@app.command()
def status(
    settings: RolloutConfig,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every second, until it is complete or rolled back, or Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show where a rollout stands."""
    from embridge.cli._terminal import print_table
    from embridge.jobs.rollout import rollout_status

    if watch:
        from embridge.cli._watching import watch_status
        from embridge.jobs.rollout import watch_rollout

        watch_status(watch_rollout(settings), as_json=as_json)
        return
    found = rollout_status(settings)
    if as_json:
        print_json(found.to_dict())
    else:
        columns, rows = found.table()
        print_table(columns, rows)
    if found.fault:
        raise StoreError(found.fault)


@app.command()
def pause(settings: RolloutConfig, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Let a backfill stand still after its batch; queries are answered as before."""
    _moved(settings, "pause", dry_run, as_json)


@app.command()
def resume(settings: RolloutConfig, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Take a pause back; embridge apply goes on."""
    _moved(settings, "resume", dry_run, as_json)


@app.command()
def rollback(settings: RolloutConfig, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Answer everything with the old model again, at any moment before the old rows are dropped."""
    _moved(settings, "rollback", dry_run, as_json)


@app.command()
def complete(
    settings: RolloutConfig,
    drop_old: Annotated[bool, typer.Option("--drop-old", help="Delete the old vectors. There is no way back.")] = False,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over-name",
            help="Delete the old vectors, and give the new ones their column's name. Applications that read it by name get "
            "the new vectors. PostgreSQL alone.",
        ),
    ] = False,
    drop_unreadable: Annotated[
        bool,
        typer.Option("--drop-unreadable", help="Also where an item cannot be read, so that nothing is left of it."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """End a rollout whose backfill is done: delete the old vectors, which cannot be taken back."""
    from embridge.jobs.rollout import drop_old_rows, rows_to_drop

    if not (drop_old or take_over):
        raise SettingsError(
            "complete deletes the old vectors; say so with --drop-old. embridge apply leads to complete"
        )
    if take_over:
        _take_over_name(settings, drop_unreadable, dry_run, yes, as_json)
        return
    found = rows_to_drop(settings, drop_unreadable=drop_unreadable)
    assert found.state is not None
    unread = f", of which {found.state.bridged_rows:,} have no new one" if found.state.bridged_rows else ""
    what = f"{found.store}: delete {found.rows:,} old vectors, {found.place}{unread}? There is no way back."
    if dry_run:
        _print_state(found.state, as_json, [what.replace("?", ".", 1), _UNCHANGED])
        return
    if not (yes or found.state.old_dropped):
        _require_yes(what)
    _print_state(drop_old_rows(settings, drop_unreadable=drop_unreadable), as_json)


def _take_over_name(settings: Path, drop_unreadable: bool, dry_run: bool, yes: bool, as_json: bool) -> None:
    from embridge.cli._terminal import progress_bars
    from embridge.jobs.rollout import take_over_name

    state, place = take_over_name(settings, drop_unreadable=drop_unreadable, dry_run=True)
    what = f"delete the old vectors and write every row once more, until {place} holds the new vectors"
    if dry_run:
        _print_state(state, as_json, [f"{what}; there is no way back", _UNCHANGED])
        return
    if not (yes or state.old_dropped):
        _require_yes(f"{what}? There is no way back.")
    with progress_bars() as progress:
        state, _ = take_over_name(settings, drop_unreadable=drop_unreadable, progress=progress)
    _print_state(state, as_json)


def _require_yes(question: str) -> None:
    try:
        typer.confirm(question, abort=True, err=True)
    except typer.Abort as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        if isinstance(error.__context__, EOFError):
            typer.echo("", err=True)  # the question has no end of its line
            raise SettingsError("nobody is there to answer; say --yes") from None
        raise


@contextmanager
def _engine_of(plan: Path, name: str | None, logs: bool) -> Iterator[Engine | None]:
    """The engine that the command line names; None where the settings say all."""
    if name is None and not logs:
        yield None
        return
    from embridge.rollout.plan import read_plan
    from embridge.settings.rollout import load_rollout_settings

    with load_rollout_settings(read_plan(plan).settings).engine.opened(name, logs=logs) as engine:
        yield engine


def _whole(rows: float | None) -> int | None:
    if rows is not None and (not math.isfinite(rows) or rows != int(rows) or rows < 1):
        raise SettingsError(f"--assume-rows is a whole number from 1 on, such as 1e9; came {rows:g}")
    return None if rows is None else int(rows)


def _moved(settings: Path, move: str, dry_run: bool, as_json: bool) -> None:
    from embridge.jobs.rollout import change_phase

    _print_state(change_phase(settings, move, dry_run=dry_run), as_json, [_UNCHANGED] if dry_run else [])


def _print_plan(planned: Any, as_json: bool, lines: list[str]) -> None:
    if as_json:
        print_json(planned.to_dict())
        return
    from embridge.cli._terminal import print_lines, print_table

    columns, rows = planned.table()
    print_table(columns, rows, title=planned.store)
    print_lines(*lines)


def _print_state(state: Any, as_json: bool, lines: list[str] | None = None) -> None:
    if as_json:
        print_json(state.to_dict())
        return
    from embridge.cli._terminal import print_lines

    words = f"{state.phase}{', paused' if state.paused else ''}{', old rows dropped' if state.old_dropped else ''}"
    print_lines(words, *(lines or []))
