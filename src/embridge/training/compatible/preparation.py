"""Preparation: what becomes of a batch before the backbone sees it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from embridge.backbones.pixels import Pixels
from embridge.training.compatible.memory_layout import image_layout, unsound_layer
from embridge.training.compatible.settings import CompatibleSettings
from embridge.training.compatible.start import Start

__all__ = ["Preparation", "preparation_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Preparation:
    """What becomes of a batch before the backbone sees it.

    Attributes:
        pixels: How images are shifted and scaled; None for vectors, which stay as they are.
        augment: What is done to images that are learnt from.
        layout: Of images, and of the backbone.

    Examples:
        >>> preparation = Preparation(Pixels(2), nn.Sequential(), torch.channels_last)
        >>> preparation.prepared(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), augmented=False).unique().tolist()
        [-1.0]
    """

    pixels: Pixels | None
    augment: nn.Module
    layout: torch.memory_format

    def prepared(self, x: Tensor, *, augmented: bool) -> Tensor:
        """The batch as the backbone takes it; ``augmented`` if it is learnt from."""
        if self.pixels is None:
            return x
        images = x.float() / 255
        scaled = self.pixels.normalised(self.augment(images) if augmented else images)
        return scaled.contiguous(memory_format=self.layout)


def preparation_of(start: Start, settings: CompatibleSettings, device: str) -> Preparation:
    """Say what becomes of the items of a training, and warn where its network cannot have the faster layout.

    Args:
        start: The items and the network.
        settings: How the training is done.
        device: Where.

    Returns:
        The preparation of its batches.

    Examples:
        >>> from embridge.backbones.vectors import VectorHead
        >>> from embridge.training.compatible.labelled import LabelledVectors
        >>> from embridge.training.objectives import make_objective
        >>> import numpy as np
        >>> data = LabelledVectors(np.eye(4, dtype=np.float32), np.arange(4) % 2)
        >>> start = Start(data, VectorHead(4, 3), make_objective("independent", None, 2, {"dim": 3}), None, 0)
        >>> preparation_of(start, CompatibleSettings(), "cpu").pixels is None
        True
    """
    pixels = settings.pixels(start.data.side)
    if pixels is None:
        return Preparation(None, nn.Sequential(), torch.contiguous_format)
    layer = unsound_layer(start.network, device)
    if layer is not None:
        warnings.warn(
            f"training: {layer} is a 1 × 1 convolution with a stride and fewer than 16 input channels, which torch cannot "
            "train in channels_last on a CPU: the network is trained in the contiguous layout, somewhat slower",
            stacklevel=5,
        )
    return Preparation(pixels, settings.augment.make(pixels.side), image_layout(start.network, device))
