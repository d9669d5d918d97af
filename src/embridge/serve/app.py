"""The application: routes, errors, and what stands before them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from embridge import __version__
from embridge.errors import EmbridgeError
from embridge.serve._bodies import schemas
from embridge.serve._dashboard._routes import Canary, Query, dashboard_routes
from embridge.serve._embeddings import EmbeddingsRequest, embeddings_routes
from embridge.serve._errors import Refusal, error_body, refusal_of
from embridge.serve._images import Pictures
from embridge.serve._limits import Entrance
from embridge.serve._metrics import Metrics
from embridge.serve._models import ServedModel
from embridge.serve._pages import page_routes
from embridge.serve._search import ItemsRequest, SearchRequest, search_routes
from embridge.serve.opened import Opened
from embridge.settings.serve import is_loopback

__all__ = ["create_app"]

_BODIES = (EmbeddingsRequest, SearchRequest, ItemsRequest, Query, Canary)
_log = logging.getLogger("embridge.serve")


def create_app(opened: Opened) -> Entrance:
    """The ASGI application of what was opened; it closes that when the server stops.

    Args:
        opened: Models, store and keys.

    Returns:
        The application, behind its keys and limits.

    Examples:
        >>> create_app.__name__
        'create_app'
    """
    metrics, limits = Metrics(), opened.settings.limits
    pictures = Pictures(limits)
    for side, batcher in opened.batchers.items():
        metrics.watch(side, partial(getattr, batcher, "depth"))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(opened.close)
        pictures.close()

    app = _Application(
        title="Embridge",
        version=__version__,
        description="A new embedding model, and the index of the old one.",
        lifespan=lifespan,
        docs_url=None,  # these load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # an address that is nearly right is told so, and nobody's body is sent twice
    )
    own = _own_models(opened)
    app.include_router(embeddings_routes(opened.models, limits, metrics, pictures))
    if opened.galleries is not None:
        app.include_router(search_routes(opened.galleries, own, limits, metrics, pictures))
    app.include_router(dashboard_routes(opened, own, metrics, pictures))
    app.include_router(page_routes(app, opened, metrics))
    _answer_errors(app)
    return Entrance(app, opened.keys, limits, metrics, local=is_loopback(opened.settings.host))


class _Application(FastAPI):
    """Its description has the bodies too, which the routes read themselves."""

    def openapi(self) -> dict[str, Any]:
        """See `FastAPI`."""
        described = super().openapi()
        described.setdefault("components", {}).setdefault("schemas", {}).update(schemas(_BODIES))
        return described


def _own_models(opened: Opened) -> dict[Any, ServedModel]:
    """By side, the model that encodes for it."""
    by_batcher = {id(batcher): side for side, batcher in opened.batchers.items()}
    return {by_batcher[id(model.batcher)]: model for model in reversed(opened.models.values()) if model.role is None}


def _answer_errors(app: FastAPI) -> None:
    async def refused(_: Request, error: Exception) -> Response:
        return _response(refusal_of(error))

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]  # of the address: bodies are read elsewhere
        where = ".".join(str(part) for part in first["loc"][1:])
        return _response(Refusal(400, f"{where}: {first['msg']}", param=where))

    async def missing(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = {404: "there is no such address here", 405: "this address does not take that method"}
        if error.status_code not in message:
            return _response(Refusal(error.status_code, str(error.detail)))
        headers = {name.replace("-", "_"): value for name, value in (error.headers or {}).items()}
        return _response(Refusal(error.status_code, message[error.status_code], code="no_route", **headers))

    async def gone(_: Request, __: Exception) -> Response:
        return Response(status_code=499)  # which nobody reads: the client went while it sent its body

    async def failed(request: Request, error: Exception) -> Response:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        _log.error(
            "%s failed: %s in %s, line %d", request.method, type(error).__name__, frame.filename, frame.lineno or 0
        )
        return _response(refusal_of(error))

    for kind, handler in ((Refusal, refused), (EmbridgeError, refused), (Exception, failed)):
        app.add_exception_handler(kind, handler)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, missing)
    app.add_exception_handler(ClientDisconnect, gone)


def _response(refusal: Refusal) -> Response:
    return Response(error_body(refusal), refusal.status, refusal.headers, "application/json")
