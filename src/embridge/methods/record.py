"""What a method can do, as data: one record beside each name in the table of methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from embridge.adapters.upgrade import Direction

__all__ = ["Cost", "MethodRecord", "Need", "Use"]

Cost = Literal["closed form", "trained"]
Need = Literal["pairs", "one dim"]
Use = Literal["labels", "real pairs"]


@dataclass(frozen=True, slots=True)
class MethodRecord:
    """Where a method is, and what it can do.

    Attributes:
        module: The module to import.
        attribute: The class in it.
        cost: ``closed form``, or ``trained`` by gradient.
        extra: The extra to install, such as ``train``; None where the base install is enough.
        linear: Every bridge it makes is an affine map, which can be folded into a model.
        directions: What its bridges may be, the default first.
        finetunable: The new model can be trained further, with a LoRA, on top of a bridge of this method.
        needs: What it cannot do without.
        uses: What it makes use of where there is any.
        fitted_on: What the pairs may be of. The map serves images and texts either way.

    Examples:
        >>> MethodRecord("embridge.methods.ridge", "Ridge", "closed form", linear=True).extra is None
        True
    """

    module: str
    attribute: str
    cost: Cost
    extra: str | None = None
    linear: bool = False
    directions: tuple[Direction, ...] = ("backward",)
    finetunable: bool = True
    needs: frozenset[Need] = frozenset({"pairs"})
    uses: frozenset[Use] = frozenset()
    fitted_on: frozenset[Literal["text", "image"]] = frozenset({"text", "image"})
