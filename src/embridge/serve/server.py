"""Running the application: one process or several, stopped without dropping what it is at."""

from __future__ import annotations

import ctypes
import logging
import os
import socket
import tempfile
from contextlib import suppress
from typing import Any

import uvicorn

from embridge.errors import ServiceError
from embridge.serve._connections import GuardedProtocol
from embridge.serve._limits import Entrance
from embridge.serve.app import create_app
from embridge.serve.opened import Opened, open_served
from embridge.settings.serve import ServeSettings

__all__ = ["application", "run", "take_address"]

_SETTINGS_VARIABLE = "EMBRIDGE_SERVE"
_ARENA_MAX = -8  # of glibc's malloc.h
_OTHER_FILES = 256  # of models, the store and the metrics


def take_address(settings: ServeSettings) -> tuple[ServeSettings, list[socket.socket]]:
    """Take the address that the settings name, before models are loaded for nothing.

    Args:
        settings: The settings.

    Returns:
        The settings with the port that was taken, and the sockets, one for each address of the host.

    Raises:
        ServiceError: The address is in use, or none of this machine.

    Examples:
        >>> settings, sockets = take_address(ServeSettings(upgrade="upgrade", port=0))
        >>> settings.port == sockets[0].getsockname()[1]
        True
        >>> sockets[0].close()
    """
    host, port, sockets = settings.host, settings.port, list[socket.socket]()
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(places):
            sockets.append(socket.socket(family, kind, protocol))
            sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sockets[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sockets[-1].bind((address[0], port, *address[2:]))
            port = sockets[-1].getsockname()[1]
    except OSError as error:
        for one in sockets:
            one.close()
        raise ServiceError(
            f"cannot listen on {host}, port {port}: {error.strerror}; name another with --port or --host"
        ) from error
    return settings.model_copy(update={"port": port}), sockets


def run(opened: Opened, sockets: list[socket.socket]) -> None:
    """Serve until a signal comes; then no new connection is taken, and what was begun is answered.

    Args:
        opened: What is served. With several workers it is closed, and each opens it for itself.
        sockets: Where, of `take_address`.

    Examples:
        >>> run.__name__
        'run'
    """
    settings = opened.settings
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    _keep_memory_together()
    _allow_files(settings.limits.connections + _OTHER_FILES)
    with suppress(KeyboardInterrupt):  # the signal that stopped it, sent on when all is answered
        if settings.workers == 1:
            uvicorn.Server(uvicorn.Config(create_app(opened), **_options(settings))).run(sockets)
            return
        opened.close()
        os.environ[_SETTINGS_VARIABLE] = settings.model_dump_json()
        with tempfile.TemporaryDirectory(prefix="embridge-metrics-") as folder:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
            for one in sockets:  # workers share what their parent binds
                one.close()
            options = _options(settings)
            uvicorn.run("embridge.serve.server:application", factory=True, workers=settings.workers, **options)


def _keep_memory_together() -> None:
    """Let all threads allocate from two places: glibc makes one for each of many, and every one keeps its gaps."""
    with suppress(OSError, AttributeError, TypeError):  # not on Windows, nor with another libc
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)


def _allow_files(count: int) -> None:
    """Let this process open as many files as connections may come, as far as the system lets it."""
    with suppress(ImportError, OSError, ValueError):  # not on Windows
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def application() -> Entrance:
    """The application of a worker, by the settings that its parent has put into the environment.

    Returns:
        The application.

    Examples:
        >>> application.__name__
        'application'
    """
    _keep_memory_together()
    return create_app(open_served(ServeSettings.model_validate_json(os.environ[_SETTINGS_VARIABLE])))


def _options(settings: ServeSettings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "http": GuardedProtocol,
        "ws": "none",
        "lifespan": "on",
        "timeout_graceful_shutdown": int(settings.limits.seconds) + 1,
        "access_log": False,  # its lines have ids of items in them; the metrics count requests
        "log_level": "error",  # what it warns of are clients' faults
        "server_header": False,
        "proxy_headers": False,
    }
