"""What XBT's projection is trained by: captions meet their own old vectors, and whatever is not text keeps its neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["neighbour_loss", "with_noise", "xbt_loss"]

_NEVER = -1e4  # what a logit is that gets no share; finite, so that no difference of two is NaN


def xbt_loss(
    mapped: Tensor, old: Tensor, *, temperature: float, cosine_weight: float, shares: Tensor | None = None
) -> Tensor:
    """Symmetric InfoNCE(ψ(z), f_old) plus ``cosine_weight`` · mean(1 − cos).

    The cosine term keeps absolute scores where they were, which galleries that mix both models need.

    Args:
        mapped: ψ(z), unit rows [b, d_old].
        old: f_old, unit rows [b, d_old].
        temperature: What cosines are divided by.
        cosine_weight: Of the second term.
        shares: How much each caption's own terms count [b], one on average over the captions. As a contrast to others it
            counts once all the same, since a caption is no wrong answer to itself.

    Returns:
        A scalar.

    Examples:
        >>> bool(xbt_loss(torch.eye(2), torch.eye(2), temperature=0.07, cosine_weight=1.0) < 1e-5)
        True
    """
    logits = mapped @ old.T / temperature
    target = torch.arange(len(mapped), device=mapped.device)
    if shares is not None:
        rows, columns = (F.cross_entropy(x, target, reduction="none") for x in (logits, logits.T))
        return (shares * ((rows + columns) / 2 + cosine_weight * (1 - (mapped * old).sum(1)))).mean()
    contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    return contrast + cosine_weight * (1 - (mapped * old).sum(1)).mean()


def neighbour_loss(
    z: Tensor,
    mapped: Tensor,
    texts: tuple[Tensor, Tensor],
    *,
    temperature: float,
    own: bool = True,
    shares: Tensor | None = None,
) -> Tensor:
    """KL(softmax(z·N / τ) ‖ softmax(ψ(z)·O / τ)), the mean over unit rows z.

    The loss is zero where ψ(z) ranks and scores the old vectors of the others just as z does the new ones. It asks that of any
    z, one that is no caption's vector among them: nothing but the new model says what is near to it.

    Args:
        z: Unit rows [b, d_new].
        mapped: ψ(z), unit rows [b, d_old].
        texts: N [m, d_new] and O [m, d_old], the same captions as both models see them.
        temperature: τ.
        own: m = b and row i of z is made of caption i, which is left out of what it is compared with.
        shares: How much each row counts [b].

    Returns:
        A scalar.

    Examples:
        >>> rows = torch.eye(3)
        >>> float(neighbour_loss(rows, rows, (rows, rows), temperature=0.05))
        0.0
    """
    logits = [x @ t.T / temperature for x, t in zip((z, mapped), texts, strict=True)]
    if own:
        left_out = torch.eye(len(z), dtype=torch.bool, device=z.device)
        logits = [values.masked_fill(left_out, _NEVER) for values in logits]
    target, prediction = (F.log_softmax(values, dim=1) for values in logits)
    rows = (target.exp() * (target - prediction)).sum(1)
    return rows.mean() if shares is None else (shares * rows).mean()


def with_noise(z: Tensor, noise: float) -> Tensor:
    """Move unit rows by Gaussian noise of length about ``noise · u``, u ~ U(0, 1) a row, and renormalise.

    Args:
        z: Unit rows [b, d].
        noise: The length relative to a unit vector; with 0 the rows stay as they are.

    Returns:
        Unit rows [b, d].

    Examples:
        >>> bool(torch.allclose(with_noise(torch.eye(3), 2.0).norm(dim=1), torch.ones(3)))
        True
    """
    if noise == 0:
        return z
    scale = noise / z.shape[1] ** 0.5 * torch.rand(len(z), 1, device=z.device)
    return F.normalize(z + scale * torch.randn_like(z), dim=1)
