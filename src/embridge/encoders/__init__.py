"""Encoders, one provider a file; `load` finds them by name and imports only the one asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from embridge.encoders.base import Encoder, Modality, Role
from embridge.encoders.cached import CachedEncoder
from embridge.errors import SettingsError

__all__ = ["PROVIDERS", "CachedEncoder", "Encoder", "Modality", "Role", "load"]

PROVIDERS: dict[str, tuple[str, str]] = {
    "clip": ("embridge.encoders.clip", "ClipEncoder"),
    "http": ("embridge.encoders.http", "HttpEncoder"),
    "open_clip": ("embridge.encoders.open_clip", "OpenClipEncoder"),
    "sentence-transformers": ("embridge.encoders.sentence_transformers", "SentenceTransformerEncoder"),
    "trained": ("embridge.encoders.trained", "TrainedEncoder"),
}


def load(name: str, **options: Any) -> Encoder:
    """An encoder by its name, PROVIDER:MODEL.

    There are ``clip:FOLDER_OR_HUB_ID``, ``open_clip:FOLDER_OR_HUB_ID``, ``open_clip:ARCHITECTURE:TAG_OR_FILE``,
    ``sentence-transformers:FOLDER_OR_HUB_ID``, ``trained:FOLDER`` (of this library's own training) and ``http:MODEL@URL``.
    options go to the encoder's class (device, batch_size, revision, progress; see there). Raises `SettingsError` for an unknown
    provider and `MissingExtra` where its library is not installed.
    """
    provider, colon, model = name.partition(":")
    if not colon or not model or provider not in PROVIDERS:
        raise SettingsError(
            f"an encoder is named PROVIDER:MODEL with PROVIDER one of {', '.join(PROVIDERS)}; came {name!r}"
        )
    module, attribute = PROVIDERS[provider]
    encoder: Encoder = getattr(import_module(module), attribute)(model, **options)
    return encoder
