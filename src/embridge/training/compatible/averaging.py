"""Average: parameters as they were on average over the last steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["Average"]


class Average:
    """An exponential average: ``a ← d · a + (1 − d) · x`` after step t, with d = min(decay, (1 + t) / (10 + t)).

    Whole numbers, such as counters, are taken over as they are.

    Args:
        live: Gives the tensors to follow, by name.
        decay: Above 0 and below 1.

    Attributes:
        state: The averages, by name.
        updates: How many steps there were.

    Examples:
        >>> x = {"w": torch.zeros(1)}
        >>> average = Average(lambda: x, decay=0.5)
        >>> _ = x["w"].fill_(1.0), average.update()
        >>> [round(v, 3) for v in average.state["w"].tolist()]
        [0.818]
    """

    def __init__(self, live: Callable[[], dict[str, Tensor]], *, decay: float) -> None:
        self._live, self._decay = live, decay
        self.state = {name: tensor.detach().clone() for name, tensor in live().items()}
        self.updates = torch.zeros((), dtype=torch.int64)

    def to(self, device: str | torch.device) -> None:
        """Move the averages to a device."""
        self.state = {name: tensor.to(device) for name, tensor in self.state.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the tensors as they are after a step."""
        self.updates += 1
        decay = min(self._decay, (1 + int(self.updates)) / (10 + int(self.updates)))
        for name, tensor in self._live().items():
            mean = self.state[name]
            if tensor.is_floating_point():
                mean.lerp_(tensor, 1 - decay)
            else:
                mean.copy_(tensor)

    @torch.no_grad()
    def settle(self) -> None:
        """Put the average into the tensors that it follows."""
        for name, tensor in self._live().items():
            tensor.copy_(self.state[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the tensors for a block; afterwards they are as they were."""
        before = {name: tensor.detach().clone() for name, tensor in self._live().items()}
        self.settle()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in self._live().items():
                    tensor.copy_(before[name])
