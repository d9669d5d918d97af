"""Sentence models: text, with the prompts for queries and documents that their authors chose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from embridge.adapters.base import normalized
from embridge.encoders._local import locate, pick_device, quiet_loading
from embridge.encoders._space_file import space_of
from embridge.encoders.base import Modality, Role, require_items
from embridge.errors import InvalidInput, require
from embridge.progress import Progress, silent
from embridge.shapes import Float32

__all__ = ["SentenceTransformerEncoder"]

_PROMPT_NAMES: dict[Role, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}


@final
class SentenceTransformerEncoder:
    """A sentence-transformers model from a folder or a hub id; L2-normalised float32.

    Queries are encoded with the model's ``query`` prompt and documents with its ``document`` prompt, where it has them, as the
    library's own ``encode_query`` and ``encode_document`` do. Needs the extra ``text``.

    Args:
        name: The folder or the hub id.
        device: As in `ClipEncoder`.
        batch_size: Texts that are encoded at once.
        revision: Which commit of a hub id.
        progress: Hears how many texts are done.

    Raises:
        InvalidInput: The model cannot be found or loaded.

    Examples:
        >>> SentenceTransformerEncoder("./none")
        Traceback (most recent call last):
        embridge.errors.SettingsError: there is no folder ./none; a model is named by its folder, or by its id on the hub
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
        device = pick_device(device)
        found = locate(name, revision)
        try:
            with quiet_loading():
                self.model = library.SentenceTransformer(found.source, device=device, **found.options).float()
        except Exception as error:  # the libraries beneath share no base class but this
            raise InvalidInput(f"{name} cannot be loaded as a sentence model: {error}") from error
        dim = self._encode(["a"], "document").shape[1]
        self.space = space_of(found, dim, self._recipe())

    def encode(
        self, items: Sequence[Any] | np.ndarray, *, modality: Modality, role: Role = "document"
    ) -> Float32[np.ndarray, "n d"]:
        """Vectors of texts (see `Encoder.encode`)."""
        require_items(items, self, modality)
        rows = []
        step = self.batch_size * 16  # the library sorts by length within a call; this keeps progress and that gain
        for start in range(0, len(items), step):
            rows.append(self._encode([str(text) for text in items[start : start + step]], role))
            self.progress(min(start + step, len(items)), len(items), f"{self.space.model}: text")
        return np.concatenate(rows)

    def _encode(self, texts: list[str], role: Role) -> np.ndarray:
        encode = self.model.encode_query if role == "query" else self.model.encode_document
        vectors = encode(
            texts,
            batch_size=self.batch_size,
            prompt=self._prompt(role),
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return normalized(np.asarray(vectors, np.float32))

    def _prompt(self, role: Role) -> str:
        """The library's own choice, made here so that the space can name it."""
        prompts: dict[str | None, str | None] = self.model.prompts
        named = [prompts[name] for name in _PROMPT_NAMES[role] if name in prompts]
        return (named[0] if named else prompts.get(self.model.default_prompt_name)) or ""

    def _recipe(self) -> str:
        pooling = [f"{mode} pooling" for mode in map(_pooling, self.model) if mode]
        prompts = [f"{role} prompt {self._prompt(role)!r}" for role in _PROMPT_NAMES if self._prompt(role)]
        return "; ".join(["l2-normalised", *pooling, f"up to {self.model.max_seq_length} tokens", *prompts])


def _pooling(module: Any) -> str:
    """How a module makes one vector of many tokens, or nothing if it does something else."""
    mode = getattr(module, "pooling_mode", None)
    if mode is None:  # the first releases of sentence-transformers 5 say it by a method alone
        return getattr(module, "get_pooling_mode_str", str)()
    return mode if isinstance(mode, str) else "+".join(mode)
