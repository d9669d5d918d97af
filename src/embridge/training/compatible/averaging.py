"""Average: parameters as they were on average over the last steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["Average"]


class Average:
    """``a ← d · a + (1 − d) · x`` after each step, d = min(decay, (1 + t) / (10 + t)) at the t-th: an exponential average.

    live: the tensors to follow, by name. Whole numbers, such as counters, are taken over as they are.

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
        self.state = {name: tensor.to(device) for name, tensor in self.state.items()}

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self._decay, (1 + int(self.updates)) / (10 + int(self.updates)))
        for name, tensor in self._live().items():
            kept = self.state[name]
            if tensor.is_floating_point():
                kept.lerp_(tensor, 1 - decay)
            else:
                kept.copy_(tensor)

    @torch.no_grad()
    def settle(self) -> None:
        """Put the average into the tensors that it follows."""
        for name, tensor in self._live().items():
            tensor.copy_(self.state[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The same for a block; afterwards they are as they were."""
        before = {name: tensor.detach().clone() for name, tensor in self._live().items()}
        self.settle()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in self._live().items():
                    tensor.copy_(before[name])
