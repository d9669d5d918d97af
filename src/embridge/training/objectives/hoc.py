"""HOC: a fixed simplex as classifier makes models alike by itself; a contrast to the old embeddings does the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from embridge.backbones.embedding import unit_rows
from embridge.errors import SettingsError
from embridge.training.objectives.base import Objective, OldModel
from embridge.training.objectives.requirements import needed_embeddings, needed_old
from embridge.training.objectives.settings import NotNegative, Positive, Settings

__all__ = ["HOC", "HOCSettings", "higher_order_loss", "regular_simplex"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HOCSettings(Settings):
    """Settings of `HOC`.

    Attributes:
        dim: Of the embeddings: the old model's, or without one at least classes − 1, which is the default.
        sharpness: μ, of the contrast.
        classification_weight: a, of the first term.
        compatibility_weight: b, of the second term.
        scale: s, of the logits.

    Examples:
        >>> HOCSettings().sharpness
        10.0
    """

    dim: int | None = None
    sharpness: Positive = 10.0
    classification_weight: NotNegative = 0.1
    compatibility_weight: NotNegative = 0.9
    scale: Positive = 1.0


class HOC(Objective):
    """Classify by a simplex that is never trained, and contrast new embeddings with old ones.

    ``a · CE(s · S φ, y) + b · mean_i HOC_i``, S [d + 1, d] by `regular_simplex` and HOC_i by `higher_order_loss`. Vertices beyond
    the classes of now are kept for classes to come, and are outputs like the others already (Biondi et al., CoReS, 2023, arXiv
    2111.07632). Two models trained with the same S are near each other before anything compares them, so the first one is trained
    with this objective too: without an old model the loss is CE alone.

    Source:
        Biondi et al., "Stationary representations: optimally approximating compatibility and implications for improved model
        replacements", CVPR 2024 (arXiv 2405.02581).

    Args:
        old: The old model, with its embeddings of all training rows, or None for the first model. Prototypes are not used.
        classes: How many classes the new model is trained on, at least two.
        settings: The defaults where it is left out.

    Raises:
        InvalidInput: The old model lacks its embeddings or is of other classes.
        SettingsError: The dim holds too few vertices or is not the old model's.

    Examples:
        >>> first = HOC(None, 3)
        >>> first.embedding_dim, sorted(first(torch.randn(2, 2), torch.tensor([0, 2]), torch.arange(2)))
        (2, ['classification'])
    """

    paper: ClassVar[str] = (
        "Biondi et al., Stationary representations: optimally approximating compatibility and implications for improved "
        "model replacements, CVPR 2024, arXiv 2405.02581"
    )
    row_terms = frozenset({"compatibility"})
    vertices: Tensor
    old_embeddings: Tensor | None

    def __init__(self, old: OldModel | None, classes: int, settings: HOCSettings | None = None) -> None:
        settings = settings or HOCSettings()
        old = None if old is None else needed_old("hoc", old, classes)
        dim = _dim(old, classes, settings.dim)
        super().__init__(feature_dim=dim, embedding_dim=dim, old_dim=dim)
        self.sharpness, self.scale = settings.sharpness, settings.scale
        self.classification_weight = settings.classification_weight
        self.compatibility_weight = settings.compatibility_weight
        self.register_buffer("vertices", regular_simplex(dim))
        embeddings = None if old is None else needed_embeddings("hoc", old)
        self.register_buffer("old_embeddings", embeddings, persistent=False)

    def embed(self, features: Tensor) -> Tensor:
        return features

    def forward(self, features: Tensor, labels: Tensor, index: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(features)
        classification = F.cross_entropy(self.scale * embeddings @ self.vertices.T, labels)
        if self.old_embeddings is None:
            return {"classification": classification}
        losses = higher_order_loss(unit_rows(embeddings), self.old_embeddings[index], labels, sharpness=self.sharpness)
        return {
            "classification": self.classification_weight * classification,
            "compatibility": self.compatibility_weight * losses.mean(),
        }


def higher_order_loss(new: Tensor, old: Tensor, labels: Tensor, *, sharpness: float) -> Tensor:
    """Contrast each old embedding with the new ones of other classes.

    ``HOC_i = −μ⟨o_i, n_i⟩ + log Σ_{j: y_j ≠ y_i} e^{μ⟨o_i, n_j⟩}``. Where the batch holds no other class it is its first part
    alone.

    Deviation:
        Rows of the same class are left out of the sum; the public code sets their cosines to zero, so that each still adds one.

    Args:
        new: Unit rows [b, d].
        old: Unit rows [b, d] of the same items.
        labels: Their classes [b].
        sharpness: μ.

    Returns:
        A loss [b] for each item.

    Examples:
        >>> rows = torch.eye(2)
        >>> higher_order_loss(rows, rows, torch.tensor([0, 1]), sharpness=10.0).tolist()
        [-10.0, -10.0]
    """
    logits = sharpness * old @ new.T
    other = labels[:, None] != labels[None, :]
    contrasted = other.any(1)
    rivals = logits.masked_fill(~(other | ~contrasted[:, None]), float("-inf")).logsumexp(1)
    return rivals.masked_fill(~contrasted, 0) - logits.diagonal()


def regular_simplex(dim: int) -> Tensor:
    """Make the d + 1 unit vectors of which any two are at the cosine −1/d.

    Args:
        dim: d, 1 or more.

    Returns:
        Unit rows [d + 1, d], the same numbers always.

    Examples:
        >>> (regular_simplex(2) @ regular_simplex(2).T).mul(100).round().tolist()
        [[100.0, -50.0, -50.0], [-50.0, 100.0, -50.0], [-50.0, -50.0, 100.0]]
    """
    last = torch.full((1, dim), (1 - (dim + 1) ** 0.5) / dim, dtype=torch.float64)
    vertices = torch.cat([torch.eye(dim, dtype=torch.float64), last])
    return F.normalize(vertices - vertices.mean(0), dim=1).float()


def _dim(old: OldModel | None, classes: int, dim: int | None) -> int:
    """How long an embedding is; raises unless the simplex has a vertex for each class and the old model the same dim."""
    if not isinstance(classes, int) or classes < 2:
        raise SettingsError(f"hoc: a simplex is of two classes or more, came {classes=}")
    found = dim if dim is not None else classes - 1 if old is None else old.dim
    if not isinstance(found, int) or found < classes - 1 or (old is not None and found != old.dim):
        dims = "" if old is None else f", and the old model's dim is {old.dim}"
        raise SettingsError(f"hoc: {classes} classes take {classes - 1} dims or more{dims}; came dim={found}")
    return found
