"""λ-orthogonality: an affine map that may leave the rotations, but not by more than λ; or one that may not at all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.adapters.linear import Linear
from embridge.adapters.upgrade import Direction, Upgrade
from embridge.errors import SettingsError
from embridge.methods.base import Pairs, backward_upgrade, forward_upgrade, require_cosine
from embridge.methods.pair_rows import Rows, reversed_pairs, split_rows
from embridge.methods.procrustes import Procrustes, fit_rotation
from embridge.methods.signal import check_signal
from embridge.methods.training_loop import train_by_loss
from embridge.methods.training_settings import Training
from embridge.progress import Progress, silent

__all__ = ["LambdaOrthogonal", "contrastive_loss", "orthogonality_gap", "orthogonality_penalty"]

_THRESHOLD, _AT_DIM = 12.0, 1024


@dataclass(frozen=True, slots=True)
class LambdaOrthogonal:
    """``y = x W + b`` with ‖y − f‖² + σ(a (g − λ)) · g, g = ‖W Wᵀ − I‖_F.

    Weights of the pairs weigh every term but the penalty. Where no trained weights are better on held-out pairs than the
    Procrustes map, the upgrade is that map, fitted on all pairs.

    Requirements: the same items encoded by both models; labels if there are any. Related: `Procrustes`, which strict without
    labels comes back to, and λ = 0 comes close to.

    Source: Ricci et al., "λ-orthogonality regularization for compatible representation learning", NeurIPS 2025
    (arXiv 2509.16664).

    ``Deviation:`` where the dims differ the Gram matrix is that of the smaller side: the other one can never be the identity.
    ``Deviation:`` the paper keeps one A for the whole strict training. Begun anew at A = 0, the gradient is exact and needs no
    derivative of the exponential, which takes a second a step at 768 dims, and reflections can be reached.

    Attributes:
        threshold: λ, how far W may leave the rotations before the penalty g sets in. None takes 12 · √(d / 1024), d being the
            smaller dim, so that the squared singular values may leave one by .375 each whatever d is. 12 is the paper's value
            near d = 1024, where g grows as √d.
        sharpness: a.
        strict: W is a rotation throughout, or a partial isometry: the top left part of a square orthogonal matrix of the
            larger dim, begun at the Procrustes map and multiplied by e^{A − Aᵀ} a step.
        bias: Learn b.
        direction: ``backward`` maps new vectors into the old space, ``forward`` stored old ones into the new.
        contrastive_weight: Of `contrastive_loss`, added where the pairs have labels.
        temperature: Of the same.
        training: Settings of the optimiser; the default has no weight decay, and a `Training` of your own should say so too.

    Raises:
        SettingsError: A value is out of range.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> x = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
        >>> pairs = Pairs(Embeddings.of(x, Space("new", "1", 4)), Embeddings.of(x[:, ::-1], Space("old", "1", 4)))
        >>> short = Training(epochs=1, min_steps=5, weight_decay=0.0)
        >>> upgrade = LambdaOrthogonal(training=short, direction="forward").fit(pairs)
        >>> upgrade.bridge(pairs.old).space == pairs.new.space
        True
    """

    paper: ClassVar[str] = (
        "Ricci et al., λ-orthogonality regularization for compatible representation learning, NeurIPS 2025, arXiv 2509.16664"
    )

    threshold: float | None = None
    sharpness: float = 10.0
    strict: bool = False
    bias: bool = True
    direction: Direction = "backward"
    contrastive_weight: float = 0.1
    temperature: float = 0.1
    training: Training = Training(weight_decay=0.0)

    def __post_init__(self) -> None:
        if self.direction not in ("backward", "forward"):
            raise SettingsError(f"lambda-orthogonal: direction is backward or forward, came {self.direction!r}")
        if self.threshold is not None and not 0 <= self.threshold < float("inf"):
            raise SettingsError(f"lambda-orthogonal: threshold is 0 or more, came {self.threshold}")
        if not self.sharpness > 0 or not self.temperature > 0 or not self.contrastive_weight >= 0:
            raise SettingsError(f"lambda-orthogonal: sharpness, temperature or contrastive_weight out of range: {self}")

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Fit by gradient; the weights kept are those with the lowest loss, penalty included, on held-out pairs.

        Args:
            pairs: The same items as both models see them.
            seed: Of the split and of the order of the batches.
            progress: Told of every step.

        Returns:
            A backward or forward upgrade.

        Raises:
            InvalidInput: A space does not compare directions, there is one pair alone, or all have vectors of zeros.
        """
        require_cosine(pairs, "lambda-orthogonal")
        check_signal(pairs)
        mapped = pairs if self.direction == "backward" else reversed_pairs(pairs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            bridge, figures = self._train(mapped, seed, progress)
        upgrade = backward_upgrade if self.direction == "backward" else forward_upgrade
        return upgrade(bridge, pairs, "lambda-orthogonal", settings=self, seed=seed, figures=figures)

    def allowed(self, d_source: int, d_target: int) -> float:
        """λ between spaces of these dims.

        Examples:
            >>> LambdaOrthogonal().allowed(1024, 2048), LambdaOrthogonal().allowed(256, 256), LambdaOrthogonal(0).allowed(8, 8)
            (12.0, 6.0, 0)
        """
        return _THRESHOLD * (min(d_source, d_target) / _AT_DIM) ** 0.5 if self.threshold is None else self.threshold

    def _train(self, pairs: Pairs, seed: int, progress: Progress) -> tuple[Linear, dict[str, Any]]:
        center, chosen = Procrustes(None if self.bias else False).choose_centring(pairs, seed=seed)
        fitted, *rows = split_rows(pairs, self.training.validation_fraction, seed=seed)
        start = fit_rotation(fitted, center=center)
        module = _Rotation(start, self.bias) if self.strict else _Affine(start, self.bias)
        threshold = self.allowed(pairs.new.space.dim, pairs.old.space.dim)
        loss = partial(_loss, self, module, threshold)
        after_step = module.settle if isinstance(module, _Rotation) else None
        steps = (progress, "lambda-orthogonal steps")
        figures = {"centered": center, **chosen}
        figures |= train_by_loss(module, loss, (rows[0], rows[1]), self.training, progress=steps, after_step=after_step)
        trained = module.to_adapter(start) if figures["best_step"] else fit_rotation(pairs, center=center)
        gap = orthogonality_gap(torch.from_numpy(trained.weight))
        return trained, figures | {"threshold": 0.0 if self.strict else threshold, "orthogonality_gap": float(gap)}


def orthogonality_gap(weight: Tensor) -> Tensor:
    """‖W Wᵀ − I‖_F of the smaller side's Gram matrix.

    Args:
        weight: W [d_source, d_target].

    Returns:
        A scalar.

    Examples:
        >>> round(float(orthogonality_gap(2 * torch.eye(2, 5))), 4)  # two squared singular values of 4
        4.2426
    """
    wide = weight if weight.shape[0] <= weight.shape[1] else weight.T
    return torch.linalg.matrix_norm(wide @ wide.T - torch.eye(len(wide), dtype=weight.dtype))


def orthogonality_penalty(weight: Tensor, *, threshold: float, sharpness: float) -> Tensor:
    """σ(a (g − λ)) · g: next to nothing below λ, g above it.

    Args:
        weight: W [d_source, d_target].
        threshold: λ.
        sharpness: a.

    Returns:
        A scalar.

    Examples:
        >>> [round(float(orthogonality_penalty(2 * torch.eye(2), threshold=t, sharpness=10.0)), 3) for t in (3.0, 6.0)]
        [4.243, 0.0]
    """
    gap = orthogonality_gap(weight)
    return torch.sigmoid(sharpness * (gap - threshold)) * gap


def contrastive_loss(mapped: Tensor, rows: Rows, *, temperature: float) -> Tensor:
    """Supervised contrast across the spaces: each mapped row against the targets of its class, among all targets.

    −Σ_p v_p log softmax_p(cos(mapped_i, target_p) / τ) over the class of i, v being the shares of its rows made to sum to one.
    A pair of weight two is as two pairs, as an anchor and as a contrast.

    Source: Khosla et al. 2020, L_out; with anchors of one space and contrasts of the other, so that the own target counts.

    Args:
        mapped: What the map makes of the rows [b, d].
        rows: Their targets, shares and labels.
        temperature: τ.

    Returns:
        A scalar.

    Examples:
        >>> rows = Rows(torch.eye(2), torch.eye(2), torch.ones(2), torch.tensor([0, 1]))
        >>> float(contrastive_loss(torch.eye(2), rows, temperature=0.05)) < 1e-6
        True
    """
    assert rows.label is not None
    logits = F.normalize(mapped, dim=1) @ rows.target.T / temperature
    chances = torch.log_softmax(logits + rows.share.log(), dim=1) - rows.share.log()
    positives = (rows.label[:, None] == rows.label[None, :]) * rows.share
    chances = chances.masked_fill(positives == 0, 0)
    return rows.mean(-(positives * chances).sum(1) / positives.sum(1).clamp_min(1e-12))


def _loss(settings: LambdaOrthogonal, module: _Affine | _Rotation, threshold: float, rows: Rows) -> Tensor:
    mapped = module(rows.source)
    loss = rows.mean((mapped - rows.target).square().sum(1))
    if rows.label is not None and settings.contrastive_weight:
        loss = loss + settings.contrastive_weight * contrastive_loss(mapped, rows, temperature=settings.temperature)
    if settings.strict:
        return loss
    return loss + orthogonality_penalty(module.matrix(), threshold=threshold, sharpness=settings.sharpness)


class _Affine(nn.Module):
    """x W + b, begun at a linear map."""

    def __init__(self, start: Linear, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(start.weight.copy()))
        self.bias = _bias(start, bias)

    def forward(self, x: Tensor) -> Tensor:
        mapped = x @ self.matrix()
        return mapped if self.bias is None else mapped + self.bias

    def matrix(self) -> Tensor:
        return self.weight

    def to_adapter(self, start: Linear) -> Linear:
        weight, bias = (None if p is None else p.detach().numpy().copy() for p in (self.matrix(), self.bias))
        assert weight is not None
        return Linear(start.source, start.target, weight, bias, normalize_input=bias is not None)


class _Rotation(_Affine):
    """The same with W the top left part of Q e^{A − Aᵀ}, Q orthogonal; `settle` makes the product the next Q."""

    def __init__(self, start: Linear, bias: bool) -> None:
        super().__init__(start, bias)
        self.shape = start.weight.shape
        square = _completed(start.weight)
        self.square: Tensor
        self.register_buffer("square", torch.from_numpy(square))
        self.weight = nn.Parameter(torch.zeros_like(self.square))  # A

    def matrix(self) -> Tensor:
        """At A = 0, where `settle` leaves it, this and its gradient are those of Q e^{A − Aᵀ}."""
        turned = self.square + self.square @ (self.weight - self.weight.T)
        return turned[: self.shape[0], : self.shape[1]]

    @torch.no_grad()
    def settle(self) -> None:
        self.square.copy_(self.square @ torch.matrix_exp(self.weight - self.weight.T))
        self.weight.zero_()

    def to_adapter(self, start: Linear) -> Linear:
        """Q made orthogonal again to the last digit: many float32 products wear it off a little."""
        u, _, vt = np.linalg.svd(self.square.numpy().astype(np.float64))
        self.square.copy_(torch.from_numpy(u @ vt))
        return super().to_adapter(start)


def _bias(start: Linear, learnt: bool) -> nn.Parameter | None:
    if not learnt:
        return None
    return nn.Parameter(torch.zeros(start.target.dim) if start.bias is None else torch.from_numpy(start.bias.copy()))


def _completed(weight: np.ndarray) -> np.ndarray:
    """A square orthogonal matrix whose top left part is this partial isometry."""
    if weight.shape[0] < weight.shape[1]:
        return np.ascontiguousarray(_completed(weight.T).T)
    u, _, _ = np.linalg.svd(weight.astype(np.float64), full_matrices=True)
    return np.concatenate([weight, u[:, weight.shape[1] :].astype(np.float32)], axis=1)
