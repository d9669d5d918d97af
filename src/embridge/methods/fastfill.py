"""FastFill: FCT's network, and how far each item it maps may be off: the order in which to re-encode a gallery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.adapters.base import Adapter, normalized
from embridge.adapters.composed import Composed
from embridge.adapters.linear import Linear
from embridge.adapters.upgrade import Upgrade
from embridge.errors import SettingsError
from embridge.methods.base import Pairs, forward_upgrade, require_cosine
from embridge.methods.fct import check_network, network
from embridge.methods.pair_rows import Rows, reversed_pairs, split_rows
from embridge.methods.perceptron import Perceptron
from embridge.methods.procrustes import Procrustes
from embridge.methods.signal import check_signal
from embridge.methods.training_loop import train_by_loss
from embridge.methods.training_settings import Training
from embridge.progress import Progress, silent
from embridge.space import Space

__all__ = ["FastFill", "fastfill_loss"]

_SMALLEST_ERROR = 1e-6


@dataclass(frozen=True, slots=True)
class FastFill:
    """½ e^{−s} (‖h(x) − f_new‖² + CE(W_n h(x), label)) + ½ s, s = log σ² = w·h(x) + c.

    h is that of `FCT`, side information included, and so are its settings. The classification is there where the pairs have
    labels. With smoothing ε and K classes it asks for a cosine τ·log(1 + K(1 − ε)/ε) above that of other classes, and no
    more: a small τ draws well separated classes together. A held-out pair of a class that was not trained on has no
    classification term.

    The forward upgrade carries s as ``upgrade.uncertainty``: the log of the squared error to expect, and of the
    classification error with it where there are labels. `embridge.rollout.by_uncertainty` sorts by it. Weights of the pairs
    weigh the loss; the weights of the network kept are those with the lowest loss on held-out pairs.

    Requirements: the same items encoded by both models; labels if there are any. Related: `FCT`.

    Source: Jaeckle et al., "FastFill: efficient compatible model update", ICLR 2023 (arXiv 2303.04766).

    ``Deviation:`` W_n is the new model's own classifier in the paper, whose weight is 1. Here it is the unit class means of
    the new vectors, since an upgrade has vectors alone. With weight 1 it draws the mapped vectors away from where the new ones
    lie: R@1 on training images of CIFAR-100 is .370 without, .381 with weight .1 and temperature .03, .338 with weight 1.
    These weights go with a squared error that is summed over the coordinates. A mean over them (MSE) is d_new times less beside
    the classification, so the weight that goes with it is d_new times less too.

    Attributes:
        hidden_width: As in `FCT`.
        skip: As in `FCT`.
        center: As in `FCT`.
        dropout: As in `FCT`.
        classification_weight: Of the cross-entropy.
        label_smoothing: ε, of the cross-entropy.
        temperature: τ, what its cosines are divided by.
        training: Settings of the optimiser.

    Raises:
        SettingsError: A value is out of range.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
        >>> pairs = Pairs(Embeddings.of(x, Space("new", "1", 6)), Embeddings.of(x[:, :4], Space("old", "1", 4)))
        >>> upgrade = FastFill(hidden_width=8, training=Training(epochs=1, min_steps=5)).fit(pairs)
        >>> upgrade.uncertainty(pairs.old).vectors.shape
        (200, 1)
    """

    paper: ClassVar[str] = "Jaeckle et al., FastFill: efficient compatible model update, ICLR 2023, arXiv 2303.04766"

    hidden_width: int = 512
    skip: bool = True
    center: bool | None = None
    dropout: float = 0.1
    classification_weight: float = 0.1
    label_smoothing: float = 0.1
    temperature: float = 0.03
    training: Training = Training()

    def __post_init__(self) -> None:
        if not self.classification_weight >= 0 or not 0 <= self.label_smoothing < 1 or not self.temperature > 0:
            raise SettingsError(f"fastfill: classification_weight, label_smoothing or temperature out of range: {self}")
        check_network("fastfill", self)

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Fit h and s together.

        Args:
            pairs: The same items as both models see them.
            seed: Of the split, the first weights, the dropout and the order of the batches.
            progress: Told of every step.

        Returns:
            A forward upgrade.

        Raises:
            InvalidInput: A space does not compare directions, there is one pair alone, or all have vectors of zeros.
        """
        require_cosine(pairs, "fastfill")
        check_signal(pairs)
        mapped = reversed_pairs(pairs)
        center, chosen = Procrustes(self.center).choose_centring(mapped, seed=seed) if self.skip else (False, {})
        figures = {"centered": center, **chosen} if self.skip else {}
        fitted, *rows = split_rows(mapped, self.training.validation_fraction, seed=seed)
        classes = _classes(fitted) if self.classification_weight else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = _Uncertain(network(self, fitted, center=center), pairs.new.space.dim)
            error = partial(_error, self, classes)
            module.begin(error, rows[0])
            loss = partial(_loss, module, error)
            figures |= train_by_loss(
                module, loss, (rows[0], rows[1]), self.training, progress=(progress, "fastfill steps")
            )
        figures["classes"] = 0 if classes is None else len(classes[0])
        h = module.network.to_adapter(pairs.old.space, pairs.new.space)
        upgrade = forward_upgrade(h, pairs, "fastfill", settings=self, seed=seed, figures=figures)
        return replace(upgrade, uncertainty=module.uncertainty(h))


