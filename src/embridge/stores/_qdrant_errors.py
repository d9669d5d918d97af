"""What Qdrant's client raises, in one line."""

from __future__ import annotations

import json

from embridge.stores.urls import without_passwords

__all__ = ["is_broken", "message", "reason"]

_SHOWN = 300


def message(error: Exception, where: str, *, remote: bool, secret: str) -> str:
    """What went wrong, and what to do, in one line without passwords."""
    status = getattr(error, "status_code", None)
    cause = reason(error)
    if secret:
        cause = cause.replace(secret, "***")
    cause = without_passwords(cause)[:_SHOWN]
    if status in (401, 403):
        return f"{where} refuses: {cause}; set QDRANT_API_KEY to a key that may do this"
    if status is not None:
        return f"{where} answers {status}: {cause}"
    if is_broken(error) or _is_late(error):
        return f"{where} cannot be reached: {cause}; is the server running, and is the address right?"
    if remote and isinstance(getattr(error, "source", error), ValueError):
        return f"{where} does not answer as Qdrant does ({cause}); is it another service?"
    return f"{where}: {cause}"


def is_broken(error: Exception) -> bool:
    """Whether a connection broke, or there was none, so that a new one may hold."""
    source = getattr(error, "source", None)
    return (
        type(error).__name__ == "ResponseHandlingException"
        and not isinstance(source, ValueError)
        and not _is_late(error)
    )


def _is_late(error: Exception) -> bool:
    return "Timeout" in type(getattr(error, "source", error)).__name__


def reason(error: Exception) -> str:
    """What went wrong, in one line."""
    content = getattr(error, "content", b"")
    try:
        status = json.loads(content)["status"]
        text = status["error"] if isinstance(status, dict) else str(status)
    except (ValueError, TypeError, KeyError):
        text = content.decode(errors="replace") if isinstance(content, bytes) and content else str(error)
        text = text or type(error).__name__
    return " ".join(str(text).split())
