"""The command line: every command speaks for a job of `embridge.jobs`."""

from embridge.cli import _commands, _rollout_commands, _serve_commands, _store_commands, _transfer_commands
from embridge.cli._app import app, main

__all__ = ["app", "main"]

_JOINED = (
    _commands,
    _store_commands,
    _transfer_commands,
    _rollout_commands,
    _serve_commands,
)  # the modules whose commands the application has
