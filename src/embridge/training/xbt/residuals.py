"""Residuals: ψ after a low-rank residual of each tower, which stands in the place of a LoRA where there is no backbone."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.adapters.linear import Linear
from embridge.adapters.upgrade import Upgrade
from embridge.provenance import Provenance
from embridge.space import Space
from embridge.training.xbt.bridge import TrainableBridge

__all__ = ["Residuals", "Tower"]

Tower = Literal["text", "image"]

_TOWERS: tuple[Tower, Tower] = ("text", "image")


class Residuals(nn.Module):
    """ψ(L2(z + z A B)), with A [d, rank] and B [rank, d] of the text's and of the image's tower.

    B starts as zeros, so the rows are those of the bridge at first.

    Args:
        upgrade: Its bridge is where ψ starts.
        rank: Of A and B.

    Examples:
        >>> from embridge.adapters import Identity
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> fitted = Upgrade(Identity(new, new), Linear(new, old, np.eye(3, 2, dtype=np.float32)), Provenance("known"))
        >>> Residuals(fitted, 1)(torch.tensor([[3.0, 4.0, 0.0]]), "text").detach().tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """

    def __init__(self, upgrade: Upgrade, rank: int) -> None:
        super().__init__()
        dim = upgrade.new_space.dim
        self.bridge = TrainableBridge(upgrade.bridge)
        self.down = nn.ParameterDict({tower: torch.randn(dim, rank) * dim**-0.5 for tower in _TOWERS})
        self.up = nn.ParameterDict({tower: torch.zeros(rank, dim) for tower in _TOWERS})

    def forward(self, z: Tensor, tower: Tower) -> Tensor:
        """Unit rows [b, d_old] of the new model's unit rows [b, d]."""
        rows: Tensor = self.bridge(F.normalize(z + z @ self.down[tower] @ self.up[tower], dim=1))
        return rows

    def to_upgrade(self, tower: Tower, upgrade: Upgrade, provenance: Provenance) -> Upgrade:
        """Write a tower's map in numpy: the residual as a linear head, the bridge after it.

        Args:
            tower: ``text`` or ``image``.
            upgrade: What was started from.
            provenance: Of the upgrade that is made.

        Returns:
            The tower's upgrade.
        """
        new = upgrade.new_space
        recipe = f"{new.recipe}; {tower} residual of xbt stage 2"  # a part of the space's id, so the words stay
        space = Space(new.model, new.revision, new.dim, new.metric, recipe)
        residual = (self.down[tower] @ self.up[tower]).detach().numpy()
        weight = np.ascontiguousarray(np.eye(new.dim, dtype=np.float32) + residual)
        head = Linear(new, space, weight, normalize_input=True)
        return Upgrade(head, self.bridge.to_adapter(space, upgrade.old_space), provenance)
