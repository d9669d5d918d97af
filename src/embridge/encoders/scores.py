"""What a dual encoder makes of a cosine: its score is scale · cos + bias."""

from __future__ import annotations

from typing import Any

__all__ = ["score_terms"]


def score_terms(model: Any) -> tuple[float | None, float | None]:
    """What a dual encoder makes of a cosine: (exp(logit_scale), logit_bias).

    Models trained with a softmax, such as CLIP, have no bias. Those trained with a sigmoid, such as SigLIP, call
    sigmoid(scale · cos + bias) the probability that a text and an image belong together.

    Note:
        Zhai et al., "Sigmoid loss for language image pre-training", ICCV 2023, arXiv 2303.15343, section 3.2.

    Args:
        model: A dual encoder of transformers or open_clip.

    Returns:
        Both, None for what the model does not have.

    Examples:
        >>> from types import SimpleNamespace
        >>> import torch
        >>> score_terms(SimpleNamespace(logit_scale=torch.zeros(()), logit_bias=torch.full((1,), -10.0)))
        (1.0, -10.0)
        >>> score_terms(SimpleNamespace())
        (None, None)
    """
    scale, bias = (getattr(model, name, None) for name in ("logit_scale", "logit_bias"))
    return None if scale is None else scale.detach().exp().item(), None if bias is None else bias.detach().item()
