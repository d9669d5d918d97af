"""Backbone: images or vectors become features, by a network that says how to make it again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from embridge.backbones.record import Takes
from embridge.errors import SettingsError

__all__ = ["Backbone", "OwnBackbone", "drawn_from"]


class Backbone(nn.Module, ABC):
    """A network from batches to features [b, feature_dim], which an objective takes: no ReLU at the end, no scaling.

    Attributes:
        kind: Its name, in `BACKBONES` and in saved models.
        takes: ``images``, float32 [b, 3, side, side], shifted and scaled as `embridge.backbones.pixels.Pixels` says; or
            ``vectors``, float32 [b, d] of a frozen model.
        feature_dim: The dims of its features.

    Examples:
        >>> from embridge.backbones.vectors import VectorHead
        >>> isinstance(VectorHead(3, 2), Backbone)
        True
    """

    kind: ClassVar[str]
    takes: Takes
    feature_dim: int

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Features [b, feature_dim] of a batch."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Plain JSON from which the same network is made again, its weights aside."""


@final
class OwnBackbone(Backbone):
    """A network of the user's: its output, flattened, through a linear layer.

    A model with it is loaded by giving the network again, since a folder holds no code.

    Args:
        network: Any module from batches to rows.
        width: How many numbers a row the network gives.
        feature_dim: The dims after the linear layer; None leaves the layer out.
        takes: ``images`` or ``vectors``.
        seed: The linear layer is drawn from it.

    Raises:
        SettingsError: The width or the feature_dim is no whole number of at least 1.

    Examples:
        >>> OwnBackbone(nn.Conv2d(3, 4, 8), feature_dim=5, width=4)(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 5])
    """

    kind: ClassVar[str] = "own"

    def __init__(
        self,
        network: nn.Module,
        *,
        width: int,
        feature_dim: int | None = None,
        takes: Takes = "images",
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_counts("own backbone", width=width, feature_dim=width if feature_dim is None else feature_dim)
        self.network, self.width, self.takes, self.seed = network, width, takes, seed
        self.feature_dim = width if feature_dim is None else feature_dim
        with drawn_from(seed):
            self.last = nn.Identity() if feature_dim is None else nn.Linear(width, feature_dim)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.last(self.network(x).flatten(1))
        return features

    def config(self) -> dict[str, Any]:
        own_layer = isinstance(self.last, nn.Linear)
        return {"width": self.width, "feature_dim": self.feature_dim if own_layer else None, "takes": self.takes}


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Draw the weights that are made in the block from a seed; torch's own generator is as before afterwards.

    Args:
        seed: Any whole number.

    Yields:
        Nothing.

    Examples:
        >>> with drawn_from(3):
        ...     layer = nn.Linear(2, 2)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def require_counts(what: str, **counts: int) -> None:
    """Raise `SettingsError` unless all are whole numbers of at least 1."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise SettingsError(f"{what}: {name} is a whole number of at least 1, came {count!r}")
