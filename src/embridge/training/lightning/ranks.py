"""Several processes that train one model: which one this is, and means over all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["average", "average_gradients", "rank_and_world", "summed"]


def rank_and_world() -> tuple[int, int]:
    """Tell the number of this process, and how many there are.

    Returns:
        (0, 1) where there is one.

    Examples:
        >>> rank_and_world()
        (0, 1)
    """
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Put the mean over all processes in the place of every gradient; one that is not there counts as zeros.

    Args:
        parameters: Those without ``requires_grad`` are left out.

    Examples:
        >>> weight = torch.ones(1, requires_grad=True)
        >>> average_gradients([weight])
        >>> weight.grad
        tensor([0.])
    """
    trained = [p for p in parameters if p.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    average(gradients)
    for parameter, gradient in zip(trained, gradients, strict=True):
        parameter.grad = gradient


@torch.no_grad()
def average(tensors: Iterable[Tensor]) -> None:
    """Put the mean over all processes into each tensor, in place; with one process, do nothing.

    Args:
        tensors: Of the same shapes and order in each process.

    Examples:
        >>> x = torch.ones(2)
        >>> average([x])
        >>> x.tolist()
        [1.0, 1.0]
    """
    world, every = rank_and_world()[1], list(tensors)
    if world == 1 or not every:
        return
    flat = torch.cat([t.reshape(-1) for t in every])
    dist.all_reduce(flat)
    for tensor, part in zip(every, torch.split(flat.div_(world), [t.numel() for t in every]), strict=True):
        tensor.copy_(part.view_as(tensor))


def summed(tensor: Tensor) -> Tensor:
    """Sum a tensor over all processes, in place.

    Args:
        tensor: Of the same shape in each process.

    Returns:
        The same tensor.

    Examples:
        >>> summed(torch.ones(2)).tolist()
        [1.0, 1.0]
    """
    if rank_and_world()[1] > 1:
        dist.all_reduce(tensor)
    return tensor