def fastfill_loss(error: Tensor, spread: Tensor) -> Tensor:
    """½ e^{−s} error + ½ s, a row each [b]: least where s is the log of the error.

    Args:
        error: Squared error of each row [b].
        spread: s of each row [b].

    Returns:
        The loss of each row [b].

    Examples:
        >>> fastfill_loss(torch.tensor([2.0]), torch.tensor([0.0]))
        tensor([1.])
    """
    return (torch.exp(-spread) * error + spread) / 2


class _Uncertain(nn.Module):
    """h and s."""

    def __init__(self, network: Perceptron, d_new: int) -> None:
        super().__init__()
        self.network = network
        self.spread = nn.Linear(d_new, 1)
        nn.init.zeros_(self.spread.weight)

    @torch.no_grad()
    def begin(self, error: Callable[[Tensor, Rows], Tensor], rows: Rows) -> None:
        """Let s begin as the log of the mean error of h, the same for every row."""
        self.eval()
        mean = rows.mean(error(self(rows.source)[0], rows))
        self.spread.bias.copy_(mean.clamp_min(_SMALLEST_ERROR).log())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows [b, d_new] and s [b]; the head sees coordinates of variance one, so that w learns at one pace."""
        mapped = F.normalize(self.network(x), dim=1)
        return mapped, self.spread(mapped * mapped.shape[1] ** 0.5)[:, 0]

    def uncertainty(self, h: Adapter) -> Composed:
        """s in numpy, from what h takes to a space of one dim."""
        weight, bias = (p.detach().numpy() for p in (self.spread.weight, self.spread.bias))
        weight = np.ascontiguousarray(weight.T * np.float32(weight.shape[1] ** 0.5))
        log_variance = Space(f"log variance of {h.source.model} as {h.target.model}", h.source.revision, 1, "l2")
        return Composed([h, Linear(h.target, log_variance, weight, bias.copy())])


def _loss(module: _Uncertain, error: Callable[[Tensor, Rows], Tensor], rows: Rows) -> Tensor:
    mapped, spread = module(rows.source)
    return rows.mean(fastfill_loss(error(mapped, rows), spread))


def _error(settings: FastFill, classes: tuple[Tensor, Tensor] | None, mapped: Tensor, rows: Rows) -> Tensor:
    """‖h(x) − f_new‖² + CE, a row each [b]."""
    error = (mapped - rows.target).square().sum(1)
    if classes is not None and rows.label is not None:
        error = error + settings.classification_weight * _cross_entropy(settings, mapped, classes, rows.label)
    return error


def _cross_entropy(settings: FastFill, mapped: Tensor, classes: tuple[Tensor, Tensor], label: Tensor) -> Tensor:
    """A row each [b]; nothing for rows of no known class."""
    names, means = classes
    row = torch.searchsorted(names, label).clamp_max(len(names) - 1)
    logits = mapped @ means.T / settings.temperature
    values = F.cross_entropy(logits, row, reduction="none", label_smoothing=settings.label_smoothing)
    return values * (names[row] == label)


def _classes(pairs: Pairs) -> tuple[Tensor, Tensor] | None:
    """The labels of (reversed) pairs in order, and the unit mean of each one's new vectors; None where there are none."""
    if pairs.labels is None:
        return None
    names, row = np.unique(pairs.labels, return_inverse=True)
    weights = np.ones(len(pairs)) if pairs.weights is None else pairs.weights
    sums = np.zeros((len(names), pairs.old.space.dim))
    np.add.at(sums, row, weights[:, None] * normalized(pairs.old.vectors))
    return torch.from_numpy(names), torch.from_numpy(normalized(sums.astype(np.float32)))
