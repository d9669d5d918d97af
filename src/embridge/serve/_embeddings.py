"""``/v1/embeddings`` and ``/v1/models``, as OpenAI's clients speak them."""

from __future__ import annotations

import asyncio
import binascii
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import Field, field_validator

from embridge.encoders.base import Modality, Role
from embridge.serve._bodies import Body, are_plain_texts, described, read_body, require_text
from embridge.serve._errors import Refusal
from embridge.serve._images import Pictures
from embridge.serve._metrics import Metrics
from embridge.serve._models import ServedModel, UnknownModel
from embridge.serve._tokens import are_tokens, text_of_tokens
from embridge.settings.serve import LimitSettings

__all__ = ["EmbeddingsRequest", "embeddings_routes"]

_RAW = "application/octet-stream"
_PART = 65_536  # numbers that are written at once


class EmbeddingsRequest(Body):
    """What OpenAI's clients send, with what others add for images and roles.

    Attributes:
        model: The name of a model; see ``/v1/models``.
        input: A text or several, or their tokens; data URLs where the modality is image.
        encoding_format: How vectors come: lists of numbers, or base64 of float32, little-endian.
        dimensions: The model's own, or left out.
        user: Passed over.
        modality: What the input is.
        input_type: What it is for, where the model's name does not say it.
        messages: One message with one text or one image, in place of the input.

    Examples:
        >>> EmbeddingsRequest(model="mini", input="a cat").encoding_format
        'float'
    """

    model: str
    input: str | list[Any] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None
    modality: Modality | None = None
    input_type: Role = "document"
    messages: list[dict[str, Any]] | None = Field(None, max_length=1, fail_fast=True)

    @field_validator("input", mode="before")
    @classmethod
    def _is_text_or_list(cls, value: Any) -> Any:
        if not isinstance(value, str | list | None):
            raise ValueError(f"expected a text or a list of texts, came {type(value).__name__}")
        return value


