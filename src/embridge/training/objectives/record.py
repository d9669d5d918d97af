"""What an objective asks for and ends in, as data: one record beside each name in the table of objectives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["BridgeKind", "Cost", "Items", "Length", "Need", "ObjectiveRecord"]

BridgeKind = Literal["identity", "prefix", "backward map", "none"]
"""What makes new embeddings comparable with old ones."""
Length = Literal["old", "old + extra", "paragon + extra", "any"]
"""Of the new embeddings."""
Cost = Literal["step", "refresh"]
"""What an objective takes beside the backbone: a little of each step, or a pass over training items too."""
Need = Literal["old model", "old embeddings", "old classifier", "labels", "paragon"]
"""What an objective may ask for."""
Items = Literal["images", "vectors"]
"""What a model may be trained on."""

_NOTHING: frozenset[Need] = frozenset()
_ALL_ITEMS: frozenset[Items] = frozenset({"images", "vectors"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveRecord:
    """Where an objective is, what it asks for, and what it ends in.

    Attributes:
        module: The module to import.
        attribute: The class in it; that of its settings has ``Settings`` behind.
        needs: What it cannot be made without. ``old model`` stands for class means and known classes, ``old embeddings`` for the
            old vector of every training row, ``labels`` for the class of every training row.
        uses: What it takes under some of its settings, or where it is given.
        ancestors: It holds the new model to the versions before the old one too.
        bridge: What makes new embeddings comparable with old ones: ``identity`` leaves them as they are, ``prefix`` takes their
            front, ``backward map`` is learnt. With ``none`` they are not comparable, and the bridge only cuts them.
        length: Of the new embeddings. ``any`` is as long as the setting ``dim`` says.
        trained_on: The items it can be trained on. Vectors of a frozen model need an embedding that an adapter can make.
        balanced: Settings that it has where its weights are found while training, unless others are asked for.
        cost: What it takes beside the backbone. ``step`` is a few hundredths of a step; ``refresh`` adds a pass over some of the
            training items before epochs, about a tenth of the time.

    Examples:
        >>> record = ObjectiveRecord(module="embridge.training.objectives.bct", attribute="BCT", needs=frozenset({"old model"}))
        >>> record.bridge, "vectors" in record.trained_on
        ('identity', True)
    """

    module: str
    attribute: str
    needs: frozenset[Need] = _NOTHING
    uses: frozenset[Need] = _NOTHING
    ancestors: bool = False
    bridge: BridgeKind = "identity"
    length: Length = "old"
    trained_on: frozenset[Items] = _ALL_ITEMS
    balanced: Mapping[str, Any] = field(default_factory=dict)
    cost: Cost = "step"
