"""CLIP, SigLIP and other dual encoders of transformers: text and images in one space."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from embridge.adapters.base import normalized
from embridge.adapters.lora_folder import space_with_lora
from embridge.encoders._cut_texts import CutTexts, cut_by, note_cuts
from embridge.encoders._images import read_image
from embridge.encoders._local import Located, locate, pick_device, quiet_loading
from embridge.encoders._lora import attach_lora
from embridge.encoders._space_file import space_of
from embridge.encoders._whole_weights import require_whole
from embridge.encoders.base import Modality, Role, require_items
from embridge.encoders.scores import score_terms
from embridge.errors import InvalidInput, SettingsError, require
from embridge.progress import Progress, silent
from embridge.shapes import Float32, UInt8
from embridge.space import Space

__all__ = ["ClipEncoder", "space_from_files"]

_PIXEL_SETTINGS = (
    *("do_resize", "size", "resample", "do_center_crop", "crop_size", "do_pad", "pad_size"),
    *("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "patch_size", "max_num_patches"),
)


@final
class ClipEncoder:
    """A dual encoder of transformers, with ``get_text_features`` and ``get_image_features``, from a folder or a hub id.

    Vectors are L2-normalised float32. The space's revision is a hash of the weights (folder) or the commit (hub), so two
    checkpoints of one name never mix. A folder with a bridge folded in (`embridge.export`) is of the space that it says. Texts
    longer than the model takes are cut at its limit, as the model's authors do; ``longest_text`` says where. Images are resized
    by Pillow even where torchvision is installed, so that every machine computes the same vectors. A score of the model's own is
    ``score_scale`` · cosine + ``score_bias`` (see `score_terms`); None for what it lacks.

    Needs the extra ``clip``, and ``finetune`` for a LoRA. Works with transformers 4.57 and 5.

    Args:
        name: The folder or the hub id.
        device: ``auto`` (an accelerator where there is one), ``cpu``, ``cuda`` …
        batch_size: Items that are encoded at once.
        revision: Which commit of a hub id.
        lora: A folder in peft's format to attach, such as `Upgrade.lora`; the space then names it in its recipe.
        progress: Hears how many items are done.

    Raises:
        SettingsError: The model is no dual encoder, or the device is not there.
        InvalidInput: The model cannot be found, or lacks weights, a tokenizer or an image processor.

    Examples:
        >>> from embridge.datasets import glyph_models
        >>> ClipEncoder(glyph_models.folder("old")).encode(["latin small letter a"], modality="text").shape
        (1, 64)
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({"text", "image"})

    def __init__(
        self,
        name: str | Path,
        *,
        device: str = "auto",
        batch_size: int = 64,
        revision: str | None = None,
        lora: str | Path | None = None,
        progress: Progress = silent,
    ) -> None:
        require("transformers", extra="clip")
        self._torch = require("torch", extra="clip")
        self.batch_size, self.progress = batch_size, progress
        self.device = pick_device(device)
        found = locate(name, revision)
        self.model, self._tokenizer, self._processor = _load_parts(found)
        if lora is not None:
            attach_lora(self.model, Path(lora))
        self.model.float().to(self.device).eval()
        self._features = _features_of(self.model)
        self._inputs = {modality: set(inspect.signature(get).parameters) for modality, get in self._features.items()}
        self._siglip = str(self.model.config.model_type).startswith("siglip")
        self._channels = int(getattr(self.model.config.vision_config, "num_channels", 3))
        self._only_scaled = self._finds_side_only_scaled()
        self.longest_text = _longest_text(self._tokenizer, self.model.config.text_config)
        dim = self._forward("text", self.text_inputs(["a"])).shape[1]
        self._own_space = space_of(found, dim, _recipe(self._processor, self.longest_text))
        self.score_scale, self.score_bias = score_terms(self.model)
        self.lora = None if lora is None else Path(lora)
        self.space = self._own_space if lora is None else space_with_lora(self._own_space, lora)

    def with_lora(self, lora: str | Path) -> ClipEncoder:
        """A copy of this encoder with a LoRA attached; nothing is loaded again, and this one stays as it is.

        Raises `SettingsError` where it has a LoRA already, and `InvalidInput` or `ArtefactError` for a folder that holds no
        LoRA of this model.
        """
        if self.lora is not None:
            raise SettingsError(f"{self.space.model} has the LoRA {self.lora} already; load the model without one")
        twin = copy.copy(self)
        twin.model = copy.deepcopy(self.model)
        attach_lora(twin.model, Path(lora))
        twin.model.float().to(self.device).eval()
        twin._features = _features_of(twin.model)
        twin.lora, twin.space = Path(lora), space_with_lora(self._own_space, lora)
        return twin

    def encode(
        self, items: Sequence[Any] | np.ndarray, *, modality: Modality, role: Role = "document"
    ) -> Float32[np.ndarray, "n d"]:
        """Vectors of texts or images (see `Encoder.encode`); ``role`` changes nothing in these models."""
        require_items(items, self, modality)
        rows, done, cuts = [], 0, CutTexts()
        for batch in self._text_inputs(items) if modality == "text" else self._image_inputs(items):
            rows.append(self._forward(modality, batch))
            done += len(rows[-1])
            if modality == "text":
                cuts.add(cut_by(batch, self.longest_text), len(rows[-1]), self.longest_text)
            self.progress(done, len(items), f"{self.space.model}: {modality}")
        note_cuts(self.space.model, cuts)
        return normalized(np.concatenate(rows))

    def text_inputs(self, texts: Sequence[Any] | np.ndarray) -> Mapping[str, Any]:
        """Tokens of one batch, on the processor: what `features` takes."""
        padding = "max_length" if self._siglip else True  # SigLIP was trained on padded text and pools its last token
        return self._tokenizer(
            [str(text) for text in texts],
            padding=padding,
            truncation=True,
            max_length=self.longest_text,
            return_tensors="pt",
        )

    def image_inputs(self, images: Sequence[Any] | np.ndarray, *, first_row: int = 0) -> Mapping[str, Any]:
        """Pixels of one batch, likewise; ``first_row`` is where it begins among all, for the message about an image."""
        if isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape[1:] in self._only_scaled:
            return {"pixel_values": self._scaled(images)}
        opened = [read_image(image, self._converted, row=first_row + i) for i, image in enumerate(images)]
        return self._processed(opened)

    def features(self, modality: Modality, inputs: Mapping[str, Any]) -> Any:
        """The model's vectors [b, d] of such inputs as a tensor on its device, not normalised; gradients flow."""
        given = {k: v.to(self.device) for k, v in inputs.items() if k in self._inputs[modality]}
        out = self._features[modality](**given)
        return getattr(out, "pooler_output", out)  # transformers 5 wraps the features, 4 does not

    def _forward(self, modality: Modality, inputs: Mapping[str, Any]) -> np.ndarray:
        with self._torch.inference_mode():
            rows: np.ndarray = self.features(modality, inputs).float().cpu().numpy()
        return rows

    def _text_inputs(self, texts: Sequence[Any] | np.ndarray) -> Iterator[Mapping[str, Any]]:
        for start in range(0, len(texts), self.batch_size):
            yield self.text_inputs(texts[start : start + self.batch_size])

    def _image_inputs(self, images: Sequence[Any] | np.ndarray) -> Iterator[Mapping[str, Any]]:
        for start in range(0, len(images), self.batch_size):
            yield self.image_inputs(images[start : start + self.batch_size], first_row=start)

    def _converted(self, picture: Any) -> Any:
        return picture.convert("L" if self._channels == 1 else "RGB")

    def _processed(self, pictures: list[Any]) -> Mapping[str, Any]:
        if self._channels == 1:  # transformers 4 knows no images without a channel axis, and guesses where it is
            grey = [np.asarray(picture)[:, :, None] for picture in pictures]
            return self._processor(images=grey, input_data_format="channels_last", return_tensors="pt")
        return self._processor(images=pictures, return_tensors="pt")

    def _scaled(self, images: UInt8[np.ndarray, "b ..."]) -> Any:
        """What the image processor makes of images that need no resizing, a hundred times faster on small ones."""
        p = self._processor
        shaped = images.reshape(*images.shape[:3], self._channels).transpose(0, 3, 1, 2)
        mean, std = (np.asarray(v, np.float32).reshape(1, -1, 1, 1) for v in (p.image_mean, p.image_std))
        scaled = shaped.astype(np.float32) * np.float32(p.rescale_factor)
        return self._torch.from_numpy(np.ascontiguousarray((scaled - mean) / std))

    def _finds_side_only_scaled(self) -> frozenset[tuple[int, ...]]:
        """The shapes of arrays that the image processor only shifts and scales, found by trying: maybe none."""
        side = getattr(self.model.config.vision_config, "image_size", None)
        p = self._processor
        if not isinstance(side, int) or not (getattr(p, "do_rescale", False) and getattr(p, "do_normalize", False)):
            return frozenset()
        shape = (side, side) if self._channels == 1 else (side, side, self._channels)
        probe = np.random.default_rng(0).integers(0, 256, (1, *shape), dtype=np.uint8)
        wanted, came = (
            self._processed([read_image(probe[0], self._converted, row=0)])["pixel_values"],
            self._scaled(probe),
        )
        same = wanted.shape == came.shape and self._torch.allclose(wanted, came, rtol=0, atol=1e-6)
        shapes = {shape, (side, side, 1)} if self._channels == 1 else {shape}
        return frozenset(shapes) if same else frozenset()


