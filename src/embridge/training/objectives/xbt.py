"""The losses of finetuning with XBT: images find their captions in the old space, and the captions stay where they were."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.errors import SettingsError
from embridge.methods.xbt_losses import neighbour_loss, xbt_loss

__all__ = ["Captions", "XBTCaptioned", "XBTImageText", "grouped_info_nce"]


@dataclass(frozen=True, slots=True, eq=False)
class Captions:
    """Captions that the projection ψ was fitted to, as both models saw them then; row i of all three is one caption.

    Attributes:
        new: N, unit rows [m, d_new] of the new model.
        old: O, unit rows [m, d_old] of the old model.
        mapped: ψ(N), unit rows [m, d_old].

    Examples:
        >>> Captions(torch.eye(3), torch.eye(3, 2), torch.eye(3, 2)).mapped.shape
        torch.Size([3, 2])
    """

    new: Tensor
    old: Tensor
    mapped: Tensor


class XBTImageText(nn.Module):
    """Bring images to their captions, and keep the captions where they are in the old space.

    ``½·InfoNCE(I, T) + ½·InfoNCE(I, T') + keep_weight·mean(1 − cos(T', T))``, both InfoNCE symmetric. I = ψ(new image) and
    T' = ψ(new caption) are trained. T = ψ₀(new caption without LoRA) is the surrogate of the old model's caption, which takes no
    gradient. So the old model is not needed.

    Call it with images, texts and targets, unit rows [b, d_old] each, row i of all three of one pair. groups [b]: rows of one
    group (captions of one photo, photos of one caption) are no wrong answers to each other. It gives ``image_to_old_text``,
    ``image_to_text`` and ``keep``, weighted: their sum is the loss.

    Source:
        Our reading of Jang & Lim, "Towards cross-modal backward-compatible representation learning for vision-language models",
        ICCV 2025 (arXiv 2405.14715). Certain is that the old model is not used; these three terms are ours.

    Note:
        Related: `xbt_loss` is the loss that ψ is fitted by.

    Args:
        temperature: Of both InfoNCE.
        keep_weight: Of the third term.

    Raises:
        SettingsError: The temperature is not above 0, or the weight is below 0.

    Examples:
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
    """Bring images to their captions, and let them see the old captions as they see the new ones.

    ``InfoNCE(I, T') + keep_weight·mean(1 − cos(T', T)) + neighbour_weight·KL(z_I·N ‖ I·O) + L₁(ψ(N), O)``, with I, T' and T as in
    `XBTImageText`. N and O are captions as the new and the old model saw them when ψ was fitted, so no old model is needed here
    either. L₁ is `xbt_loss`; the third term is `neighbour_loss`, of real images z_I in the place of noised text.

    Call it with images, texts, targets and groups as there; new_without_lora [b, d_new], unit rows of the images by the new model
    without LoRA; and captions. It gives ``image_to_text``, ``keep``, ``neighbours`` and ``captions``, weighted.

    Deviation:
        For our reading of the paper see `XBTImageText`, where each image has its own surrogate to find.

    Args:
        temperature: Of InfoNCE and of L₁.
        keep_weight: Of the second term.
        neighbour_weight: Of the third term.
        neighbour_temperature: Of the third term.

    Raises:
        SettingsError: A temperature is not above 0, or a weight is below 0.

    Examples:
        >>> loss = XBTCaptioned(temperature=0.05, keep_weight=1.0, neighbour_weight=2.0, neighbour_temperature=0.05)
        >>> rows = torch.eye(3)
        >>> terms = loss(rows, rows, rows, new_without_lora=rows, captions=Captions(rows, rows, rows))
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
        new_without_lora: Tensor,
        captions: Captions,
        groups: Tensor | None = None,
    ) -> dict[str, Tensor]:
        pairs, rows = self.image_text, (captions.new, captions.old)
        neighbours = neighbour_loss(new_without_lora, images, rows, temperature=self.neighbour_temperature, own=False)
        return {
            "image_to_text": grouped_info_nce(images, texts, pairs.temperature, groups),
            "keep": pairs.keep_weight * (1 - (texts * targets.detach()).sum(1)).mean(),
            "neighbours": self.neighbour_weight * neighbours,
            "captions": xbt_loss(captions.mapped, captions.old, temperature=pairs.temperature, cosine_weight=1.0),
        }


def grouped_info_nce(a: Tensor, b: Tensor, temperature: float, groups: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE, in which other rows of a row's own group are left out of its denominator.

    Args:
        a: Unit rows [b, d].
        b: Unit rows [b, d], row i the right one for row i of a.
        temperature: Of the logits.
        groups: Whole numbers [b]; None leaves nothing out.

    Returns:
        A scalar.

    Examples:
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
