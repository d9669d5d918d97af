"""Models of open_clip: text and images in one space."""

from __future__ import annotations

import hashlib
import json
import logging
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from embridge.adapters.base import normalized
from embridge.encoders._cut_texts import CutTexts, cut_by, note_cuts
from embridge.encoders._images import read_image
from embridge.encoders._local import pick_device, quiet_loading
from embridge.encoders._open_clip_files import Checkpoint, find_checkpoint, open_clip_library
from embridge.encoders.base import Modality, Role, require_items
from embridge.encoders.scores import score_terms
from embridge.errors import InvalidInput, require
from embridge.progress import Progress, silent
from embridge.shapes import Float32
from embridge.space import Space

__all__ = ["OpenClipEncoder"]

_SPECIAL_TOKENS = 2
_LONGEST_REASON = 400
_PIXEL_SETTINGS = ("size", "mean", "std", "interpolation", "resize_mode", "fill_color")


@final
class OpenClipEncoder:
    """A model of open_clip: FOLDER, OWNER/NAME on the hub, ARCHITECTURE:TAG or ARCHITECTURE:FILE.

    FOLDER holds ``open_clip_config.json``, the weights, and the tokenizer where that is not open_clip's own. TAG names weights
    that open_clip knows (``ViT-B-32:laion2b_s34b_b79k``). FILE is a checkpoint, preprocessed for as open_clip does by default.
    Weights are safetensors; a pickle is read only where it holds nothing but weights.

    Vectors are L2-normalised float32: those of the library's own ``encode_image`` and ``encode_text`` on what its own
    preprocessing, which resizes by Pillow, and tokenizer make. The space's revision is a hash of the weights, and the commit for
    a hub id. Texts longer than the model takes are cut at its limit, as the model's authors do; ``longest_text`` says where.
    ``score_scale`` and ``score_bias`` are as in `ClipEncoder`.

    Needs the extra ``open-clip``, and a torchvision built for the torch that is installed, which open_clip imports.

    Args:
        name: The model, as above.
        device: As in `ClipEncoder`.
        batch_size: Items that are encoded at once.
        revision: Which commit of a hub id.
        progress: Hears how many items are done.

    Raises:
        SettingsError: The name is none of these.
        InvalidInput: Weights are missing or hold code, or the model cannot be made.
        MissingExtra: open_clip, or a torchvision that works with this torch, is not installed.

    Examples:
        >>> OpenClipEncoder.modalities == {"text", "image"}
        True
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({"text", "image"})

    def __init__(
        self,
        name: str | Path,
        *,
        device: str = "auto",
        batch_size: int = 64,
        revision: str | None = None,
        progress: Progress = silent,
    ) -> None:
        open_clip_library()
        self._torch = require("torch", extra="open-clip")
        self.batch_size, self.progress = batch_size, progress
        self.device = pick_device(device)
        found = find_checkpoint(name, revision)
        self.model, self._tokenizer, self._preprocess = _load_parts(found)
        self.model.float().to(self.device).eval()
        self.longest_text = int(self._tokenizer.context_length)
        self.score_scale, self.score_bias = score_terms(self.model)
        self.space = Space(found.name, found.revision, self._dim(found.name), "cosine", self._recipe())

    def encode(
        self, items: Sequence[Any] | np.ndarray, *, modality: Modality, role: Role = "document"
    ) -> Float32[np.ndarray, "n d"]:
        """Vectors of texts or images (see `Encoder.encode`); ``role`` changes nothing in these models."""
        require_items(items, self, modality)
        rows, cuts = [], CutTexts()
        for start in range(0, len(items), self.batch_size):
            batch = items[start : start + self.batch_size]
            rows.append(self._forward(batch, modality, start))
            if modality == "text":
                cuts.add(sum(map(self._is_cut, batch)), len(batch), self.longest_text)
            self.progress(min(start + self.batch_size, len(items)), len(items), f"{self.space.model}: {modality}")
        note_cuts(self.space.model, cuts)
        return normalized(np.concatenate(rows))

    def _is_cut(self, text: str) -> bool:
        """A token is a byte at least, so only texts of so many bytes are looked at again."""
        if len(text.encode()) <= self.longest_text - _SPECIAL_TOKENS:
            return False
        inner = getattr(self._tokenizer, "tokenizer", None)  # a tokenizer of transformers, with its own special tokens
        if inner is None:
            return len(self._tokenizer.encode(text)) + 2 > self.longest_text
        return bool(cut_by(inner([text], truncation=True, max_length=self.longest_text), self.longest_text))

    def _forward(self, items: Sequence[Any] | np.ndarray, modality: Modality, first_row: int) -> np.ndarray:
        with self._torch.inference_mode():
            if modality == "text":
                tokens = self._tokenizer([str(text) for text in items])
                features = self.model.encode_text(tokens.to(self.device))
            else:
                pixels = [read_image(image, self._preprocess, row=first_row + i) for i, image in enumerate(items)]
                features = self.model.encode_image(self._torch.stack(pixels).to(self.device))
            rows: np.ndarray = features.float().cpu().numpy()
        return rows

    def _dim(self, name: str) -> int:
        try:
            return self._forward(["a"], "text", 0).shape[1]
        except IndexError as error:
            raise InvalidInput(
                f"open_clip:{name}: the tokenizer knows more tokens than the model; put the model's own into its folder"
            ) from error

    def _recipe(self) -> str:
        settings = {k: self.model.visual.preprocess_cfg[k] for k in _PIXEL_SETTINGS}
        if isinstance(settings["size"], int):  # one of its towers says the side, the others height and width
            settings["size"] = [settings["size"]] * 2
        said = json.dumps(settings, sort_keys=True)
        digest = hashlib.sha256(said.encode()).hexdigest()[:8]
        return f"l2-normalised; pixels {digest}; text up to {self.longest_text} tokens{self._activation()}"

    def _activation(self) -> str:
        """Says that GELU is approximated, which is a setting: the same weights make other vectors with and without it."""
        quick = any(type(module).__name__ == "QuickGELU" for module in self.model.modules())
        return "; quick gelu" if quick else ""


def _load_parts(found: Checkpoint) -> tuple[Any, Any, Any]:
    """The model, its tokenizer and its preprocessing, or an error that names which of them cannot be used."""
    library, part = open_clip_library(), "model"
    with _quiet():
        try:
            model = library.create_model(found.source, pretrained=found.tag, load_weights=False, pretrained_text=False)
            library.load_checkpoint(model, str(found.weights), strict=True, weights_only=True)
            part = "tokenizer"
            tokenizer = library.get_tokenizer(found.source)
            part = "preprocessing"
            transform = require("open_clip.transform", extra="open-clip")
            settings = transform.PreprocessCfg(**model.visual.preprocess_cfg)
            return model, tokenizer, transform.image_transform_v2(settings, is_train=False)
        except Exception as error:  # open_clip, torch, safetensors and transformers share no base class but this
            reason = textwrap.shorten(
                str(error), _LONGEST_REASON, placeholder=" …"
            )  # torch has a line for every weight
            raise InvalidInput(f"open_clip:{found.name} has no usable {part}: {reason}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """As `quiet_loading`, for open_clip: it logs by the root logger, which would get a handler by that."""
    root, handler, silence = logging.getLogger(), logging.NullHandler(), _Silence()
    root.addHandler(handler)
    root.addFilter(silence)
    try:
        with quiet_loading():
            yield
    finally:
        root.removeFilter(silence)
        root.removeHandler(handler)


class _Silence(logging.Filter):
    """Keeps nothing of what is logged by the logger itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        return False
