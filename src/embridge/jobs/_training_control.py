"""The control of a training: the same network trained alone, and closed-form bridges fitted after it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from embridge.adapters.base import normalized
from embridge.embeddings import Embeddings
from embridge.methods import Pairs, make
from embridge.shapes import Float32, Float64, Int64
from embridge.space import Space
from embridge.training.compatible.held_out_items import right_of_each

__all__ = ["BRIDGES", "Control", "Part", "control_of"]

BRIDGES = ("procrustes", "whitened-procrustes", "ridge")
"""Fitted in closed form on the items that are trained on; what each chooses, it chooses among these."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Items as the model trained alone and the old model see them, row by row.

    Attributes:
        alone: Vectors of the model that was trained alone.
        old: Of the old model.
    """

    alone: Embeddings
    old: Embeddings

    @classmethod
    def of(cls, numbers: np.ndarray, alone: np.ndarray, alone_space: Space, old: np.ndarray, old_space: Space) -> Part:
        """Items by their numbers."""
        ids = [str(number) for number in numbers]
        return cls(Embeddings.of(alone, alone_space, ids), Embeddings.of(old, old_space, ids))


@dataclass(frozen=True, slots=True, eq=False)
class Control:
    """What there would be without compatible training, on held-out items.

    Attributes:
        alone: Whether the nearest item by the model trained alone is of the right class, for each item [m].
        bridged: The same by its bridged vectors in the old index [m], by the name of the bridge.
    """

    alone: Float64[np.ndarray, " m"]
    bridged: Mapping[str, Float64[np.ndarray, " m"]]

    @property
    def best(self) -> str:
        """The bridge that finds most; of equals the first."""
        return max(self.bridged, key=lambda name: float(self.bridged[name].mean()))


def control_of(trained_on: Part, held_out: Part, labels: Int64[np.ndarray, " m"], *, seed: int) -> Control:
    """Fit the bridges on one part, and judge them on the other.

    Args:
        trained_on: The items that both models were trained on.
        held_out: Others of the same classes.
        labels: The classes of the latter.
        seed: Of what the bridges choose.

    Returns:
        What they find.

    Raises:
        InvalidInput: There are too few items to fit a bridge on.
    """
    pairs = Pairs(trained_on.alone, trained_on.old)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few pairs, for a map that nobody keeps
        bridges = {name: make(name).fit(pairs, seed=seed).bridge for name in BRIDGES}
    own, old = held_out.alone.vectors, held_out.old.vectors

    def found(queries: Float32[np.ndarray, "m d"], gallery: Float32[np.ndarray, "m d"]) -> Float64[np.ndarray, " m"]:
        return right_of_each(queries, gallery, labels)

    return Control(
        found(own, own), {name: found(normalized(bridge.apply(own)), old) for name, bridge in bridges.items()}
    )
