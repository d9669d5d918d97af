"""Trainings that diverged: one line that says where, and what is usually the cause."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from embridge.errors import InvalidInput

__all__ = ["require_converging"]


def require_converging(loss: Tensor, weights: Iterable[Tensor], *, what: str, step: int, steps: int) -> None:
    """Refuse a training whose loss or weights are no longer finite.

    Args:
        loss: Of the last step, or a sum of several.
        weights: What is trained.
        what: What progress calls the steps, such as ``xbt steps``.
        step: The last one.
        steps: How many there are.

    Raises:
        InvalidInput: One is NaN or infinite.

    Examples:
        >>> import torch
        >>> require_converging(torch.ones(()), [torch.ones(2)], what="xbt steps", step=3, steps=9)
    """
    broken = "loss" if not loss.isfinite().all() else "weights"
    if broken == "loss" or not all(w.isfinite().all() for w in weights if w.is_floating_point()):
        raise InvalidInput(
            f"training diverged: by step {step} of {steps} ({what}) the {broken} held NaN or infinity; set a lower "
            "learning_rate, the usual cause, or look for extreme values in the data. Nothing was written"
        )
