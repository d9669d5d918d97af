"""The routes of the dashboard: the page, what it refreshes itself with, its search, and its buttons."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import Field, model_validator

from embridge.encoders.base import Modality
from embridge.errors import EmbridgeError
from embridge.evaluation.render._style import BASE, REPORT
from embridge.jobs.rollout import move_canary, move_phase
from embridge.rollout.lease import this_process
from embridge.rollout.state import RolloutState
from embridge.serve._bodies import Body, described, read_body, require_text
from embridge.serve._dashboard._comparison import compare, vectors_of
from embridge.serve._dashboard._looks import Looks, opened_rollout, rollout_settings
from embridge.serve._dashboard._page import dashboard_page
from embridge.serve._dashboard._parts import comparison_part, parts_of
from embridge.serve._dashboard._times import route_times, searches_by_answer
from embridge.serve._dashboard._words import advice_of, possible_moves
from embridge.serve._errors import Refusal
from embridge.serve._images import Pictures
from embridge.serve._metrics import Metrics
from embridge.serve._models import ServedModel
from embridge.serve.opened import Opened
from embridge.stores import Store

__all__ = ["Canary", "Query", "dashboard_routes"]

_PRIVATE = {"cache-control": "no-store"}
_MOST_HITS, _REASONS = 20, 20


class Query(Body):
    """A query to ask three ways: a text, or an image as a data URL."""

    text: str | None = None
    image: str | None = None
    k: int = Field(5, ge=1, le=_MOST_HITS)

    @model_validator(mode="after")
    def _has_one(self) -> Query:
        if (self.text is None) == (self.image is None):
            raise ValueError("expected a text or an image")
        return self


class Canary(Body):
    """The share of new clients' queries that the new model answers."""

    share: float = Field(gt=0, le=1)


def dashboard_routes(
    opened: Opened, models: Mapping[Any, ServedModel], metrics: Metrics, pictures: Pictures
) -> APIRouter:
    """The routes of the dashboard.

    Args:
        opened: What is served.
        models: The encoders' own models by side.
        metrics: Of this server.
        pictures: Those of all requests.

    Returns:
        The routes.
    """
    routes, looks = APIRouter(), Looks(opened)
    _add_page(routes, opened, models, looks, metrics)
    _add_assets(routes)
    if opened.galleries is not None:
        _add_search(routes, opened, models, pictures)
        _add_moves(routes, opened, looks)
    return routes


def _add_page(
    routes: APIRouter, opened: Opened, models: Mapping[Any, ServedModel], looks: Looks, metrics: Metrics
) -> None:
    keyed, followed = bool(opened.keys.digests), opened.galleries is not None
    operated = bool(opened.operator_keys.digests) and opened.settings.rollout is not None
    pictures = any("image" in model.modalities for model in models.values())

    @routes.get("/", include_in_schema=False)
    def page() -> HTMLResponse:
        try:
            data = None if keyed else _data(opened, looks, metrics)
        except EmbridgeError:  # the page asks again, and says so
            data = None
        html = dashboard_page(data, keyed=keyed, operated=operated, followed=followed, pictures=pictures)
        return HTMLResponse(html, headers=_PRIVATE)

    @routes.get("/dashboard.json", tags=["state"])
    def figures() -> JSONResponse:
        """What the dashboard shows: the rollout's status, its pace, gates and times; parts of the page as HTML."""
        return JSONResponse(_data(opened, looks, metrics), headers=_PRIVATE)


