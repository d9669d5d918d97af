"""What a settings file of an upgrade says of its two models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from embridge.encoders import PROVIDERS, provider_of
from embridge.settings.stored import SpaceName, StoredVectors
from embridge.settings.vectors import VectorsSettings
from embridge.space import Metric

__all__ = ["ModelSettings", "OldModelSettings"]


class ModelSettings(VectorsSettings):
    """A model by what each use of it needs: captions to fit by, queries and a gallery to judge by.

    Attributes:
        key_variable: The environment variable with the key of a service behind HTTP.
        dim: Numbers in a vector of that service, sent as ``dimensions``; the model's own where None.
        query_prompt: What stands before every query, of a service or a sentence model; of this also a prompt by its name.
        document_prompt: What stands before every document, likewise.
        pooling: How a sentence model makes one vector of its tokens, where its files do not say.
        metric: How a sentence model's vectors are compared, if not as its files say.
        captions: A file with the vectors of the captions.
        queries: A file with the vectors of the queries.
        gallery: A file with the vectors of the gallery.

    Examples:
        >>> ModelSettings(queries="q.npy", gallery="g.npy").encoder is None
        True
    """

    files = ("captions", "queries", "gallery")
    column_names = ("id", "vector", "text")

    key_variable: str | None = None
    dim: int | None = Field(None, ge=1)
    query_prompt: str | None = None
    document_prompt: str | None = None
    pooling: str | None = None
    metric: Metric | None = None
    captions: Path | None = None
    queries: Path | None = None
    gallery: Path | None = None

    @model_validator(mode="after")
    def _of_this_provider(self) -> ModelSettings:
        taken = provider_of(self.encoder).options if self.encoder is not None else ()
        for key in sorted({key for provider in PROVIDERS.values() for key in provider.options}):
            if getattr(self, key) is not None and key not in taken:
                kinds = " and ".join(provider.called for provider in PROVIDERS.values() if key in provider.options)
                raise ValueError(f"{key} is of {kinds}, not of {self.encoder or 'files of vectors'}")
        return self


class OldModelSettings(ModelSettings, StoredVectors):
    """The model of the stored vectors: as any other, or a store that holds them.

    A store's vectors are taken as they are, and no model is needed for them; beside a store, ``encoder`` is what encodes
    queries to judge by.

    Attributes:
        space: Of files, what they are of; of a store, the id or the model of one of its spaces.

    Examples:
        >>> OldModelSettings(store="lancedb:shop#items", space="clip-b32").encoder is None
        True
    """

    @field_validator("space", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return SpaceName(model=value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _space_fits(self) -> OldModelSettings:
        if self.space is not None and isinstance(self.space, SpaceName) != (self.store is not None):
            expected = "the id or the model of one that the store holds" if self.store else "keys: {model: …, dim: …}"
            raise ValueError(f"space: expected {expected}")
        return self

    def _require_one_kind(self) -> None:
        if self.store is None:
            super()._require_one_kind()
        elif files := [key for key in self.files if getattr(self, key) is not None]:
            raise ValueError(f"say either store, or files with vectors ({', '.join(self.files)}); came {files[0]} too")