class _DirectRoute(APIRoute):
    """A route whose endpoint reads all of its request itself, so that nothing has to be found out for it."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        return self.endpoint


def embeddings_routes(
    models: Mapping[str, ServedModel], limits: LimitSettings, metrics: Metrics, pictures: Pictures
) -> APIRouter:
    """The routes of the embeddings API.

    Args:
        models: By name.
        limits: Up to what a request is answered.
        metrics: Where requests are counted.
        pictures: Those of all requests.

    Returns:
        The routes.

    Examples:
        >>> from embridge.serve._metrics import Metrics
        >>> limits = LimitSettings()
        >>> len(embeddings_routes({}, limits, Metrics(), Pictures(limits)).routes)
        3
    """
    routes = APIRouter(prefix="/v1", tags=["embeddings"])

    async def embeddings(request: Request) -> Response:
        """Vectors of texts or images. With ``Accept: application/octet-stream`` as raw float32 [n, d], little-endian."""
        body = await read_body(request, EmbeddingsRequest)
        began = time.perf_counter()
        model = _model(models, body.model)
        modality, given = _items(body, limits)
        _require_dimensions(model, body.dimensions)
        async with pictures.decoded(modality, given) as items:
            vectors = await model.vectors(items, modality, body.input_type)
        metrics.count_embeddings(model.name, modality, len(vectors), time.perf_counter() - began)
        rows = np.ascontiguousarray(vectors, dtype="<f4")
        if _RAW in request.headers.get("accept", ""):
            shape = {"embridge-rows": str(len(rows)), "embridge-dim": str(model.space.dim)}
            return Response(rows.data.cast("B"), media_type=_RAW, headers=shape)
        return Response(await _answer(rows, model.name, body.encoding_format), media_type="application/json")

    routes.add_api_route(
        "/embeddings",
        embeddings,
        methods=["POST"],
        response_class=Response,
        openapi_extra=described(EmbeddingsRequest),
        route_class_override=_DirectRoute,
    )

    @routes.get("/models")
    def list_models() -> dict[str, Any]:
        """The models that are served."""
        return {"object": "list", "data": [_described(model) for model in models.values()]}

    @routes.get("/models/{name:path}")
    def one_model(name: str) -> dict[str, Any]:
        """One of them."""
        return _described(_model(models, name))

    return routes


def _require_dimensions(model: ServedModel, dimensions: int | None) -> None:
    if dimensions not in (None, model.space.dim):
        raise Refusal(
            400, f"{model.name} has {model.space.dim} dimensions, and takes no other number", param="dimensions"
        )


def _model(models: Mapping[str, ServedModel], name: str) -> ServedModel:
    if name not in models:
        known = ", ".join(model.name for model in models.values() if model.role is None)
        raise UnknownModel(f"the model {name[:80]!r} is not served here; there are {known}")
    return models[name]


def _described(model: ServedModel) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "embridge",
        "description": model.description,
        "space": model.space.id,
        "dimensions": model.space.dim,
        "modalities": sorted(model.modalities),
        "role": model.role,
    }


def _items(body: EmbeddingsRequest, limits: LimitSettings) -> tuple[Modality, list[Any]]:
    """What is to be encoded, checked; images as their data URLs."""
    if (body.input is None) == (body.messages is None):
        raise Refusal(400, "expected either input or messages", param="input")
    if body.messages is not None:
        return _of_message(body.messages, limits)
    one = isinstance(body.input, str) or (body.input and are_tokens(body.input))
    given: list[Any] = [body.input] if one else list(body.input or ())
    if not given:
        raise Refusal(400, "input: expected a text at least, came none", param="input")
    if len(given) > limits.inputs:
        raise Refusal(400, f"input: at most {limits.inputs:,} at once, came {len(given):,}", param="input")
    if body.modality == "image":
        return "image", [_text(one) for one in given]
    if are_plain_texts(given, limits.characters):
        return "text", given
    texts = [text_of_tokens(text) if are_tokens(text) else text for text in given]
    for row, text in enumerate(texts):
        require_text(text, f"input {row}", limits.characters, param="input")
    return "text", texts


def _of_message(messages: list[dict[str, Any]], limits: LimitSettings) -> tuple[Modality, list[Any]]:
    """One text or one image, in the way that chat clients write it."""
    content = messages[0].get("content") if messages else None
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or len(parts) != 1 or not isinstance(parts[0], dict):
        raise Refusal(400, "messages: expected one message with one part, a text or an image_url", param="messages")
    part = parts[0]
    if part.get("type") == "image_url":
        url = part.get("image_url")
        url = url.get("url") if isinstance(url, dict) else url
        return "image", [_text(url)]
    require_text(part.get("text"), "messages", limits.characters, param="messages")
    return "text", [part["text"]]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Refusal(400, f"input: an image is a data URL, came {type(value).__name__}", param="input")
    return value


async def _answer(rows: np.ndarray, model: str, encoding: str) -> bytes:
    """OpenAI's list of embeddings. Nobody is billed, and encoders do not count tokens, so the usage is 0.

    It is written in parts, between which other requests get their turn.
    """
    step, written = max(1, _PART // rows.shape[1]), _coded if encoding == "base64" else _listed
    parts = [b'{"object":"list","data":[']
    for index, row in enumerate(rows):
        if index and index % step == 0:
            await asyncio.sleep(0)
        between = b"," if index else b""
        parts.append(b'%s{"object":"embedding","index":%d,"embedding":%s}' % (between, index, written(row)))
    end = orjson.dumps({"model": model, "usage": {"prompt_tokens": 0, "total_tokens": 0}})
    return b"".join([*parts, b"],", end[1:]])


def _coded(row: np.ndarray) -> bytes:
    return b'"%s"' % binascii.b2a_base64(row.data, newline=False)


def _listed(row: np.ndarray) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)
