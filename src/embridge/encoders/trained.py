"""Models that this library has trained, from the folder they were saved in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from embridge.adapters.base import normalized
from embridge.encoders._local import pick_device
from embridge.encoders.base import Modality, Role, require_items
from embridge.encoders.squares import square_pixels
from embridge.errors import SettingsError, require
from embridge.progress import Progress, silent
from embridge.shapes import Float32
from embridge.space import Space

__all__ = ["TrainedEncoder", "space_from_files"]


@final
class TrainedEncoder:
    """Images to the vectors of a model that this library trained: its folder, or the `TrainedModel` itself.

    Vectors are L2-normalised float32. The space's revision is a hash of the weights. A model that is passed itself is moved to
    the device and no longer trains. Needs the extra ``train``.

    Args:
        model: The folder, or the model.
        device: As in `ClipEncoder`.
        batch_size: Images that are encoded at once.
        network: That of a model whose backbone is the user's own, which a folder does not hold.
        progress: Hears how many images are done.

    Raises:
        SettingsError: The model is of vectors; the head of its upgrade is what runs that.
        ArtefactError: The folder is truncated, altered or foreign.

    Examples:
        >>> import torch
        >>> from embridge.backbones.embedding import AsGiven
        >>> from embridge.backbones.pixels import Pixels
        >>> from embridge.backbones.resnet import SmallResNet
        >>> from embridge.backbones.saved import TrainedModel
        >>> model = TrainedModel("toy", SmallResNet(4, width=4, depth=8), AsGiven(), dim=4, pixels=Pixels(8))
        >>> TrainedEncoder(model, device="cpu").encode(np.zeros((2, 8, 8), np.uint8), modality="image").shape
        (2, 4)
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({"image"})

    def __init__(
        self,
        model: Any,
        *,
        device: str = "auto",
        batch_size: int = 256,
        network: Any = None,
        progress: Progress = silent,
    ) -> None:
        self._torch = require("torch", extra="train")
        saved = require("embridge.backbones.saved", extra="train")
        if isinstance(model, (str, Path)):
            model, self.provenance = saved.TrainedModel.load(model, network=network)
        else:
            self.provenance = {}
        if model.pixels is None:
            raise SettingsError(
                f"{model.name} was trained on vectors of a frozen model, not on images; encode with that model, and map its "
                "vectors with the head of the upgrade"
            )
        self.batch_size, self.progress = batch_size, progress
        self.device = pick_device(device)
        self.model = model.float().to(self.device).eval()
        self.space = model.space

    def encode(
        self, items: Sequence[Any] | np.ndarray, *, modality: Modality, role: Role = "document"
    ) -> Float32[np.ndarray, "n d"]:
        """Vectors of images (see `Encoder.encode`); ``role`` changes nothing."""
        require_items(items, self, modality)
        rows = []
        for start in range(0, len(items), self.batch_size):
            rows.append(
                self._forward(square_pixels(items[start : start + self.batch_size], self._side, first_row=start))
            )
            self.progress(min(start + self.batch_size, len(items)), len(items), f"{self.space.model}: {modality}")
        return normalized(np.concatenate(rows))

    @property
    def _side(self) -> int:
        return int(self.model.pixels.side)

    def _forward(self, pixels: np.ndarray) -> np.ndarray:
        with self._torch.inference_mode():
            rows: np.ndarray = self.model(self._torch.from_numpy(pixels).to(self.device)).cpu().numpy()
        return rows


def space_from_files(name: str | Path) -> Space | None:
    """The space of a trained model, as its config says it; no weights are loaded.

    Args:
        name: The model's folder.

    Returns:
        The space.

    Raises:
        ArtefactError: The folder is truncated, altered or foreign.

    Examples:
        >>> space_from_files("no-such-folder")
        Traceback (most recent call last):
        embridge.errors.ArtefactError: no-such-folder is not a trained model: expected config.json and model.safetensors in it
    """
    space: Space = require("embridge.backbones.saved", extra="train").space_of_folder(name)
    return space
