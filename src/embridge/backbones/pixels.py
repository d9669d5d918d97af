"""Pixels: what becomes of the bytes of an image before a backbone sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from embridge.errors import SettingsError

__all__ = ["Pixels"]

_LARGEST = 1e30  # float32 holds it


@dataclass(frozen=True, slots=True)
class Pixels:
    """How images are shifted and scaled: ``(x / 255 − mean) / std``.

    Attributes:
        side: Of the square images, in pixels.
        mean: Of red, green and blue.
        std: Of red, green and blue.

    Raises:
        SettingsError: The side is below 1, or a std is not above 0.

    Examples:
        >>> Pixels(1).scaled(torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1)).flatten().tolist()
        [-1.0, 1.0, -0.6000000238418579]
    """

    side: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        three = len(self.mean) == len(self.std) == 3 and all(0 < s < float("inf") for s in self.std)
        if self.side < 1 or not three or not all(abs(m) < _LARGEST for m in (*self.mean, *self.std)):
            raise SettingsError(
                f"pixels: expected a side of at least 1, three means, and three stds above 0; came {self}"
            )

    def scaled(self, images: Tensor) -> Tensor:
        """Scale images as bytes.

        Args:
            images: uint8 [b, 3, side, side].

        Returns:
            What a backbone takes, float32 of that shape.
        """
        return self.normalised(images.float() / 255)

    def normalised(self, images: Tensor) -> Tensor:
        """Scale images that are numbers already, as augmentations give them.

        Args:
            images: float32 from 0 to 1 [b, 3, side, side].

        Returns:
            What a backbone takes, float32 of that shape.
        """
        mean, std = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        return (images - mean) / std

    def to_dict(self) -> dict[str, Any]:
        """For JSON; see `from_dict`."""
        return {"side": self.side, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Pixels:
        """The inverse of `to_dict`."""
        return cls(fields["side"], tuple(fields["mean"]), tuple(fields["std"]))
