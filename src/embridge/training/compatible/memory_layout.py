"""The memory layout that images are trained in: channels last, but where a convolution is unsound in it."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["image_layout", "unsound_layer"]

_SOUND_CHANNELS = 16


def image_layout(network: nn.Module, device: str) -> torch.memory_format:
    """Choose channels last, which is faster, unless the network has an `unsound_layer` on this device.

    Args:
        network: What is trained.
        device: Where.

    Returns:
        The layout for the network and its images.

    Examples:
        >>> image_layout(nn.Conv2d(4, 8, 1, stride=2), "cpu"), image_layout(nn.Conv2d(4, 8, 3, stride=2), "cpu")
        (torch.contiguous_format, torch.channels_last)
    """
    return torch.channels_last if unsound_layer(network, device) is None else torch.contiguous_format


def unsound_layer(network: nn.Module, device: str) -> str | None:
    """Find the first convolution that must not be trained in channels last.

    On a processor, oneDNN (torch 2.13) writes past its memory in the gradient of the weights of a 1 × 1 convolution with a
    stride and few input channels: fewer than 8 with AVX2, fewer than 16 with AVX-512, there on large images or with several
    threads. Other kernels, groups, bfloat16 and the contiguous layout are sound. One rule holds for every processor, so
    that a training does not depend on which one it meets.

    Args:
        network: What is trained.
        device: Where.

    Returns:
        The name of the layer; None where there is none.

    Examples:
        >>> unsound_layer(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 1, stride=2)), "cpu")
        '1'
    """
    if torch.device(device).type != "cpu":
        return None
    return next((name or type(layer).__name__ for name, layer in network.named_modules() if _is_unsound(layer)), None)


def _is_unsound(layer: nn.Module) -> bool:
    if not isinstance(layer, nn.Conv2d) or layer.groups > 1:
        return False
    return layer.in_channels < _SOUND_CHANNELS and layer.kernel_size == (1, 1) and max(layer.stride) > 1
