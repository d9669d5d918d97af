"""Augmentations of a batch of images, by kornia, drawn from torch's generator: the same seed, the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from embridge.errors import SettingsError, require

__all__ = ["Augment"]


@dataclass(frozen=True, slots=True)
class Augment:
    """A crop at a random place of the padded image, and a flip left to right.

    Letters and digits, for instance, must not be flipped. Needs the extra ``train`` unless both are left out.

    Source: He et al., CVPR 2016 (arXiv 1512.03385), section 4.2: 4 pixels, flip .5.

    Attributes:
        crop_padding: Pixels around the image before it is cropped; 0 leaves the crop out.
        flip: The probability of a flip; 0 leaves it out.
        padding_mode: What is around: black (``constant``), or the image mirrored (``reflect``).

    Raises:
        SettingsError: A setting is out of range.

    Examples:
        >>> import torch
        >>> Augment(crop_padding=2, flip=0.5).make(8)(torch.zeros(3, 3, 8, 8)).shape
        torch.Size([3, 3, 8, 8])
    """

    crop_padding: int = 4
    flip: float = 0.5
    padding_mode: Literal["constant", "reflect"] = "constant"

    def __post_init__(self) -> None:
        if self.crop_padding < 0 or not 0 <= self.flip <= 1 or self.padding_mode not in ("constant", "reflect"):
            raise SettingsError(
                "augment: crop_padding is 0 or more, flip 0 to 1, padding_mode constant or reflect; came "
                f"{self.crop_padding}, {self.flip} and {self.padding_mode!r}"
            )

    def make(self, side: int) -> nn.Module:
        """Make the augmentation of images of a side.

        Args:
            side: In pixels.

        Returns:
            A module from images [b, 3, side, side], float32 from 0 to 1, to as many; each row is augmented by itself.

        Raises:
            MissingExtra: kornia is not installed.
        """
        steps: list[nn.Module] = []
        if self.crop_padding or self.flip:
            kornia = require("kornia.augmentation", extra="train")
            if self.crop_padding:
                around = {"padding": self.crop_padding, "padding_mode": self.padding_mode}
                steps.append(kornia.RandomCrop((side, side), cropping_mode="slice", **around))
            if self.flip:
                steps.append(kornia.RandomHorizontalFlip(p=self.flip))
        return nn.Sequential(*steps)
