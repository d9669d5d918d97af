"""How near a bridge is to an isometry, as figures, and as a penalty to train with.

The maps with a closed form keep angles wherever they can; a trained one may stretch some directions and shrink others.
What it does to the neighbourhood of a vector is in the singular values of its Jacobian there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from embridge.adapters.linear import Linear
from embridge.adapters.mlp import MLP, NORM_EPSILON
from embridge.shapes import Float32, Float64

__all__ = ["isometry_figures", "isometry_loss", "singular_values"]

_QUANTILES = {"min": 0.0, "q05": 0.05, "median": 0.5, "q95": 0.95, "max": 1.0}


def singular_values(bridge: Linear | MLP, rows: Float32[np.ndarray, "n d_new"]) -> Float64[np.ndarray, "k m"]:
    """Singular values of the Jacobian of z ↦ L2(bridge(z)) at each row: how much it stretches.

    Vectors are compared by cosine, so both spaces are unit spheres: rows are scaled to length one, the bridge's result is
    normalised, and only directions along the sphere at z count. These are d_new − 1, and they lead into d_old − 1, so no more
    than m = min(d_new, d_old) − 1 values can differ from zero.

    A rotation, or an embedding into more dimensions, has ones. No map into fewer dimensions keeps all distances. The nearest
    to it is a projection z R. It loses the directions across R and leaves the angles of the others as they are, but widens
    them, since what is left of z is shorter: the m values are equal, 1 / ‖z R‖, and one where z lies within R ("horizontally
    conformal" with that dilation; Baird & Wood, *Harmonic Morphisms Between Riemannian Manifolds*, 2003). So equal values say
    that neighbours keep their order, and ones that they keep their distances.

    Args:
        bridge: The map from new to old.
        rows: New vectors [n, d_new]. Rows of zeros have no direction and are left out; k remain.

    Returns:
        Values [k, m], the largest first.

    Examples:
        >>> from embridge import Space
        >>> new, old = Space("new", "1", 3), Space("old", "1", 3)
        >>> turn = Linear(new, old, np.eye(3, dtype=np.float32)[[1, 2, 0]])
        >>> singular_values(turn, np.ones((1, 3), np.float32)).round(6).tolist()
        [[1.0, 1.0]]
    """
    f, values = _map(bridge), []
    wide = bridge.target.dim > bridge.source.dim
    jacobian = torch.func.jacfwd(f) if wide else torch.func.jacrev(f)
    for row in rows[rows.any(axis=1)]:
        z = F.normalize(torch.from_numpy(row).double(), dim=0)
        slopes = jacobian(z)
        slopes = slopes - torch.outer(slopes @ z, z)  # along the sphere
        gram = slopes.T @ slopes if wide else slopes @ slopes.T
        values.append(torch.linalg.eigvalsh(gram)[1:].flip(0).clamp(min=0).sqrt().numpy())
    return np.array(values).reshape(len(values), min(bridge.source.dim, bridge.target.dim) - 1)


def isometry_figures(values: Float64[np.ndarray, "k m"]) -> dict[str, dict[str, float]]:
    """Quantiles of `singular_values`, for a provenance.

    Args:
        values: Singular values [k, m].

    Returns:
        ``singular_values``: as they are, of all rows together. ``singular_values_relative``: each as a multiple of the median
        of its row, so that they are one for every map that keeps angles, whatever it does to lengths (an isometry up to
        scale, as Lee et al. have it: "Regularized autoencoders for isometric representation learning", ICLR 2022). Nothing
        where there are no values.

    Examples:
        >>> figures = isometry_figures(np.array([[4.0, 4.0, 4.0], [2.0, 2.0, 2.0]]))
        >>> figures["singular_values"]["max"], figures["singular_values_relative"]["max"]
        (4.0, 1.0)
    """
    if not values.size:
        return {}
    typical = np.median(values, axis=1, keepdims=True)
    relative = np.divide(values, typical, out=np.zeros_like(values), where=typical > 0)
    return {name: _quantiles(v) for name, v in (("singular_values", values), ("singular_values_relative", relative))}


def isometry_loss(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """An unbiased estimate of the mean over rows of ‖A − I‖² / m, for J the Jacobian of f at z and m = min(d_new, d_old).

    A = J Jᵀ where d_old ≤ d_new, else Jᵀ J: the side on which an isometry, or a projection, has the identity. So the loss is
    zero for a rotation and for a partial isometry, centred or not. For a trained correction of one it is the mean of
    (σ² − 1)² over the singular values of J. With w ~ N(0, I) it is the mean of ‖A w − w‖² / m, one w a row (Hutchinson 1990),
    at the cost of one product with J and one with Jᵀ.

    Source: Gropp, Atzmon & Lipman, "Isometric autoencoders" (arXiv 2006.09289), ask it of the encoder in the same place, of
    Jᵀ.

    ``Deviation:`` they ask that ‖Jᵀw‖ is one for a random w of length one. In m dimensions that length is nearly the mean
    over all directions: E(‖Jᵀw‖² − 1)² is (mean of σ² − 1)² + 2/(m + 2) · variance of σ², which hardly sees one direction
    stretched and another shrunk. Here both parts weigh alike.

    Args:
        f: A map before its final normalisation, each row by itself.
        z: Rows [b, d_new].

    Returns:
        A scalar.

    Examples:
        >>> float(isometry_loss(lambda z: z[:, :2], torch.eye(3)))
        0.0
    """
    pulled: Any = torch.func.vjp(f, z)
    out, pull = pulled
    if out.shape[1] <= z.shape[1]:
        w = torch.randn_like(out)
        image = torch.func.jvp(f, (z,), pull(w))[1]
    else:
        w = torch.randn_like(z)
        (image,) = pull(torch.func.jvp(f, (z,), (w,))[1])
    loss: Tensor = (image - w).square().sum(1).mean() / w.shape[1]
    return loss


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return {name: round(float(np.quantile(values, q)), 4) for name, q in _QUANTILES.items()}


def _map(bridge: Linear | MLP) -> Callable[[Tensor], Tensor]:
    """z [d_new] to L2(bridge(z)) [d_old] in float64; the same numbers as the adapter's, for z of length one."""
    weights: dict[str, Any] = {name: torch.from_numpy(w).double() for name, w in bridge.weights().items()}
    if isinstance(bridge, Linear):
        return lambda z: F.normalize(z @ weights["weight"] + weights.get("bias", 0.0), dim=0)

    def mlp(z: Tensor) -> Tensor:
        hidden = F.layer_norm(z, z.shape, eps=NORM_EPSILON)
        for i in range(len(bridge.layers) - 1):
            hidden = F.gelu(hidden @ weights[f"{i}.weight"] + weights[f"{i}.bias"], approximate="tanh")
        out = hidden @ weights[f"{len(bridge.layers) - 1}.weight"] + weights[f"{len(bridge.layers) - 1}.bias"]
        if bridge.skip is not None:
            out = out + z @ weights["skip.weight"] + weights["skip.bias"]
        return F.normalize(out, dim=0)

    return mlp
