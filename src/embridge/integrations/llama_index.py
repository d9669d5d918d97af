"""LlamaIndex: the new model as an embedding, in the space of the index that is there. Needs the extra ``llama-index``."""

from __future__ import annotations

import asyncio
from typing import Any

from embridge.adapters.upgrade import Upgrade
from embridge.encoders.base import Encoder
from embridge.errors import require
from embridge.integrations._texts import Side, TextVectors

__all__ = ["UpgradedEmbedding"]

_llama_index = require("llama_index.core.embeddings", extra="llama-index")
_pydantic = require("pydantic", extra="llama-index")


class UpgradedEmbedding(_llama_index.BaseEmbedding):  # type: ignore[misc, name-defined]
    """What an index or a retriever of LlamaIndex takes as ``embed_model``, in the place of the old model's.

    Args:
        encoder: The new model.
        upgrade: An upgrade of it.
        side: ``old`` for an index that keeps its vectors; ``new`` for one that the new model writes.
        **options: Those of ``BaseEmbedding``, as ``embed_batch_size``.

    Raises:
        SettingsError: There is no such side.
        SpaceMismatch: The encoder is not the upgrade's new one.
        WrongDirection: Old vectors are meant, and the upgrade is a forward one.
        InvalidInput: The encoder takes no text.

    Examples:
        >>> import numpy as np
        >>> from embridge import Embeddings, Space
        >>> from embridge.adapters import Identity, Prefix, Provenance
        >>> from embridge.encoders import CachedEncoder
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> upgrade = Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix"))
        >>> encoder = CachedEncoder(text=Embeddings.of(np.array([[3, 4, 5]], np.float32), new, ["a cat"]))
        >>> [round(number, 6) for number in UpgradedEmbedding(encoder, upgrade).get_query_embedding("a cat")]
        [0.6, 0.8]
    """

    _texts: TextVectors = _pydantic.PrivateAttr()

    def __init__(self, encoder: Encoder, upgrade: Upgrade, *, side: Side = "old", **options: Any) -> None:
        texts = TextVectors(encoder, upgrade, side)
        super().__init__(**({"model_name": texts.name} | options))
        self._texts = texts

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex tells of it."""
        return "UpgradedEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._texts.rows([query], "query")[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._texts.rows([text], "document")[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._texts.rows(texts, "document")

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)