def space_from_files(name: str | Path, *, revision: str | None = None, lora: str | Path | None = None) -> Space | None:
    """The space of an encoder, read from the files beside its weights.

    The weights are hashed, not loaded.

    Args:
        name: The folder or the hub id.
        revision: Which commit of a hub id.
        lora: A LoRA that will be attached.

    Returns:
        The space; None for a kind of model whose config does not say how long a vector is.

    Raises:
        InvalidInput: As `ClipEncoder`.

    Examples:
        >>> from embridge.datasets import glyph_models
        >>> space_from_files(glyph_models.folder("new")).dim
        128
    """
    found = locate(name, revision)
    transformers = require("transformers", extra="clip")
    with quiet_loading():
        config = _load(transformers.AutoConfig, found)
        if config.model_type != "clip":
            return None
        tokenizer, processor = _load_inputs(found)
    own = space_of(found, config.projection_dim, _recipe(processor, _longest_text(tokenizer, config.text_config)))
    return own if lora is None else space_with_lora(own, lora)


def _features_of(model: Any) -> dict[Modality, Callable[..., Any]]:
    return {"text": model.get_text_features, "image": model.get_image_features}


def _recipe(processor: Any, longest_text: int) -> str:
    """Names the settings that change vectors, and no others, so that it reads alike in all versions."""
    settings = json.loads(processor.to_json_string())
    pixels = {k: settings[k] for k in _PIXEL_SETTINGS if settings.get(k)}
    digest = hashlib.sha256(json.dumps(pixels, sort_keys=True).encode()).hexdigest()[:8]
    return f"l2-normalised; pixels {digest}; text up to {longest_text} tokens"


