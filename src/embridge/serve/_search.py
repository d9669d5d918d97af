"""``/search``, ``/items`` and ``/state``: the store as the rollout stands."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

import numpy as np
from fastapi import APIRouter, Request
from pydantic import Field, field_validator, model_validator
from starlette.convertors import Convertor, register_url_convertor

from embridge.embeddings import Embeddings
from embridge.encoders.base import Modality
from embridge.errors import InvalidInput, SpaceMismatch
from embridge.rollout.gallery import Answer
from embridge.serve._bodies import Body, described, read_body, require_text
from embridge.serve._errors import Refusal
from embridge.serve._galleries import Galleries, Question, Side, new_draw
from embridge.serve._images import Pictures
from embridge.serve._metrics import Metrics
from embridge.serve._models import ServedModel
from embridge.settings.serve import LimitSettings
from embridge.stores import Condition

__all__ = ["ItemsRequest", "SearchRequest", "search_routes"]

_NUMBERS = 65_536  # of a vector
_VALUES = 10_000  # of a condition
_TRIES = 10  # a rollout moves on between a query's encoding and its search, but not again and again


class _Condition(Body):
    column: str
    operator: Literal["==", "!=", "<", "<=", ">", ">=", "in"] = "=="
    value: str | bool | int | float | list[str | bool | int | float]

    @field_validator("value", mode="before")
    @classmethod
    def _is_plain(cls, value: Any) -> Any:
        if not all(
            isinstance(one, str | bool | int | float) for one in (value if isinstance(value, list) else [value])
        ):
            raise ValueError("expected texts, numbers, true or false")
        if isinstance(value, list) and len(value) > _VALUES:
            raise ValueError(f"at most {_VALUES:,} values, came {len(value):,}")
        return value

    def condition(self) -> Condition:
        return Condition(self.column, self.operator, tuple(self.value) if isinstance(self.value, list) else self.value)


class SearchRequest(Body):
    """One query.

    Attributes:
        text: What is looked for, or
        image: a data URL, or
        vector: numbers of the model that answers, or
        id: an item, for those most like it.
        k: How many hits.
        filter: Conditions on the payload, all of which hold.
        client: Whether who asks knows of the new model.
        user: By whom the canary decides, so that one user sees one thing.

    Examples:
        >>> SearchRequest(text="a cat").k
        10
    """

    text: str | None = None
    image: str | None = None
    vector: list[float] | None = Field(None, fail_fast=True)
    id: str | None = Field(None, min_length=1)
    k: int = Field(10, ge=1)
    filter: list[_Condition] = Field(default_factory=list, max_length=32, fail_fast=True)
    client: Side = "new"
    user: str | None = None

    @model_validator(mode="after")
    def _has_one(self) -> SearchRequest:
        if sum(value is not None for value in (self.text, self.image, self.vector, self.id)) != 1:
            raise ValueError("expected one of text, image, vector and id")
        return self


class _Item(Body):
    id: str = Field(min_length=1)
    text: str | None = None
    image: str | None = None
    payload: dict[str, str | bool | int | float | None] = Field(default_factory=dict)

    @field_validator("payload", mode="before")
    @classmethod
    def _is_plain(cls, values: Any) -> Any:
        for name, value in values.items() if isinstance(values, dict) else ():
            if not isinstance(value, str | bool | int | float | None):
                raise ValueError(f"{name[:80]}: expected a text, a number, true, false or null")
        return values


class ItemsRequest(Body):
    """Items to write, all texts or all images.

    Attributes:
        items: Each with its id, a text or an image as a data URL, and its payload.

    Examples:
        >>> len(ItemsRequest(items=[{"id": "1", "text": "a cat"}]).items)
        1
    """

    items: list[_Item] = Field(min_length=1, fail_fast=True)


def search_routes(
    galleries: Galleries,
    models: Mapping[Side, ServedModel],
    limits: LimitSettings,
    metrics: Metrics,
    pictures: Pictures,
) -> APIRouter:
    """The routes of searches and writes.

    Args:
        galleries: The store.
        models: The encoders' own models by side.
        limits: Up to what a request is answered.
        metrics: Where queries are counted.
        pictures: Those of all requests.

    Returns:
        The routes.

    Examples:
        >>> search_routes.__name__
        'search_routes'
    """
    routes = APIRouter(tags=["store"])
    _add_writes(routes, galleries, limits, pictures)

    @routes.post("/search", openapi_extra=described(SearchRequest))
    async def search(request: Request) -> dict[str, Any]:
        """The k best items, as the rollout stands."""
        body = await read_body(request, SearchRequest, {"vector": _NUMBERS})
        if body.k > limits.hits:
            raise Refusal(400, f"k: at most {limits.hits:,}, came {body.k:,}", param="k")
        conditions = tuple(one.condition() for one in body.filter)
        if body.text is not None:
            require_text(body.text, "text", limits.characters, param="text")
        question = Question(body.k, conditions, body.client, _draw(body.user))
        if body.id is not None:
            answer, payload = await galleries.run(galleries.by_item, body.id, question)
        else:
            async with pictures.decoded(*_query(body)) as items:
                answer, payload = await _answered(galleries, models, body, question, items)
        metrics.count_searches(answer.served, 1)
        return _hits(answer, payload)

    @routes.get("/state")
    async def state() -> dict[str, Any]:
        """Where the rollout stands; its phase is null before it begins."""
        found = await galleries.run(galleries.state)
        return {"phase": None} if found is None else found.to_dict()

    return routes


def _add_writes(routes: APIRouter, galleries: Galleries, limits: LimitSettings, pictures: Pictures) -> None:
    @routes.post("/items", openapi_extra=described(ItemsRequest))
    async def write(request: Request) -> dict[str, Any]:
        """Write items, with the rows that the state of the rollout asks for."""
        body = await read_body(request, ItemsRequest, {"items": limits.inputs})
        modality, given = _items(body.items, limits)
        names = {name for one in body.items for name in one.payload}
        payload = {name: [one.payload.get(name) for one in body.items] for name in sorted(names)}
        ids = [one.id for one in body.items]
        async with pictures.decoded(modality, given) as items:
            await galleries.run(galleries.write, ids, items, payload, modality)
        return {"written": len(ids)}

    register_url_convertor("item", _ItemConvertor())

    @routes.delete("/items/{name:item}")
    async def delete(name: str, request: Request) -> dict[str, Any]:
        """Delete an item; one that is not there changes nothing."""
        _require_utf8(request.scope["raw_path"])
        await galleries.run(galleries.delete, [name])
        return {"deleted": name}


class _ItemConvertor(Convertor[str]):
    """An id in an address: any characters, slashes and ends of lines among them, but not none."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def _require_utf8(path: bytes) -> None:
    """Refuse an id whose bytes would be replaced by others, and so be that of another item."""
    try:
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise Refusal(400, "the id in the address is no UTF-8", param="id") from error


