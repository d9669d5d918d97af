"""FCT: a network that turns stored old vectors, with or without side information, into new ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.adapters.base import normalized
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SettingsError
from embridge.methods.base import Pairs, forward_upgrade, require_cosine
from embridge.methods.pair_rows import Rows, reversed_pairs, split_rows
from embridge.methods.perceptron import Perceptron
from embridge.methods.procrustes import Procrustes, fit_rotation
from embridge.methods.signal import check_signal
from embridge.methods.training_loop import train_by_loss
from embridge.methods.training_settings import Training
from embridge.progress import Progress, silent
from embridge.space import Space

__all__ = ["FCT", "Network", "check_network", "fct_loss", "network", "with_side"]


@dataclass(frozen=True, slots=True)
class FCT:
    """h minimises mean ‖h(x) − f_new‖² over unit vectors, x being f_old or `with_side` of it.

    h(x) = L2(W x + W₃·GELU(W₂·GELU(W₁·LN(x)))). Weights of the pairs weigh the loss. Where no trained weights are better on
    held-out pairs than the Procrustes map, the upgrade is that map. It is a forward one: ``upgrade.bridge`` maps the stored
    gallery into the new space, and new queries search it as they are.

    Requirements: the same items encoded by both models. Side information, where there is any, for the whole gallery, from
    before the new model is known. Related: `FastFill`, which adds how sure h is of each item.

    Source: Ramanujan et al., "Forward compatible training for large-scale embedding retrieval systems", CVPR 2022 (arXiv
    2112.02805).

    ``Deviation:`` the paper's h has no linear path (``skip=False``), batch norm in place of the layer norm, and ReLU. The squared
    error is summed over the coordinates, not averaged (MSE); alone in the loss, and under AdamW, that changes no step.

    Attributes:
        hidden_width: Of both hidden layers.
        skip: Add the linear path W, begun at the Procrustes map of the pairs with W₃ at zero.
        center: As in `Procrustes`, for W.
        dropout: Behind each hidden layer.
        training: Settings of the optimiser.

    Raises:
        SettingsError: A value is out of range.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
        >>> pairs = Pairs(Embeddings.of(x, Space("new", "1", 6)), Embeddings.of(x[:, :4], Space("old", "1", 4)))
        >>> upgrade = FCT(hidden_width=8, training=Training(epochs=1, min_steps=5)).fit(pairs)
        >>> upgrade.bridge(pairs.old).space == pairs.new.space
        True
    """

    paper: ClassVar[str] = (
        "Ramanujan et al., Forward compatible training for large-scale embedding retrieval systems, CVPR 2022, arXiv 2112.02805"
    )

    hidden_width: int = 512
    skip: bool = True
    center: bool | None = None
    dropout: float = 0.1
    training: Training = Training()

    def __post_init__(self) -> None:
        check_network("fct", self)

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Fit h; the weights kept are those with the lowest loss on held-out pairs.

        Args:
            pairs: The same items as both models see them.
            seed: Of the split, the first weights, the dropout and the order of the batches.
            progress: Told of every step.

        Returns:
            A forward upgrade.

        Raises:
            InvalidInput: A space does not compare directions, there is one pair alone, or all have vectors of zeros.
        """
        require_cosine(pairs, "fct")
        check_signal(pairs)
        mapped = reversed_pairs(pairs)
        center, chosen = Procrustes(self.center).choose_centring(mapped, seed=seed) if self.skip else (False, {})
        figures = {"centered": center, **chosen} if self.skip else {}
        fitted, *rows = split_rows(mapped, self.training.validation_fraction, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = network(self, fitted, center=center)
            loss = partial(fct_loss, module)
            figures |= train_by_loss(module, loss, (rows[0], rows[1]), self.training, progress=(progress, "fct steps"))
        closed_form = self.skip and not figures["best_step"]
        trained = module.to_adapter(pairs.old.space, pairs.new.space)
        bridge = fit_rotation(mapped, center=center) if closed_form else trained
        return forward_upgrade(bridge, pairs, "fct", settings=self, seed=seed, figures=figures)


def with_side(embeddings: Embeddings, side: Embeddings, *, space: Space | None = None) -> Embeddings:
    """Join old vectors and side information: [f_old; side] / √2, each part of length one.

    Neither part drowns the other, whatever their lengths were.

    Args:
        embeddings: Old vectors [n, d_old].
        side: Side information of the same items [n, d_side].
        space: That of the result; by default it is named after both models, revisions and recipes.

    Returns:
        What a map with side information takes [n, d_old + d_side].

    Raises:
        InvalidInput: The ids differ, or the space has another dim.

    Examples:
        >>> old = Embeddings.of(np.eye(2, dtype=np.float32), Space("old", "1", 2))
        >>> both = with_side(old, Embeddings.of(np.eye(2, 3, dtype=np.float32), Space("colours", "2", 3)))
        >>> both.space.model, both.space.dim
        ('old + colours', 5)
    """
    if embeddings.ids != side.ids:
        raise InvalidInput(
            f"side information: {len(embeddings)} vectors of {embeddings.space.model} and {len(side)} of "
            f"{side.space.model} with other ids; both hold the same items in the same order"
        )
    joint = np.concatenate([normalized(part.vectors) for part in (embeddings, side)], axis=1) / np.float32(2**0.5)
    return embeddings.with_vectors(joint, space or _joint_space(embeddings.space, side.space))


@runtime_checkable
class Network(Protocol):
    """The settings that say what h looks like.

    Examples:
        >>> isinstance(FCT(), Network)
        True
    """

    @property
    def hidden_width(self) -> int: ...
    @property
    def skip(self) -> bool: ...
    @property
    def dropout(self) -> float: ...


def check_network(method: str, settings: Network) -> None:
    """Refuse a network that cannot be.

    Args:
        method: What messages call the method.
        settings: What to check.

    Raises:
        SettingsError: A value is out of range.

    Examples:
        >>> check_network("fct", FCT())
    """
    if settings.hidden_width < 1 or not 0 <= settings.dropout < 1:
        raise SettingsError(f"{method}: hidden_width or dropout out of range: {settings}")


def network(settings: Network, fitted: Pairs, *, center: bool) -> Perceptron:
    """Make h as it is before training.

    Args:
        settings: What it looks like.
        fitted: Reversed pairs, see `reversed_pairs`; h leads from their new side to their old one.
        center: Whether the map that the skip path begins at is centred.

    Returns:
        The module, with random first weights.

    Examples:
        >>> old, new = (Embeddings.of(np.eye(3, d, dtype=np.float32), Space(f"{d}", "1", d)) for d in (2, 3))
        >>> network(FCT(hidden_width=8), Pairs(old, new), center=False)(torch.eye(2)).shape
        torch.Size([2, 3])
    """
    start = fit_rotation(fitted, center=center) if settings.skip else None
    width = settings.hidden_width
    return Perceptron((fitted.new.space.dim, width, width, fitted.old.space.dim), start=start, dropout=settings.dropout)


def fct_loss(module: nn.Module, rows: Rows) -> Tensor:
    """Weighted mean of ‖L2(h(x)) − f_new‖².

    Args:
        module: h.
        rows: What it maps, and where to.

    Returns:
        A scalar.

    Examples:
        >>> fct_loss(nn.Identity(), Rows(torch.eye(2), torch.eye(2), torch.ones(2)))
        tensor(0.)
    """
    return rows.mean((F.normalize(module(rows.source), dim=1) - rows.target).square().sum(1))


def _joint_space(old: Space, side: Space) -> Space:
    def both(a: str, b: str) -> str:
        return f"{a} + {b}" if a or b else ""

    model, revision, recipe = (both(getattr(old, n), getattr(side, n)) for n in ("model", "revision", "recipe"))
    return Space(model, revision, old.dim + side.dim, "cosine", recipe)