def _load_parts(found: Located) -> tuple[Any, Any, Any]:
    """The model, its tokenizer and its image processor, or an error that names which of them cannot be used."""
    transformers = require("transformers", extra="clip")
    with quiet_loading():
        whole = {
            "dtype": require("torch", extra="clip").float32
        }  # whatever config.json says, which rounds some of them
        model, loading = _load(transformers.AutoModel, found, output_loading_info=True, **whole)
        if not hasattr(model, "get_text_features") or not hasattr(model, "get_image_features"):
            raise SettingsError(
                f"{found.source} is a {type(model).__name__}: it has no text and image features of one space"
            )
        require_whole(found.source, model, loading)
        return model, *_load_inputs(found)


def _load_inputs(found: Located) -> tuple[Any, Any]:
    """The tokenizer and the image processor."""
    transformers = require("transformers", extra="clip")
    pillow = {"use_fast": False} if transformers.__version__.startswith("4.") else {"backend": "pil"}
    tokenizer = _load(transformers.AutoTokenizer, found)
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # what transformers 5 makes of a folder without one
        raise InvalidInput(f"{found.source} has no usable tokenizer: it knows no words; save one beside the model")
    return tokenizer, _load(transformers.AutoImageProcessor, found, **pillow)


def _load(auto: Any, found: Located, **options: Any) -> Any:
    part = {"AutoModel": "model", "AutoConfig": "config", "AutoTokenizer": "tokenizer"}.get(
        auto.__name__, "image processor"
    )
    try:
        return auto.from_pretrained(found.source, trust_remote_code=False, **found.options, **options)
    except Exception as error:  # transformers, tokenizers and safetensors share no base class but this
        raise InvalidInput(f"{found.source} has no usable {part}: {error}") from error


def _longest_text(tokenizer: Any, text_config: Any) -> int:
    return min(int(tokenizer.model_max_length), int(getattr(text_config, "max_position_embeddings", 1 << 30)))