async def _answered(
    galleries: Galleries,
    models: Mapping[Side, ServedModel],
    body: SearchRequest,
    question: Question,
    items: Sequence[Any],
) -> tuple[Answer, dict[str, list[Any]]]:
    """The answer by the model whose turn it is, which may have changed when the query is encoded."""
    for tried in range(_TRIES):
        side = await galleries.run(galleries.side, question)
        vectors = await _vectors(models, side, body, items)
        try:
            return await galleries.run(galleries.search, vectors, question)
        except SpaceMismatch:
            if body.vector is not None or tried + 1 == _TRIES:
                raise
    raise AssertionError("unreachable")  # pragma: no cover


async def _vectors(
    models: Mapping[Side, ServedModel], side: Side, body: SearchRequest, items: Sequence[Any]
) -> Embeddings:
    model = models.get(side)
    if model is None:
        raise InvalidInput(f"the {side} model answers now, and is not served here; name it in the settings")
    if body.vector is not None:
        if len(body.vector) != model.source.dim:
            raise InvalidInput(
                f"the {side} model answers now, whose vectors have {model.source.dim} numbers; came {len(body.vector)}"
            )
        with np.errstate(over="ignore"):  # what is beyond float32 is infinite, and refused
            numbers = np.array([body.vector]).astype(np.float32)
        return Embeddings.of(numbers, model.source)
    return await model.encoded(items, _query(body)[0], "query")


def _query(body: SearchRequest) -> tuple[Modality, list[str]]:
    """What a model has to encode; nothing where the query is a vector."""
    if body.image is not None:
        return "image", [body.image]
    return "text", [] if body.text is None else [body.text]


def _items(items: Sequence[_Item], limits: LimitSettings) -> tuple[Modality, list[Any]]:
    kinds = {(one.text is not None, one.image is not None) for one in items}
    if len(kinds) != 1 or next(iter(kinds)) not in ((True, False), (False, True)):
        raise Refusal(400, "items: expected either a text for each or an image for each", param="items")
    if items[0].image is None:
        for row, one in enumerate(items):
            require_text(one.text, f"items {row}", limits.characters, param="items")
        return "text", [str(one.text) for one in items]
    return "image", [str(one.image) for one in items]


def _draw(user: str | None) -> float:
    """By a user's name always the same number."""
    if user is None:
        return new_draw()
    return int.from_bytes(hashlib.sha256(user.encode()).digest()[:6], "big") / 2**48


def _hits(answer: Answer, payload: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    ids = answer.hits.ids[0]
    hits = [
        {"id": name, "score": float(score), "payload": {column: values[row] for column, values in payload.items()}}
        for row, (name, score) in enumerate(zip(ids, answer.hits.scores[0], strict=False))
    ]
    return {"hits": hits, "served": answer.served, "version": answer.version}
