"""Running the application: one process or several, stopped without dropping what it is at."""

from __future__ import annotations

import logging
import os
import tempfile
from contextlib import suppress
from typing import Any

import uvicorn

from embridge.serve._connections import GuardedProtocol
from embridge.serve._limits import Entrance
from embridge.serve.app import create_app
from embridge.serve.opened import Opened, open_served
from embridge.settings.serve import ServeSettings

__all__ = ["application", "run"]

_SETTINGS_VARIABLE = "EMBRIDGE_SERVE"


def run(opened: Opened) -> None:
    """Serve until a signal comes; then no new connection is taken, and what was begun is answered.

    Args:
        opened: What is served. With several workers it is closed, and each opens it for itself.

    Examples:
        >>> run.__name__
        'run'
    """
    settings = opened.settings
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with suppress(KeyboardInterrupt):  # the signal that stopped it, sent on when all is answered
        if settings.workers == 1:
            uvicorn.Server(uvicorn.Config(create_app(opened), **_options(settings))).run()
            return
        opened.close()
        os.environ[_SETTINGS_VARIABLE] = settings.model_dump_json()
        with tempfile.TemporaryDirectory(prefix="embridge-metrics-") as folder:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
            options = _options(settings)
            uvicorn.run("embridge.serve.server:application", factory=True, workers=settings.workers, **options)


def application() -> Entrance:
    """The application of a worker, by the settings that its parent has put into the environment.

    Returns:
        The application.

    Examples:
        >>> application.__name__
        'application'
    """
    return create_app(open_served(ServeSettings.model_validate_json(os.environ[_SETTINGS_VARIABLE])))


def _options(settings: ServeSettings) -> dict[str, Any]:
    limits = settings.limits
    return {
        "host": settings.host,
        "port": settings.port,
        "http": GuardedProtocol,
        "ws": "none",
        "lifespan": "on",
        "limit_concurrency": limits.connections + 1,
        "timeout_graceful_shutdown": int(limits.seconds) + 1,
        "access_log": False,  # its lines have ids of items in them; the metrics count requests
        "log_level": "warning",
        "server_header": False,
        "proxy_headers": False,
    }
