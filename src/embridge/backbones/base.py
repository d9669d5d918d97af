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
    """Batches to features [b, feature_dim], which are what an objective takes: no ReLU at the end, no scaling.

    takes: ``images``, float32 [b, 3, side, side], shifted and scaled as `embridge.backbones.pixels.Pixels` says, or
    ``vectors``, float32 [b, d] of a frozen model. `config` is plain JSON, from which `embridge.backbones.saved` makes the
    same network again, its weights aside.
    """

    kind: ClassVar[str]
    takes: Takes
    feature_dim: int

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def config(self) -> dict[str, Any]: ...


@final
class OwnBackbone(Backbone):
    """A network of the user's: its output, flattened, through a linear layer to feature_dim (None: as it comes).

    width: how many numbers a row the network gives, which is needed for the linear layer. A model with it is loaded by
    giving the network again, since a folder holds no code. Raises `SettingsError` without a width or a feature_dim.

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
    """Weights that are made in the block are drawn from the seed; torch's own generator is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def require_counts(what: str, **counts: int) -> None:
    """Raise `SettingsError` unless all are whole numbers of at least 1."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise SettingsError(f"{what}: {name} is a whole number of at least 1, came {count!r}")
