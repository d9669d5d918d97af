"""A square layer whose weight stays orthogonal while it is trained: a change of basis, which loses nothing."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from embridge.errors import SettingsError

__all__ = ["Orthogonal", "OrthogonalMap", "OrthogonalStart"]

OrthogonalMap = Literal["cayley", "matrix_exp", "householder"]
"""How an orthogonal matrix is made of a free one; see `Orthogonal`."""
OrthogonalStart = Literal["identity", "random"]
"""What an orthogonal matrix is before training."""


class Orthogonal(nn.Module):
    """A square layer ``y = W x + b`` with Wᵀ W = I, whatever an optimiser does.

    W = W₀ Q(X) with X [d, d] free. Q is made of A = tril(X) − tril(X)ᵀ by one of three maps: ``cayley`` is (I − A/2)⁻¹ (I + A/2);
    ``matrix_exp`` is e^A; ``householder`` is a product of d reflections, whose vectors are the columns of X below the diagonal.
    All three give the rotations (cayley those without the eigenvalue −1, which it comes as close to as one likes), so det W stays
    what it was at the start. X starts at zero, so W starts at W₀. Call it with rows [b, d]; it gives rows [b, d].

    Source:
        Lezcano-Casado 2019 (arXiv 1909.09501).

    Deviation:
        In torch householder takes the signs of a diagonal from X, where weight decay makes them zero at the first step, and W
        with them; here they are fixed. Under autocast W is made in float32 all the same.

    Args:
        dim: d.
        orthogonal_map: How Q is made of X.
        bias: Add b, which starts at zero.
        start: W₀ is the identity, or drawn evenly from all orthogonal matrices, those with det −1 among them, from torch's global
            generator.

    Raises:
        SettingsError: There is no such map or start, or the dim is below 1.

    Examples:
        >>> layer = Orthogonal(4, start="random")
        >>> bool(torch.allclose(layer.weight.T @ layer.weight, torch.eye(4), atol=1e-5)), layer(torch.ones(2, 4)).shape
        (True, torch.Size([2, 4]))
    """

    start: Tensor | None

    def __init__(
        self,
        dim: int,
        *,
        orthogonal_map: OrthogonalMap = "cayley",
        bias: bool = False,
        start: OrthogonalStart = "identity",
    ) -> None:
        super().__init__()
        if orthogonal_map not in ("cayley", "matrix_exp", "householder") or start not in ("identity", "random"):
            raise SettingsError(
                "orthogonal: the map is cayley, matrix_exp or householder, the start identity or random; "
                f"came {orthogonal_map!r} and {start!r}"
            )
        if dim < 1:
            raise SettingsError(f"orthogonal: expected a dim of 1 or more, came {dim}")
        self.turn = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.turn.weight)
        if orthogonal_map == "householder":
            parametrize.register_parametrization(self.turn, "weight", _FixedSigns(), unsafe=True)
        parametrizations.orthogonal(self.turn, orthogonal_map=orthogonal_map, use_trivialization=False)
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        self.register_buffer("start", _even(dim) if start == "random" else None)

    @property
    def weight(self) -> Tensor:
        """W [d, d], made anew from X."""
        with torch.autocast(next(self.turn.parameters()).device.type, enabled=False):
            turn: Tensor = self.turn.weight
            return turn if self.start is None else self.start @ turn

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class _FixedSigns(nn.Module):
    """The parameter with −1 on its diagonal, at which the product of reflections by zero vectors is the identity."""

    def forward(self, x: Tensor) -> Tensor:
        return x.tril(-1) - torch.eye(len(x), dtype=x.dtype, device=x.device)

    def right_inverse(self, x: Tensor) -> Tensor:
        return x


def _even(dim: int) -> Tensor:
    """A draw from the Haar measure: Q of a normal matrix, its columns signed as R's diagonal."""
    q, r = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64))
    return (q * r.diagonal().sign()).float()
