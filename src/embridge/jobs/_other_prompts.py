"""The prompt that stored vectors were made with, where it is not the one that was claimed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from embridge.encoders import Encoder, LazyEncoder
from embridge.encoders.sentence_transformers import SentenceTransformerEncoder
from embridge.jobs._claim_check import SAME, Compared

__all__ = ["prompt_that_agrees"]

_ROWS = 32
_ENOUGH = 0.9
_USUAL = (
    *("query: ", "passage: ", "search_query: ", "search_document: ", "title: none | text: ", "clustering: "),
    "Represent this sentence for searching relevant passages: ",
)
"""What authors of models put before texts, for models whose files do not say it."""


def prompt_that_agrees(
    encoder: LazyEncoder, options: Mapping[str, Any], texts: Sequence[str], stored: np.ndarray
) -> tuple[str, str] | None:
    """The name and the words of a prompt with which the model makes the stored vectors; None where no known one does."""
    if "document_prompt" not in encoder.provider.options:
        return None
    texts, stored = texts[:_ROWS], stored[:_ROWS]
    prompted = "document prompt" in encoder.space.recipe
    bare = LazyEncoder(encoder.name, **{**options, "document_prompt": ""}) if prompted else encoder
    for name, words in _prompts(bare.loaded(), with_none=prompted):
        vectors = bare.encode([words + text for text in texts], modality="text")
        compared = Compared(texts, stored, vectors, encoder.space.metric)
        if (compared.cosines >= SAME).mean() >= _ENOUGH:
            return name, words
    return None


def _prompts(encoder: Encoder, *, with_none: bool) -> Iterator[tuple[str, str]]:
    if with_none:
        yield "no prompt", ""
    own = encoder.prompts if isinstance(encoder, SentenceTransformerEncoder) else {}
    yield from ((f"its prompt {name}", words) for name, words in own.items() if words)
    yield from ((f"the prompt {words!r}", words) for words in _USUAL if words not in own.values())
