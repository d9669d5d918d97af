"""The command that serves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embridge.cli._app import app
from embridge.errors import require

__all__: list[str] = []


@app.command()
def serve(
    settings: Annotated[Path, typer.Argument(help="The file that says what is served.", show_default=False)],
    host: Annotated[str | None, typer.Option(help="Where it listens, in place of the file's.")] = None,
    port: Annotated[int | None, typer.Option(help="The port, in place of the file's.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes, in place of the file's.")] = None,
) -> None:
    """Serve embeddings, searches and writes over HTTP, in OpenAI's shape. Ctrl-C stops it."""
    require("fastapi", extra="serve")
    require("uvicorn", extra="serve")
    from embridge.cli._terminal import print_lines
    from embridge.serve.opened import open_served
    from embridge.serve.server import run, take_address
    from embridge.settings.serve import load_serve_settings

    named, sockets = take_address(load_serve_settings(settings, host=host, port=port, workers=workers))
    opened = open_served(named)
    print_lines(*opened.lines())
    run(opened, sockets)
