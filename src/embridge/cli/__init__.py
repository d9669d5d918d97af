"""The command line: every command speaks for a job of `embridge.jobs`."""

from embridge.cli._commands import app, main

__all__ = ["app", "main"]
