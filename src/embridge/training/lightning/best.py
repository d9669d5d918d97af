"""Best: how a training goes, and the parameters with the highest score so far."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from embridge.errors import InvalidInput
from embridge.methods.divergence import require_converging
from embridge.training.lightning.ranks import average
from embridge.training.lightning.task import Loop, Task

__all__ = ["Best", "copied", "load"]


class Best:
    """The parameters with the highest score so far; the start counts, as step 0, so the best is never below it.

    Where the last parameters are kept, it has the scores and losses alone.

    Args:
        task: What is trained, and how it is scored.
        loop: How long it is trained, and how often it is looked at.

    Attributes:
        step: After which the best were there.
        scores: At the start, and after each check.
        losses: The mean loss of each hundredth of the steps, or of each step.
        state: The best parameters by name; empty where the last are kept.

    Examples:
        >>> class Toy:
        ...     weight = torch.ones(1, requires_grad=True)
        ...     def state(self): return {"weight": self.weight}
        ...     def optimizer(self): return torch.optim.SGD([self.weight], lr=0.1)
        ...     def batch(self, step): return torch.ones(1)
        ...     def step(self, batch, backward):
        ...         loss = (self.weight * batch).square().sum()
        ...         backward(loss)
        ...         return {"loss": loss.detach()}
        ...     def score(self): return -float(self.weight.detach().square())
        >>> toy = Toy()
        >>> best = Best(toy, Loop("toy", "steps", steps=3, seed=0, share=lambda step: 1.0))
        >>> with torch.no_grad():
        ...     _ = toy.weight.mul_(0.5)
        >>> best.check(1), best.scores, best.step
        (-0.25, [-1.0, -0.25], 1)
    """

    def __init__(self, task: Task, loop: Loop) -> None:
        self._task, self._loop, self.step = task, loop, 0
        self.scores = [task.score()] if loop.checks else []
        self.state = self._state()
        self.losses: list[float] = []
        self._sum, self._every = torch.zeros(()), max(1, loop.steps // 100)

    def check(self, step: int) -> float:
        """Look at the score after a step, and copy the parameters where it is the highest.

        Returns:
            The score.
        """
        score = self._task.score()
        if score > max(self.scores):
            self.step, self.state = step, self._state()
        self.scores.append(score)
        return score

    def add_loss(self, step: int, loss: Tensor) -> None:
        """Note the loss of a step, counted from 0."""
        self._sum = self._sum.to(loss.device) + loss
        if (step + 1) % self._every == 0:
            self.require_converging(step + 1, [])
            average([self._sum])
            self.losses.append(float(self._sum) / self._every)
            self._sum = torch.zeros(())

    def require_converging(self, step: int, weights: Iterable[Tensor]) -> None:
        """Raise `InvalidInput` where a loss since the last look, or one of these weights, is not finite."""
        require_converging(self._sum, weights, what=self._loop.what, step=step, steps=self._loop.steps)

    def to_dict(self) -> dict[str, Any]:
        """For a checkpoint; see `restore`."""
        best = {"step": self.step, "scores": self.scores, "state": self.state}
        return best | {"losses": self.losses, "sum": self._sum.cpu()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take up what `to_dict` gave; raises `ValueError` where it gave something else."""
        numbers = (saved["step"], *saved["scores"], *saved["losses"])
        if not all(type(number) in (int, float) for number in numbers) or not saved["sum"].is_floating_point():
            raise ValueError("steps, scores and losses are numbers")
        if saved["sum"].shape != torch.Size() or bool(saved["scores"]) != bool(self.scores):
            raise ValueError("there are as many scores and losses as steps that were looked at")
        if saved["state"].keys() != self.state.keys():
            raise ValueError("the best parameters have other names")
        self.step, self.scores, self.state = saved["step"], list(saved["scores"]), dict(saved["state"])
        self.losses, self._sum = list(saved["losses"]), saved["sum"]

    def _state(self) -> dict[str, Tensor]:
        return copied(self._task.state()) if self._loop.keep == "best" else {}


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors to the processor, without gradients.

    Args:
        state: Tensors by name.

    Returns:
        The copies.

    Examples:
        >>> copied({"weight": torch.ones(1)})
        {'weight': tensor([1.])}
    """
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def load(state: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    """Put saved values into the tensors of a task, in place.

    Args:
        state: The tensors by name.
        saved: Their values.

    Raises:
        InvalidInput: The names differ.

    Examples:
        >>> weight = torch.ones(1)
        >>> load({"weight": weight}, {"weight": torch.zeros(1)})
        >>> weight
        tensor([0.])
    """
    if state.keys() != saved.keys():
        raise InvalidInput(
            "the checkpoint holds other parameters than are trained; remove it, or choose another folder"
        )
    with torch.no_grad():
        for name, tensor in state.items():
            tensor.copy_(saved[name])
