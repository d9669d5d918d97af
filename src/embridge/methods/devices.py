"""Where a map is trained, and how precisely."""

from __future__ import annotations

import torch

from embridge.errors import SettingsError

__all__ = ["in_bfloat16", "require_device"]


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
        precision: ``float32``, ``bfloat16``, or ``auto``, which takes bfloat16 wherever the processor has it.
        device: Where it is to be used.

    Returns:
        Whether to use it.

    Examples:
        >>> in_bfloat16("float32", "cpu")
        False
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device != "cpu":
        return True
    compiled: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return compiled and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # the operator exists only where compiled
