"""Precision: which numbers a backbone is trained in."""

from __future__ import annotations

from typing import Literal

from embridge.methods.devices import bfloat16_pays

__all__ = ["Precision", "precision_on"]

Precision = Literal["auto", "32-true", "bf16-mixed"]


def precision_on(device: str, precision: Precision) -> Literal["32-true", "bf16-mixed"]:
    """Settle what ``auto`` is on a device: bfloat16 on a GPU that is quicker in it, float32 elsewhere.

    Args:
        device: Such as ``cpu`` or ``cuda:0``.
        precision: What the settings say.

    Returns:
        Lightning's name of the precision.

    Examples:
        >>> precision_on("cpu", "auto"), precision_on("cpu", "bf16-mixed")
        ('32-true', 'bf16-mixed')
    """
    if precision != "auto":
        return precision
    return "bf16-mixed" if device.startswith("cuda") and bfloat16_pays(device) else "32-true"
