"""Errors as OpenAI's clients read them: a status and one JSON object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from embridge._plain_text import one_line
from embridge.errors import EmbridgeError, GateRefused, InvalidInput, ServiceError, SpaceMismatch, StoreError
from embridge.serve._batching import Busy, TooLong
from embridge.serve._models import UnknownModel
from embridge.stores.urls import without_passwords

__all__ = ["Refusal", "error_body", "refusal_of"]

_LONGEST = 500
_KINDS: tuple[tuple[type[Exception], int, str], ...] = (
    (UnknownModel, 404, "model_not_found"),
    (TooLong, 400, "context_length_exceeded"),
    (Busy, 503, "overloaded"),
    (SpaceMismatch, 409, "space_mismatch"),
    (GateRefused, 409, "gate_refused"),
    (InvalidInput, 400, "invalid_value"),
    (ServiceError, 502, "upstream_failed"),
    (StoreError, 503, "store_unavailable"),
    (EmbridgeError, 500, "failed"),
)


class Refusal(Exception):
    """A request that is not answered as it stands.

    Attributes:
        status: Of HTTP.
        kind: OpenAI's ``type``.
        code: OpenAI's ``code``.
        param: The part of the request that is wrong; None where it is no part.
        headers: More headers of the answer.

    Examples:
        >>> Refusal(404, "there is no such page").status
        404
    """

    def __init__(
        self, status: int, message: str, *, code: str = "invalid_value", param: str | None = None, **headers: str
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param
        self.kind = "server_error" if status >= 500 else "invalid_request_error"
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def refusal_of(error: Exception) -> Refusal:
    """What a request is told of an error; of an unforeseen one, nothing but that it happened."""
    if isinstance(error, Refusal):
        return error
    for kind, status, code in _KINDS:
        if isinstance(error, kind):
            headers = {"Retry_After": "1"} if status == 503 else {}
            return Refusal(status, str(error), code=code, **headers)
    return Refusal(500, "the server failed on this request; its log says where", code="failed")


def error_body(refusal: Refusal) -> bytes:
    """The JSON of a refusal, without passwords and in one line.

    >>> error_body(Refusal(400, "no input", param="input"))
    b'{"error": {"message": "no input", "type": "invalid_request_error", "param": "input", "code": "invalid_value"}}'
    """
    message = one_line(without_passwords(str(refusal)))[:_LONGEST]
    error: Mapping[str, Any] = {
        "message": message,
        "type": refusal.kind,
        "param": refusal.param,
        "code": refusal.code,
    }
    return json.dumps({"error": error}).encode()
