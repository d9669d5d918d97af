"""Health, readiness, metrics, and the page that lists the routes."""

from __future__ import annotations

import logging
from html import escape
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import HTMLResponse

from embridge._plain_text import one_line
from embridge.errors import EmbridgeError
from embridge.serve._errors import Refusal
from embridge.serve._metrics import Metrics
from embridge.serve.opened import Opened
from embridge.stores.urls import without_passwords

__all__ = ["page_routes"]

_log = logging.getLogger("embridge.serve")


def page_routes(app: FastAPI, opened: Opened, metrics: Metrics) -> APIRouter:
    """The routes that say how the server is.

    Args:
        app: Whose routes ``/docs`` lists.
        opened: What is served.
        metrics: What ``/metrics`` gives.

    Returns:
        The routes.

    Examples:
        >>> page_routes.__name__
        'page_routes'
    """
    routes = APIRouter()

    @routes.head("/health", include_in_schema=False)
    @routes.get("/health", tags=["state"])
    async def health() -> dict[str, str]:
        """The process lives: needs no thread, which requests may hold all."""
        return {"status": "ok"}

    @routes.head("/ready", include_in_schema=False)
    @routes.get("/ready", tags=["state"])
    async def ready() -> dict[str, str]:
        """Models are loaded, the store answers, and its rollout is this upgrade's; status 503 with the reason where not."""
        try:
            if opened.galleries is not None:
                await opened.galleries.run(opened.galleries.ping)
        except EmbridgeError as error:
            reason = str(error)
            if opened.keys.digests:  # who asks brings no key, and is not told where the store is
                _log.warning("not ready: %s", one_line(without_passwords(reason)))
                reason = "the store does not answer, or is not this upgrade's; the server's log says more"
            raise Refusal(503, reason, code="not_ready", Retry_After="1") from error
        return {"status": "ready"}

    @routes.get("/metrics", tags=["state"])
    def show_metrics() -> Response:
        """Counters and times, for Prometheus."""
        content, kind = metrics.text()
        return Response(content, media_type=kind)

    @routes.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(_docs_page(app.openapi()))

    @routes.get("/assets/plain.css", include_in_schema=False)
    def style() -> Response:
        return Response(files("embridge.serve").joinpath("plain.css").read_text("utf-8"), media_type="text/css")

    return routes


def _docs_page(schema: dict[str, Any]) -> str:
    """The routes with what they take, from the OpenAPI description."""
    rows = []
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            body = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            name = body.get("$ref", "").rpartition("/")[2]
            fields = schema.get("components", {}).get("schemas", {}).get(name, {}).get("properties", {})
            taken = ", ".join(f"<code>{escape(field)}</code>" for field in fields) or "–"
            about = escape(route.get("description", ""))
            rows.append(
                f"<tr><th><code>{method.upper()} {escape(path)}</code></th><td>{about}</td><td>{taken}</td></tr>"
            )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Embridge: routes</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/assets/plain.css">'
        "</head><body><main><h1>Routes</h1><p>The whole description is in <a href='/openapi.json'>openapi.json</a>.</p>"
        '<div class="wide"><table><thead><tr><th>route</th><th>what it does</th><th>body</th></tr></thead><tbody>'
        f"{''.join(rows)}</tbody></table></div></main></body></html>"
    )
