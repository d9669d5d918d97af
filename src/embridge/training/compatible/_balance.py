"""Balance: the weights of an objective's compatibility terms, found and moved while it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embridge.training.lightning.ranks import average

__all__ = ["Balance"]

_MARGIN, _UNSEEN_MARGIN = 0.01, -0.1
_LOOKS, _FIRST_LOOK, _LAST_LOOK, _LEFT_OUT_UNTIL = 12, 0.2, 0.95, 0.6
_FACTOR, _FULL_STEP, _SEEN_SHARE = 1.4, 0.03, 0.9
_BOUND, _CLASS_BOUND = 2.0, 4.0
_EACH_UNTIL, _THEN_EVERY, _RENEWED = 8, 8, 0.1


class Balance:
    """Weights of terms such that new queries are ahead in the old index, at the least cost to the rest of the loss.

    *Scale*: the gradients of all terms at the features are measured, in each of the first steps and then in some. A compatibility
    term starts with as long a gradient as the terms of the task together, whatever dims and classes there are. A term that does
    not reach the features keeps its own weight.

    *Constraint*: at looks that are evenly spread over the training, the model embeds items that are not trained on. While new
    queries are less than a margin ahead of old ones, the terms that hold an item to its own old vector are made heavier, and
    those that hold it to its class lighter; where new queries are further ahead, the other way round (dual ascent on the
    logarithm, within a factor of two and of four either way). An objective with one of the two kinds has it made heavier and
    lighter. Until six tenths of the steps some classes are left out of all these terms. They stand for classes that nobody
    trains on, and may be a tenth behind.

    Args:
        terms: Names of the objective's terms.
        task: Those of the new model's own task.
        rows: Those that hold an item to its own old vector.
        steps: Of the training.

    Attributes:
        state: All that changes, by name.

    Examples:
        >>> balance = Balance(["classification", "compatibility"], task={"classification"}, rows=set(), steps=100)
        >>> features = torch.ones(2, 3, requires_grad=True)
        >>> terms = {"classification": features.sum(), "compatibility": 50 * features.sum()}
        >>> weighed = balance.weighed(0, terms, features)
        >>> (weighed["compatibility"] / weighed["classification"]).detach().round(decimals=3).item()
        1.0
    """

    def __init__(
        self, terms: Sequence[str], *, task: set[str] | frozenset[str], rows: set[str] | frozenset[str], steps: int
    ) -> None:
        self.task = [name for name in terms if name in task]
        self.moved = [name for name in terms if name not in task]
        both = bool(set(self.moved) & rows) and not set(self.moved) <= rows
        signs = [-1.0 if both and name not in rows else 1.0 for name in self.moved]
        self._signs = torch.tensor(signs)
        self._bounds = torch.where(self._signs < 0, _CLASS_BOUND, _BOUND)
        places = np.linspace(_FIRST_LOOK * steps, _LAST_LOOK * steps, _LOOKS).round().astype(int)
        self._places = frozenset(places.tolist())
        self.all_from = int(_LEFT_OUT_UNTIL * steps)
        self.state: dict[str, Tensor] = {
            "norms": torch.zeros(1 + len(self.moved)),
            "measured": torch.zeros((), dtype=torch.int64),
            "factors": torch.ones(len(self.moved)),
            "ahead": torch.zeros(_LOOKS, 2),
            "looks": torch.zeros((), dtype=torch.int64),
        }

    def due(self, step: int) -> bool:
        """Whether there is a look before this step."""
        return step in self._places

    def weights(self) -> dict[str, float]:
        """What each compatibility term is multiplied with."""
        task, norms = self.state["norms"][0], self.state["norms"][1:]
        reached = (norms > 0) & (task > 0)
        scale = torch.where(reached, task / norms.clamp_min(1e-30), 1.0)
        return dict(zip(self.moved, (scale * self.state["factors"]).tolist(), strict=True))

    def weighed(self, step: int, terms: Mapping[str, Tensor], features: Tensor) -> dict[str, Tensor]:
        """Weigh the terms of a step.

        Args:
            step: Its number.
            terms: As the objective gives them.
            features: What they are of.

        Returns:
            All terms.
        """
        if step < _EACH_UNTIL or step % _THEN_EVERY == 0:
            self._measure(terms, features)
        weights = self.weights()
        return {name: weights.get(name, 1.0) * term for name, term in terms.items()}

    def look(self, step: int, ahead: Tensor) -> None:
        """Move the weights by what was found.

        Args:
            step: Before which.
            ahead: Of `Crossing.ahead` [2].
        """
        self.state["ahead"][int(self.state["looks"])] = ahead
        self.state["looks"] += 1
        seen, unseen = ahead.tolist()
        apart = min(seen - _MARGIN, unseen - _UNSEEN_MARGIN)
        spare = apart if step < self.all_from else _SEEN_SHARE * seen + (1 - _SEEN_SHARE) * unseen - _MARGIN
        move = min(max(-spare / _FULL_STEP, -1.0), 1.0)
        factors = self.state["factors"] * _FACTOR ** (move * self._signs)
        self.state["factors"].copy_(torch.minimum(torch.maximum(factors, 1 / self._bounds), self._bounds))

    def figures(self) -> dict[str, Any]:
        """For the provenance: the weights in the end, and how far ahead new queries were at each look."""
        ahead = self.state["ahead"][: int(self.state["looks"])]
        return {"weights": self.weights(), "margin": _MARGIN, "ahead": ahead.double().numpy().round(6).tolist()}

    def _measure(self, terms: Mapping[str, Tensor], features: Tensor) -> None:
        """The mean norm over the steps so far."""
        task = [terms[name] for name in self.task]
        parts = [torch.stack(task).sum() if task else None, *(terms[name] for name in self.moved)]
        norms = torch.stack([_norm(part, features) for part in parts])
        average([norms])
        self.state["norms"].lerp_(norms.cpu(), max(_RENEWED, 1 / (int(self.state["measured"]) + 1)))
        self.state["measured"] += 1


def _norm(term: Tensor | None, features: Tensor) -> Tensor:
    """Of the gradient at the features; 0 where there is none."""
    if term is None or not term.requires_grad:
        return features.new_zeros(())
    gradient = torch.autograd.grad(term, features, retain_graph=True, allow_unused=True)[0]
    return features.new_zeros(()) if gradient is None else gradient.detach().norm()
