"""Sentence models: text, with the prompts for queries and documents that their authors chose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from embridge.adapters.base import normalized
from embridge.encoders._cut_texts import CutTexts, cut_by, note_cuts
from embridge.encoders._local import Located, locate, pick_device, quiet_loading
from embridge.encoders._sentence_card import CardSettings, metric_of, pooling_name, prompts_of, settle_pooling
from embridge.encoders._space_file import space_of
from embridge.encoders._whole_weights import recorded_loading, require_whole
from embridge.encoders.base import Modality, Role, require_items
from embridge.errors import EmbridgeError, InvalidInput, require
from embridge.progress import Progress, silent
from embridge.shapes import Float32

__all__ = ["SentenceTransformerEncoder"]

_SPECIAL_TOKENS = 8  # more than any model puts around a text


@final
class SentenceTransformerEncoder:
    """A sentence-transformers model from a folder or a hub id.

    What the model's files say of its use is obeyed. Queries are encoded with its ``query`` prompt and documents with its
    ``document`` prompt, where it has them, as the library's own ``encode_query`` and ``encode_document`` do; a warning names
    prompts that are left out. Vectors are float32 and compared as the model says: L2-normalised for ``cosine``, and as the
    model makes them for ``dot`` and ``euclidean``. By `load`, the options ``query_prompt``, ``document_prompt``, ``pooling`` and
    ``metric`` state what the files leave open. Needs the extra ``text``.

    Args:
        name: The folder or the hub id.
        device: As in `ClipEncoder`.
        batch_size: Texts that are encoded at once.
        revision: As in `ClipEncoder`.
        card: These options together.
        progress: Hears how many texts are done.

    Raises:
        InvalidInput: The model cannot be found or loaded, or its weights are not those that it says.
        SettingsError: Its vectors are compared by what no space has, or what is stated contradicts its files.

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
        card: CardSettings | None = None,
        progress: Progress = silent,
    ) -> None:
        require("sentence_transformers", extra="text")
        self.batch_size, self.progress = batch_size, progress
        device, stated = pick_device(device), card or CardSettings()
        found = locate(name, revision)
        self.model = _loaded(found, device)
        settle_pooling(found, self.model, stated)
        self.longest_text = int(self.model.max_seq_length or 0)
        self._metric = metric_of(found, self.model, stated)
        self._prompts = prompts_of(self.model, stated, found.name)
        dim = self._encode(["a"], "document").shape[1]
        self.space = space_of(found, dim, self._recipe(), self._metric)

    @property
    def prompts(self) -> dict[str, str]:
        """The prompts that the model's own files have, by name, whether they are used or not."""
        return {str(name): words for name, words in self.model.prompts.items() if words}

    def prompt(self, role: Role) -> str:
        """What is put before each text of a role; nothing where it has none."""
        return self._prompts[role]

    def encode(
        self, items: Sequence[Any] | np.ndarray, *, modality: Modality, role: Role = "document"
    ) -> Float32[np.ndarray, "n d"]:
        """Vectors of texts (see `Encoder.encode`)."""
        require_items(items, self, modality)
        rows, cuts = [], CutTexts()
        step = self.batch_size * 16  # the library sorts by length within a call; this keeps progress and that gain
        for start in range(0, len(items), step):
            texts = [str(text) for text in items[start : start + step]]
            rows.append(self._encode(texts, role))
            cuts.add(self._cut(texts, role), len(texts), self.longest_text)
            self.progress(min(start + step, len(items)), len(items), f"{self.space.model}: text")
        note_cuts(self.space.model, cuts)
        return np.concatenate(rows)

    def _encode(self, texts: list[str], role: Role) -> np.ndarray:
        encode = self.model.encode_query if role == "query" else self.model.encode_document
        vectors = encode(
            texts,
            batch_size=self.batch_size,
            prompt=self._prompts[role],
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        rows = np.asarray(vectors, np.float32)
        return normalized(rows) if self._metric == "cosine" else rows

    def _cut(self, texts: list[str], role: Role) -> int:
        """How many the model cuts; a token is a byte at least, so only texts of so many bytes are looked at again."""
        tokenizer, shortest = self.model.tokenizer, self.longest_text - _SPECIAL_TOKENS
        if not self.longest_text or not getattr(tokenizer, "is_fast", False):
            return 0
        long = [text for text in (self._prompts[role] + text for text in texts) if len(text.encode()) > shortest]
        return cut_by(tokenizer(long, truncation=True, max_length=self.longest_text), self.longest_text) if long else 0

    def _recipe(self) -> str:
        lengths = ["l2-normalised"] if self._metric == "cosine" else []
        pooling = [f"{mode} pooling" for mode in map(pooling_name, self.model) if mode]
        prompts = [f"{role} prompt {words!r}" for role, words in self._prompts.items() if words]
        return "; ".join([*lengths, *pooling, f"up to {self.model.max_seq_length} tokens", *prompts])


def _loaded(found: Located, device: str) -> Any:
    """The model at full precision, whatever its config says, with all its weights."""
    library, torch = require("sentence_transformers", extra="text"), require("torch", extra="text")
    precision = {"dtype": torch.float32}
    try:
        with quiet_loading(), recorded_loading() as parts:
            model = library.SentenceTransformer(found.source, device=device, model_kwargs=precision, **found.options)
        pools_tokens = "pooler_output" not in str(getattr(model[0], "modality_config", ""))
        for part, loading in parts:
            require_whole(found.source, part, loading, unused=("pooler.",) if pools_tokens else ())
        return model.float()
    except EmbridgeError:
        raise
    except Exception as error:  # the libraries beneath share no base class but this
        raise InvalidInput(f"{found.source} cannot be loaded as a sentence model: {error}") from error
