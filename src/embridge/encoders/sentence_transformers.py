"""Sentence models: text, with the prompts for queries and documents that their authors chose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from embridge.adapters.base import normalized
from embridge.encoders.base import Modality, Role, require_items
from embridge.encoders.local import pick_device, revision_of
from embridge.errors import InvalidInput, require
from embridge.progress import Progress, silent
from embridge.shapes import Float32
from embridge.space import Space

__all__ = ["SentenceTransformerEncoder"]


@final
class SentenceTransformerEncoder:
    """A sentence-transformers model from a folder or a hub id; L2-normalised float32.

    Queries are encoded with the model's ``query`` prompt and documents with its ``document`` prompt where it has them.
    Needs the extra ``text``.
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({"text"})

    def __init__(
        self,
        name: str | Path,
        *,
        device: str = "auto",
        batch_size: int = 64,
        revision: str | None = None,
        progress: Progress = silent,
    ) -> None:
        library = require("sentence_transformers", extra="text")
        self.batch_size, self.progress = batch_size, progress
        source, found = revision_of(name, revision)
        options = {} if Path(source).is_dir() else {"revision": found}
        try:
            self.model = library.SentenceTransformer(source, device=pick_device(device), **options)
        except (OSError, ValueError, KeyError) as error:
            raise InvalidInput(f"{name} cannot be loaded as a sentence model: {error}") from error
        called = Path(name).name if Path(name).is_dir() else str(name)
        self.space = Space(called, found, len(self._encode(["a"], "document")[0]), "cosine", self._recipe())

    def encode(
        self, items: Sequence[Any] | np.ndarray, *, modality: Modality, role: Role = "document"
    ) -> Float32[np.ndarray, "n d"]:
        """Vectors of texts (see `Encoder.encode`)."""
        require_items(items, self, modality)
        rows = []
        step = self.batch_size * 16  # the library sorts by length within a call; this keeps progress and that gain
        for start in range(0, len(items), step):
            rows.append(self._encode(list(items[start : start + step]), role))
            self.progress(min(start + step, len(items)), len(items), f"{self.space.model}: text")
        return np.concatenate(rows)

    def _encode(self, texts: list[str], role: Role) -> np.ndarray:
        prompt = self._prompt(role)
        vectors = self.model.encode(
            texts, batch_size=self.batch_size, prompt=prompt, convert_to_numpy=True, show_progress_bar=False
        )
        return normalized(np.asarray(vectors, np.float32))

    def _prompt(self, role: Role) -> str | None:
        prompts: dict[str, str] = getattr(self.model, "prompts", None) or {}
        return prompts.get(role) or prompts.get("passage" if role == "document" else role) or None

    def _recipe(self) -> str:
        prompts = {role: self._prompt(role) for role in ("query", "document")}
        said = "; ".join(f"{role} prompt {text!r}" for role, text in prompts.items() if text)
        return f"l2-normalised; up to {self.model.max_seq_length} tokens" + (f"; {said}" if said else "")
