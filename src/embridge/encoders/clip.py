"""CLIP, SigLIP and other dual encoders of transformers: text and images in one space."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from embridge.adapters.base import normalized
from embridge.encoders.base import Modality, Role, require_items
from embridge.encoders.local import pick_device, revision_of
from embridge.errors import InvalidInput, SettingsError, require
from embridge.progress import Progress, silent
from embridge.shapes import Float32
from embridge.space import Space

__all__ = ["ClipEncoder"]


@final
class ClipEncoder:
    """A transformers model with ``get_text_features`` and ``get_image_features``, from a folder or a hub id.

    Vectors are L2-normalised float32. ``device`` is ``auto`` (an accelerator where there is one), ``cpu``, ``cuda`` …
    The space's revision is a hash of the weights (folder) or the commit (hub), so two checkpoints of one name never mix.
    Texts longer than the model takes are cut at its limit, as the model's authors do; ``longest_text`` says where.

    Needs the extra ``clip``. Works with transformers 4.57 and 5.
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
        transformers = require("transformers", extra="clip")
        self._torch = require("torch", extra="clip")
        self.batch_size, self.progress = batch_size, progress
        self.device = pick_device(device)
        source, found = revision_of(name, revision)
        model = _load(transformers.AutoModel, source, found, dtype=self._torch.float32)
        if not hasattr(model, "get_text_features") or not hasattr(model, "get_image_features"):
            raise SettingsError(f"{name} is a {type(model).__name__}: it has no text and image features of one space")
        self.model = model.to(self.device).eval()
        self._tokenizer = _load(transformers.AutoTokenizer, source, found)
        self._processor = _load(transformers.AutoImageProcessor, source, found)
        self._siglip = str(model.config.model_type).startswith("siglip")
        self._channels = int(getattr(model.config.vision_config, "num_channels", 3))
        self.longest_text = _longest_text(self._tokenizer, model.config.text_config)
        self.space = Space(
            Path(name).name if Path(name).is_dir() else str(name), found, self._dim(), "cosine", self._recipe()
        )

    def encode(
        self, items: Sequence[Any] | np.ndarray, *, modality: Modality, role: Role = "document"
    ) -> Float32[np.ndarray, "n d"]:
        """Vectors of texts or images (see `Encoder.encode`); ``role`` changes nothing in these models."""
        require_items(items, self, modality)
        inputs = self._text_inputs(list(items)) if modality == "text" else self._image_inputs(items)
        features = self.model.get_text_features if modality == "text" else self.model.get_image_features
        rows, done = [], 0
        with self._torch.inference_mode():
            for batch in inputs:
                out = features(**{k: v.to(self.device) for k, v in batch.items()})
                out = getattr(out, "pooler_output", out)  # transformers 5 wraps the features, 4 does not
                rows.append(out.float().cpu().numpy())
                done += len(rows[-1])
                self.progress(done, len(items), f"{self.space.model}: {modality}")
        return normalized(np.concatenate(rows))

    def _text_inputs(self, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
        padding = "max_length" if self._siglip else True  # SigLIP was trained on padded text and pools its last token
        accepted = inspect.signature(self.model.get_text_features).parameters
        for start in range(0, len(texts), self.batch_size):
            batch = self._tokenizer(
                list(texts[start : start + self.batch_size]),
                padding=padding,
                truncation=True,
                max_length=self.longest_text,
                return_tensors="pt",
            )
            yield {k: v for k, v in batch.items() if k in accepted}

    def _image_inputs(self, images: Sequence[Any] | np.ndarray) -> Iterator[dict[str, Any]]:
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            ready = self._normalize_ready(batch) if isinstance(batch, np.ndarray) else None
            if ready is None:
                pictures = [_open_image(image, self._channels, row=start + i) for i, image in enumerate(batch)]
                ready = self._processor(images=pictures, return_tensors="pt")["pixel_values"]
            yield {"pixel_values": ready}

    def _normalize_ready(self, images: np.ndarray) -> Any:
        """Scale and shift an array [n, h, w(, c)] whose images have the model's size already; None if they have not.

        The same numbers as the image processor's, a hundred times faster on small images.
        """
        p = self._processor
        side, channels = self.model.config.vision_config.image_size, 1 if images.ndim == 3 else images.shape[-1]
        plain = (
            getattr(p, "do_rescale", False) and getattr(p, "do_normalize", False) and not getattr(p, "do_pad", False)
        )
        if images.dtype != np.uint8 or images.shape[1:3] != (side, side) or channels != self._channels or not plain:
            return None
        shaped = images.reshape(len(images), side, side, channels).transpose(0, 3, 1, 2)
        mean = np.asarray(p.image_mean, np.float32).reshape(1, -1, 1, 1)
        std = np.asarray(p.image_std, np.float32).reshape(1, -1, 1, 1)
        scaled = shaped.astype(np.float32) * np.float32(p.rescale_factor)
        return self._torch.from_numpy(np.ascontiguousarray((scaled - mean) / std))

    def _dim(self) -> int:
        with self._torch.inference_mode():
            out = self.model.get_text_features(
                **{k: v.to(self.device) for k, v in next(self._text_inputs(["a"])).items()}
            )
        return int(getattr(out, "pooler_output", out).shape[-1])

    def _recipe(self) -> str:
        settings = json.loads(self._processor.to_json_string())
        said = {k: v for k, v in settings.items() if not k.startswith("_") and "processor" not in k}
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]
        return f"l2-normalised; pixels {digest}; text up to {self.longest_text} tokens"


def _load(auto: Any, source: str, revision: str, **options: Any) -> Any:
    """``auto.from_pretrained`` from a folder or the hub, with an error that names what was looked for."""
    if not Path(source).is_dir():
        options["revision"] = revision
    try:
        return auto.from_pretrained(source, **options)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(f"{source} has no usable {auto.__name__.removeprefix('Auto').lower()}: {error}") from error


def _longest_text(tokenizer: Any, text_config: Any) -> int:
    limits = [int(tokenizer.model_max_length), int(getattr(text_config, "max_position_embeddings", 1 << 30))]
    return min(limits)


def _open_image(image: Any, channels: int, *, row: int) -> Any:
    pil = require("PIL.Image", extra="clip")
    mode = "L" if channels == 1 else "RGB"
    try:
        if isinstance(image, (str, Path)):
            with pil.open(image) as opened:
                return opened.convert(mode)
        return (pil.fromarray(image) if isinstance(image, np.ndarray) else image).convert(mode)
    except (OSError, AttributeError, TypeError, ValueError) as error:
        name = image if isinstance(image, (str, Path)) else f"of type {type(image).__name__}"
        raise InvalidInput(f"image {row} ({name}) cannot be read: {error}; remove it or save it again") from error
