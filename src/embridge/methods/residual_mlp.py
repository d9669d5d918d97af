"""A residual perceptron: the linear map that fits best, and a small network that learns what it leaves over."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from embridge.adapters.upgrade import Upgrade
from embridge.errors import SettingsError
from embridge.methods.base import Pairs, backward_upgrade, require_cosine
from embridge.methods.pair_rows import Rows, split_rows
from embridge.methods.perceptron import Perceptron
from embridge.methods.procrustes import Procrustes, fit_rotation
from embridge.methods.signal import check_signal
from embridge.methods.training_loop import train_by_loss
from embridge.methods.training_settings import Training
from embridge.progress import Progress, silent

__all__ = ["ResidualMLP", "residual_loss"]


@dataclass(frozen=True, slots=True)
class ResidualMLP:
    """``y = L2(D (W x + W₂·GELU(W₁·LN(x))))``, W begun at the Procrustes map and W₂ at zero.

    Weights of the pairs weigh the loss, in training and on held-out pairs. Where no trained weights are better on held-out
    pairs than the Procrustes map, the upgrade is that map, fitted on all pairs.

    Requirements: the same items encoded by both models. Related: `Procrustes`. `XBT`, whose linear path stays fixed and whose
    noise lets a map learnt from text serve images.

    Source: Vejendla, "Drift-Adapter: a practical approach to near zero-downtime embedding model upgrades in vector databases",
    EMNLP 2025 (arXiv 2509.23471).

    Attributes:
        hidden_width: Of the network.
        scale: Learn D, one factor a coordinate; otherwise D = 1.
        loss: ``cosine``, mean(1 − cos); or ``mse``, the mean squared distance of the output, before L2, from the unit old
            vector.
        center: As in `Procrustes`, for W.
        dropout: Behind the hidden layer.
        training: Settings of the optimiser.

    Raises:
        SettingsError: A value is out of range.

    Examples:
        >>> import numpy as np
        >>> from embridge import Embeddings, Space
        >>> x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
        >>> pairs = Pairs(Embeddings.of(x, Space("new", "1", 6)), Embeddings.of(x[:, :4], Space("old", "1", 4)))
        >>> upgrade = ResidualMLP(hidden_width=8, training=Training(epochs=1, min_steps=5)).fit(pairs)
        >>> upgrade.to_index_space(pairs.new).space == pairs.old.space
        True
    """

    paper: ClassVar[str] = (
        "Vejendla, Drift-Adapter: a practical approach to near zero-downtime embedding model upgrades in vector databases, EMNLP "
        "2025, arXiv 2509.23471"
    )

    hidden_width: int = 256
    scale: bool = False
    loss: Literal["cosine", "mse"] = "cosine"
    center: bool | None = None
    dropout: float = 0.1
    training: Training = Training()

    def __post_init__(self) -> None:
        if self.loss not in ("cosine", "mse"):
            raise SettingsError(f"mlp: loss is cosine or mse, came {self.loss!r}")
        if self.hidden_width < 1 or not 0 <= self.dropout < 1:
            raise SettingsError(f"mlp: hidden_width or dropout out of range: {self}")

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Fit by gradient; the weights kept are those with the lowest loss on held-out pairs.

        Args:
            pairs: The same items as both models see them.
            seed: Of the split, the first weights, the dropout and the order of the batches.
            progress: Told of every step.

        Returns:
            A backward upgrade.

        Raises:
            InvalidInput: A space does not compare directions, there is one pair alone, or all have vectors of zeros.
        """
        require_cosine(pairs, "mlp")
        check_signal(pairs)
        center, chosen = Procrustes(self.center).choose_centring(pairs, seed=seed)
        fitted, *rows = split_rows(pairs, self.training.validation_fraction, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            widths = (pairs.new.space.dim, self.hidden_width, pairs.old.space.dim)
            module = Perceptron(
                widths, start=fit_rotation(fitted, center=center), scale=self.scale, dropout=self.dropout
            )
            loss = partial(residual_loss, module, kind=self.loss)
            figures = {"centered": center, **chosen}
            figures |= train_by_loss(module, loss, (rows[0], rows[1]), self.training, progress=(progress, "mlp steps"))
        trained = module.to_adapter(pairs.new.space, pairs.old.space)
        bridge = trained if figures["best_step"] else fit_rotation(pairs, center=center)
        return backward_upgrade(bridge, pairs, "mlp", settings=self, seed=seed, figures=figures)


def residual_loss(module: torch.nn.Module, rows: Rows, *, kind: str) -> Tensor:
    """Weighted mean of 1 − cos, or of squared distances.

    Args:
        module: The map.
        rows: What it maps, and where to.
        kind: ``cosine`` or ``mse``.

    Returns:
        A scalar.

    Examples:
        >>> rows = Rows(torch.eye(2), torch.eye(2), torch.ones(2))
        >>> residual_loss(torch.nn.Identity(), rows, kind="cosine")
        tensor(0.)
    """
    mapped = module(rows.source)
    if kind == "mse":
        return rows.mean((mapped - rows.target).square().sum(1))
    return rows.mean(1 - (F.normalize(mapped, dim=1) * rows.target).sum(1))
