"""Composed: adapters one after the other, for chains of upgrades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, final

import numpy as np

from embridge.adapters.base import Adapter, Weights
from embridge.adapters.linear import Identity, Linear
from embridge.adapters.mlp import MLP
from embridge.adapters.prefix import Prefix
from embridge.errors import ArtefactError
from embridge.shapes import Float32
from embridge.space import Space, require_same

__all__ = ["KINDS", "Composed", "adapter_from_parts", "adapter_to_config"]


@final
class Composed(Adapter):
    """``steps[-1](… steps[0](x))``; every step starts where the one before it ends.

    Args:
        steps: The adapters, the first to be applied first.

    Raises:
        ArtefactError: There is no step.
        SpaceMismatch: A step does not start where the one before it ends.

    Examples:
        >>> a, b, c = Space("newest", "1", 4), Space("new", "1", 3), Space("old", "1", 2)
        >>> Composed([Prefix(a, b), Prefix(b, c)]).target == c
        True
    """

    kind: ClassVar[str] = "composed"

    def __init__(self, steps: Sequence[Adapter]) -> None:
        if not steps:
            raise ArtefactError("a composition has at least one step")
        for before, after in pairwise(steps):
            require_same(after.source, before.target, what=f"the step before the {after.kind} adapter")
        self.steps = tuple(steps)
        self.source, self.target = steps[0].source, steps[-1].target

    def apply(self, x: Float32[np.ndarray, "n d_source"]) -> Float32[np.ndarray, "n d_target"]:
        for step in self.steps:
            x = step.apply(x)
        return x

    def weights(self) -> dict[str, np.ndarray]:
        return {f"{i}.{name}": array for i, step in enumerate(self.steps) for name, array in step.weights().items()}

    def config(self) -> dict[str, Any]:
        return {"steps": [adapter_to_config(step) for step in self.steps]}

    @classmethod
    def from_parts(cls, source: Space, target: Space, config: Mapping[str, Any], weights: Weights) -> Composed:
        steps = []
        for i, step in enumerate(config["steps"]):
            prefix = f"{i}."
            own = {name.removeprefix(prefix): a for name, a in weights.items() if name.startswith(prefix)}
            steps.append(adapter_from_parts(step, own))
        composed = cls(steps)
        require_same(source, composed.source, what="the first step of a composition")
        require_same(target, composed.target, what="the last step of a composition")
        return composed


KINDS: dict[str, type[Adapter]] = {
    "identity": Identity,
    "linear": Linear,
    "mlp": MLP,
    "prefix": Prefix,
    "composed": Composed,
}


def adapter_to_config(adapter: Adapter) -> dict[str, Any]:
    """Describe an adapter as JSON: kind, spaces and settings. The arrays are in ``adapter.weights()``.

    Args:
        adapter: Of any kind.

    Returns:
        Plain JSON.

    Examples:
        >>> adapter_to_config(Prefix(Space("new", "1", 3), Space("old", "1", 2)))["kind"]
        'prefix'
    """
    return {
        "kind": adapter.kind,
        "source": adapter.source.to_dict(),
        "target": adapter.target.to_dict(),
        "config": adapter.config(),
    }


def adapter_from_parts(described: Mapping[str, Any], weights: Weights) -> Adapter:
    """Make an adapter of its description and its arrays; the inverse of `adapter_to_config`.

    Args:
        described: What `adapter_to_config` gave.
        weights: What ``adapter.weights()`` gave.

    Returns:
        The same adapter.

    Raises:
        ArtefactError: The kind is unknown, or the parts do not fit.

    Examples:
        >>> prefix = Prefix(Space("new", "1", 3), Space("old", "1", 2))
        >>> adapter_from_parts(adapter_to_config(prefix), prefix.weights()).target == prefix.target
        True
    """
    try:
        kind = KINDS[described["kind"]]
        source, target = Space.from_dict(described["source"]), Space.from_dict(described["target"])
        return kind.from_parts(source, target, described["config"], weights)
    except (KeyError, TypeError) as error:
        raise ArtefactError(
            f"the description of an adapter lacks or misnames {error}; known kinds: {[*KINDS]}"
        ) from error
