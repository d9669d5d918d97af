"""The application that the commands join: how it ends, warns and prints JSON."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import sys
import warnings
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from embridge import __version__
from embridge._plain_text import one_line
from embridge.cli._endings import endings

__all__ = ["EngineName", "Json", "WorkerLogs", "app", "main", "print_json"]


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
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="Who works: local, local:N for N processes, ray:local or ray:ADDRESS; as the settings say by default.",
        show_default=False,
    ),
]
WorkerLogs = Annotated[bool, typer.Option("--worker-logs", help="Show what workers print.")]


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


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the terminal's encoding lacks is written out
    with contextlib.suppress(RuntimeError, ValueError):  # there may be no stderr
        faulthandler.enable()  # a crash of native code says where, not nothing
    app()


def print_json(value: Any) -> None:
    """A result as JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, default=str))
