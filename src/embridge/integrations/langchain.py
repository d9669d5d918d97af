"""LangChain: the new model as `Embeddings`, in the space of the index that is there. Needs the extra ``langchain``."""

from __future__ import annotations

from embridge.adapters.upgrade import Upgrade
from embridge.encoders.base import Encoder
from embridge.errors import require
from embridge.integrations._texts import Side, TextVectors

__all__ = ["UpgradedEmbeddings"]

_langchain = require("langchain_core.embeddings", extra="langchain")


class UpgradedEmbeddings(_langchain.Embeddings):  # type: ignore[misc, name-defined]
    """What a vector store of LangChain takes in the place of the old model's embeddings.

    Args:
        encoder: The new model.
        upgrade: An upgrade of it.
        side: ``old`` for a store that keeps its vectors; ``new`` for one that the new model writes.

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
        >>> [round(number, 6) for number in UpgradedEmbeddings(encoder, upgrade).embed_query("a cat")]
        [0.6, 0.8]
    """

    def __init__(self, encoder: Encoder, upgrade: Upgrade, *, side: Side = "old") -> None:
        self._texts = TextVectors(encoder, upgrade, side)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors of texts that are stored."""
        return self._texts.rows(texts, "document")

    def embed_query(self, text: str) -> list[float]:
        """The vector of a text that searches."""
        return self._texts.rows([text], "query")[0]