def _data(opened: Opened, looks: Looks, metrics: Metrics) -> dict[str, Any]:
    look, registry = looks.now(), metrics.registry()
    times, searches, advice = route_times(registry), searches_by_answer(registry), advice_of(look)
    status = None if look.status is None else look.status.to_dict()
    if status is not None:
        reasons = status["failures"]["reasons"]
        status["failures"]["reasons"] = dict(list(reasons.items())[:_REASONS])
    return {
        "schema": "embridge.dashboard/1",
        "title": advice.title,
        "status": status,
        "rows_per_second": look.rows_per_second,
        "seconds_left": look.seconds_left,
        "holder": look.holder,
        "gates": [gate.to_dict() for gate in look.required.gates],
        "times": [
            {"route": one.route, "requests": one.requests, "failed": one.failed}
            | {"seconds": {"median": one.median_seconds, "p95": one.p95_seconds}}
            for one in times
        ],
        "searches": searches,
        "moves": possible_moves(None if look.status is None else look.status.state),
        "parts": parts_of(look, advice, opened.models, times, searches),
    }


def _add_assets(routes: APIRouter) -> None:
    own = files("embridge.serve._dashboard")
    style, script = (own.joinpath(f"dashboard.{kind}").read_text("utf-8") for kind in ("css", "js"))

    @routes.get("/assets/dashboard.css", include_in_schema=False)
    def style_sheet() -> Response:
        return Response(BASE + REPORT + style, media_type="text/css")

    @routes.get("/assets/dashboard.js", include_in_schema=False)
    def program() -> Response:
        return Response(script, media_type="text/javascript")


def _add_search(routes: APIRouter, opened: Opened, models: Mapping[Any, ServedModel], pictures: Pictures) -> None:
    galleries, limits = opened.galleries, opened.settings.limits
    assert galleries is not None

    @routes.post("/dashboard/search", tags=["store"], openapi_extra=described(Query))
    async def search(request: Request) -> JSONResponse:
        """One query by the old model, through the bridge, and by the new model, whatever the state of the rollout."""
        body = await read_body(request, Query)
        if body.text is not None:
            require_text(body.text, "text", limits.characters, param="text")
        modality: Modality = "text" if body.image is None else "image"
        async with pictures.decoded(modality, [body.text if body.image is None else body.image]) as items:
            vectors = await vectors_of(models, modality, items[0])
        found = await galleries.run(galleries.with_store, lambda store: compare(opened, store, vectors, body.k))
        return JSONResponse(found.to_dict() | {"html": comparison_part(found)}, headers=_PRIVATE)


def _add_moves(routes: APIRouter, opened: Opened, looks: Looks) -> None:
    galleries = opened.galleries
    assert galleries is not None

    def operator(request: Request) -> str:
        """Who asks, for the journal; refused without an operator's key."""
        return _operator(opened, request.headers.get("embridge-operator-key"))

    async def moved(move: Any) -> dict[str, Any]:
        state: RolloutState = await galleries.run(galleries.with_store, move)
        looks.forget()
        return state.to_dict()

    @routes.post("/rollout/canary", tags=["rollout"], openapi_extra=described(Canary))
    async def canary(request: Request, by: str = Depends(operator)) -> dict[str, Any]:
        """Change the share of new clients' queries that the new model answers; gates have to hold where it rises."""
        body = await read_body(request, Canary)
        settings = rollout_settings(opened)
        return await moved(lambda store: move_canary(opened_rollout(opened, store, settings), body.share, by=by))

    @routes.post("/rollout/{move}", tags=["rollout"])
    async def phase(move: Literal["pause", "resume", "rollback"], by: str = Depends(operator)) -> dict[str, Any]:
        """Pause the backfill, let it go on, or go back to the old model."""

        def change(store: Store) -> RolloutState:
            return move_phase(opened_rollout(opened, store), move, by=by)

        return await moved(change)


def _operator(opened: Opened, key: str | None) -> str:
    if not opened.operator_keys.digests or opened.settings.rollout is None:
        raise Refusal(
            403,
            "nobody moves the rollout from here: name a file of keys in operator_keys, and the rollout's settings in rollout",
            code="no_operators",
        )
    number = opened.operator_keys.number(key or "")
    if not number:
        came = "a wrong one" if key else "none"
        raise Refusal(
            401,
            f"this wants an operator's key, in the header Embridge-Operator-Key; came {came}",
            code="invalid_operator_key",
        )
    return f"operator key {number} at {this_process()}"
