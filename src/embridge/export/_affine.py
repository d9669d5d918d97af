"""What of an adapter is linear, and so can become a layer of the encoder itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embridge.adapters.base import Adapter
from embridge.adapters.composed import Composed
from embridge.adapters.linear import Identity, Linear
from embridge.adapters.prefix import Prefix
from embridge.errors import SettingsError
from embridge.shapes import Float64

__all__ = ["Stage", "affine_stages", "one_matrix"]

_OTHERWISE = "Write it as ONNX beside the model (embridge export UPGRADE --onnx FILE)"


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """``y = x @ weight + bias``, of x scaled to length one first where ``normalize``."""

    weight: Float64[np.ndarray, "d_in d_out"]
    bias: Float64[np.ndarray, " d_out"] | None
    normalize: bool


def affine_stages(adapter: Adapter) -> list[Stage]:
    """The adapter as as few affine layers as give the same vectors in all but length; none for an identity.

    A scaling matters only where a bias comes after it, so what has no bias at all is one matrix. Raises `SettingsError`
    for an adapter that is not affine, and for a target space that compares by more than the angle.
    """
    if adapter.target.metric != "cosine":
        raise SettingsError(
            f"folding keeps directions, not lengths: the target space has to compare by cosine, not {adapter.target.metric}. "
            f"{_OTHERWISE}"
        )
    steps, stages = _steps(adapter), list[Stage]()
    for i, step in enumerate(steps):
        scaled = step.normalize and any(later.bias is not None for later in steps[i:])
        stages.append(Stage(step.weight, step.bias, scaled))
        if len(stages) > 1 and not scaled:
            stages[-2:] = [_merged(*stages[-2:])]
    return stages


def one_matrix(adapter: Adapter) -> Float64[np.ndarray, "d_source d_target"]:
    """The matrix that gives the adapter's vectors in all but length; raises `SettingsError` where there is a bias."""
    stages = affine_stages(adapter)
    if any(stage.bias is not None for stage in stages):
        raise SettingsError(
            "this bridge adds a bias to vectors of length one, but a projection comes before they are scaled to it, so "
            f"the bias cannot be folded in. Fit without one (procrustes with center: false). {_OTHERWISE}"
        )
    return stages[0].weight if stages else np.eye(adapter.source.dim)


def _steps(adapter: Adapter) -> list[Stage]:
    match adapter:
        case Identity():
            return []
        case Linear():
            bias = None if adapter.bias is None or not adapter.bias.any() else adapter.bias.astype(np.float64)
            return [Stage(adapter.weight.astype(np.float64), bias, adapter.normalize_input)]
        case Prefix():
            return [Stage(np.eye(adapter.source.dim, adapter.target.dim), None, False), _unit(adapter.target.dim)]
        case Composed():
            return [stage for step in adapter.steps for stage in _steps(step)]
    raise SettingsError(
        f"a bridge of the kind {adapter.kind} is not linear and cannot be folded in. {_OTHERWISE}, or fit a linear one "
        "(procrustes with center: false)"
    )


def _unit(dim: int) -> Stage:
    return Stage(np.eye(dim), None, True)


def _merged(first: Stage, second: Stage) -> Stage:
    carried = None if first.bias is None else first.bias @ second.weight
    biases = [bias for bias in (carried, second.bias) if bias is not None]
    bias = np.asarray(sum(biases)) if biases else None
    return Stage(first.weight @ second.weight, bias, first.normalize)
