"""The losses of XBT's second stage: images find their captions in the old space, and the captions stay where they were."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.errors import SettingsError
from embridge.methods.xbt_losses import neighbour_loss, xbt_loss

__all__ = ["XBTCaptioned", "XBTImageText", "grouped_info_nce"]


class XBTImageText(nn.Module):
    """``½·InfoNCE(I, T) + ½·InfoNCE(I, T') + keep_weight·mean(1 − cos(T', T))``, both InfoNCE symmetric.

    Jang & Lim, "Cross-modal backward-compatible training", ICCV 2025 (arXiv 2405.14715), section 3. I = ψ(new image),
    T' = ψ(new caption), both trained; T = ψ₀(native new caption), the surrogate of the old model's caption, which takes no
    gradient. So the old model is not needed.

    Inputs: unit rows [b, d_old] each, row i of all three of one pair; groups [b]: rows of one group (captions of one photo,
    photos of one caption) are no wrong answers to each other. Gives ``image_to_old_text``, ``image_to_text`` and ``keep``,
    weighted: their sum is the loss. Related: `embridge.methods.xbt.xbt_loss`, of the first stage.

    >>> terms = XBTImageText(temperature=0.05, keep_weight=1.0)(torch.eye(3), torch.eye(3), torch.eye(3))
    >>> bool(sum(terms.values()) < 1e-6), sorted(terms)
    (True, ['image_to_old_text', 'image_to_text', 'keep'])
    """

    def __init__(self, temperature: float, keep_weight: float) -> None:
        super().__init__()
        if not 0 < temperature < float("inf") or not 0 <= keep_weight < float("inf"):
            raise SettingsError(f"expected temperature > 0 and keep_weight >= 0, came {temperature} and {keep_weight}")
        self.temperature, self.keep_weight = temperature, keep_weight

    def forward(
        self, images: Tensor, texts: Tensor, targets: Tensor, groups: Tensor | None = None
    ) -> dict[str, Tensor]:
        targets = targets.detach()
        return {
            "image_to_old_text": grouped_info_nce(images, targets, self.temperature, groups) / 2,
            "image_to_text": grouped_info_nce(images, texts, self.temperature, groups) / 2,
            "keep": self.keep_weight * (1 - (texts * targets).sum(1)).mean(),
        }


class XBTCaptioned(nn.Module):
    """``InfoNCE(I, T') + keep_weight·mean(1 − cos(T', T)) + neighbour_weight·KL(z_I·N ‖ I·O) + L₁(ψ(N), O)``.

    ``Deviation:`` for the paper's loss see `XBTImageText`. N and O are captions of stage 1 as the new and the old model saw
    them then, so no old model is needed here either; L₁ is the first stage's `xbt_loss`, the third term its
    `neighbour_loss`, of real images z_I in the place of noised text: they learn to see the old captions as they see the new
    ones, instead of each its own surrogate.

    Inputs: images, texts, targets and groups as there; seen [b, d_new]: the native new image vectors; captions (N [m,
    d_new], O [m, d_old]) and mapped [m, d_old], ψ(N); unit rows. Gives ``image_to_text``, ``keep``, ``neighbours`` and
    ``captions``, weighted.

    >>> loss = XBTCaptioned(temperature=0.05, keep_weight=1.0, neighbour_weight=2.0, neighbour_temperature=0.05)
    >>> rows = torch.eye(3)
    >>> terms = loss(rows, rows, rows, seen=rows, captions=(rows, rows), mapped=rows)
    >>> bool(sum(terms.values()) < 1e-6), sorted(terms)
    (True, ['captions', 'image_to_text', 'keep', 'neighbours'])
    """

    def __init__(
        self, temperature: float, keep_weight: float, neighbour_weight: float, neighbour_temperature: float
    ) -> None:
        super().__init__()
        self.image_text = XBTImageText(temperature, keep_weight)
        if not 0 < neighbour_temperature < float("inf") or not 0 <= neighbour_weight < float("inf"):
            raise SettingsError(
                "expected neighbour_temperature > 0 and neighbour_weight >= 0, came "
                f"{neighbour_temperature} and {neighbour_weight}"
            )
        self.neighbour_weight, self.neighbour_temperature = neighbour_weight, neighbour_temperature

    def forward(
        self,
        images: Tensor,
        texts: Tensor,
        targets: Tensor,
        *,
        seen: Tensor,
        captions: tuple[Tensor, Tensor],
        mapped: Tensor,
        groups: Tensor | None = None,
    ) -> dict[str, Tensor]:
        pairs = self.image_text
        kept = neighbour_loss(seen, images, captions, temperature=self.neighbour_temperature, own=False)
        return {
            "image_to_text": grouped_info_nce(images, texts, pairs.temperature, groups),
            "keep": pairs.keep_weight * (1 - (texts * targets.detach()).sum(1)).mean(),
            "neighbours": self.neighbour_weight * kept,
            "captions": xbt_loss(mapped, captions[1], temperature=pairs.temperature, cosine_weight=1.0),
        }


def grouped_info_nce(a: Tensor, b: Tensor, temperature: float, groups: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE of unit rows [b, d]; other rows of a row's own group are left out of its denominator.

    >>> alike = torch.eye(2)[[0, 0, 1]]
    >>> bool(grouped_info_nce(alike, alike, 0.05, torch.tensor([4, 4, 7])) < 1e-6)
    True
    """
    logits = a @ b.T / temperature
    rows = torch.arange(len(a), device=a.device)
    if groups is not None:
        same = (groups[:, None] == groups[None, :]) & (rows[:, None] != rows[None, :])
        logits = logits.masked_fill(same, float("-inf"))
    return (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2
