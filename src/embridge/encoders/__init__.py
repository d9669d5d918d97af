"""Encoders, one provider a file; `load` finds them by name and imports only the one asked for."""

from __future__ import annotations

from embridge.encoders.base import Encoder, Modality, Role
from embridge.encoders.cached import CachedEncoder
from embridge.encoders.lazy import LazyEncoder
from embridge.encoders.providers import PROVIDERS, Provider, load, provider_of

__all__ = [
    "PROVIDERS",
    "CachedEncoder",
    "Encoder",
    "LazyEncoder",
    "Modality",
    "Provider",
    "Role",
    "load",
    "provider_of",
]
