"""Where a map is trained, and how precisely."""

from __future__ import annotations

from functools import cache
from time import perf_counter

import torch
from torch import Tensor

from embridge.errors import SettingsError

__all__ = ["bfloat16_pays", "in_bfloat16", "require_device"]

_CPU_SIZE, _SIZE = (512, 768, 512), (4096, 4096, 4096)  # of a product: large enough to keep the device busy
_TURNS = 5
_GAIN = 1.3  # bfloat16 costs digits, so that it has to be worth it; and the answer is the same in every process


def require_device(device: str, method: str) -> None:
    """Refuse a device that cannot be used.

    Args:
        device: Its name in torch, such as ``cuda``.
        method: What messages call the method.

    Raises:
        SettingsError: There is no such device here.

    Examples:
        >>> require_device("cpu", "xbt")
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"{method}: device {device!r} cannot be used here ({error}); leave it at cpu") from error


def in_bfloat16(precision: str, device: str) -> bool:
    """Whether bfloat16 is meant.

    Args:
        precision: ``float32``, ``bfloat16``, or ``auto``, which takes bfloat16 where `bfloat16_pays`.
        device: Where it is to be used.

    Returns:
        Whether to use it.

    Examples:
        >>> in_bfloat16("float32", "cpu")
        False
    """
    return bfloat16_pays(device) if precision == "auto" else precision == "bfloat16"


@cache
def bfloat16_pays(device: str) -> bool:
    """Measure whether a layer's product takes less time in bfloat16: at most 1/1.3 of that in float32.

    Processors that say they have bfloat16 are at times slower in it. It takes some milliseconds, once in a process. The
    shortest of some turns counts, so that what else runs on the machine does not decide.

    Args:
        device: Its name in torch.

    Returns:
        Whether it does.

    Examples:
        >>> bfloat16_pays("cpu") == bfloat16_pays("cpu")
        True
    """
    size = _CPU_SIZE if torch.device(device).type == "cpu" else _SIZE
    x = torch.full(size[:2], 0.5, device=device)
    try:
        seconds = [_shortest(x, torch.full(size[1:], 0.5, device=device, dtype=d)) for d in (x.dtype, torch.bfloat16)]
    except RuntimeError:  # the device has no such product
        return False
    return seconds[0] >= _GAIN * seconds[1]


def _shortest(x: Tensor, weight: Tensor) -> float:
    """The seconds of the quickest of some products; x is cast each time, as in training."""
    seconds = []
    for _ in range(_TURNS + 1):  # the first one prepares kernels
        began = perf_counter()
        _finish(x.to(weight.dtype) @ weight)
        seconds.append(perf_counter() - began)
    return min(seconds)


def _finish(product: Tensor) -> None:
    """Wait for what a device works on by itself."""
    product[0, 0].item()
