"""Contrastive batches larger than memory: the gradient of the whole batch, with the graph of one chunk at a time.

Gao et al., "Scaling deep contrastive learning batch size under memory limited setup", RepL4NLP 2021 (arXiv 2101.06983):
embed without a graph, take the loss's gradient with respect to the embeddings, then embed each chunk once more with a
graph and pass its share of that gradient on. Each chunk's second pass begins with the random state of its first, so that
dropout drops the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["cached_backward", "plain_backward"]

Embed = Callable[[Any], Tensor]
Loss = Callable[[dict[str, Tensor]], dict[str, Tensor]]
Backward = Callable[[Tensor], None]


def cached_backward(
    embed: Mapping[str, Embed], chunks: Mapping[str, Sequence[Any]], loss: Loss, *, backward: Backward | None = None
) -> dict[str, Tensor]:
    """Add the gradients of ``sum(loss(embeddings).values())`` to the parameters, with the graph of one chunk at a time.

    Args:
        embed: Makes rows [c, d] of a chunk, by name.
        chunks: The batch in parts, under the same names.
        loss: Gives the terms of the loss by name, from all rows by name.
        backward: Runs a scalar's backward pass; ``Tensor.backward`` unless a trainer has its own.

    Returns:
        The terms of the loss, detached.

    Examples:
        >>> weight = torch.ones(2, requires_grad=True)
        >>> parts = [torch.eye(2), 2 * torch.eye(2)]
        >>> terms = cached_backward({"x": lambda part: part * weight}, {"x": parts}, lambda e: {"sum": e["x"].sum()})
        >>> weight.grad.tolist(), terms["sum"].item()
        ([3.0, 3.0], 6.0)
    """
    run = backward or _backward
    states: dict[str, list[_RandomState]] = {name: [] for name in chunks}
    rows: dict[str, list[Tensor]] = {name: [] for name in chunks}
    with torch.no_grad():
        for name, parts in chunks.items():
            for part in parts:
                states[name].append(_RandomState())
                rows[name].append(embed[name](part))
    torch.clear_autocast_cache()  # weights cast in the first pass carry no gradient
    leaves = {name: torch.cat(parts).requires_grad_() for name, parts in rows.items()}
    terms = loss(leaves)
    run(_total(terms))
    for name, parts in chunks.items():
        grads = torch.split(_gradient(leaves[name]), [len(part) for part in rows[name]])
        for part, state, grad in zip(parts, states[name], grads, strict=True):
            with state.restored():
                run((embed[name](part) * grad).sum())
    return {name: term.detach() for name, term in terms.items()}


def plain_backward(
    embed: Mapping[str, Embed], chunks: Mapping[str, Sequence[Any]], loss: Loss, *, backward: Backward | None = None
) -> dict[str, Tensor]:
    """Add the same gradients as `cached_backward` with the graph of all chunks at once: quicker, where it fits.

    Args:
        embed: As there.
        chunks: As there.
        loss: As there.
        backward: As there.

    Returns:
        The terms of the loss, detached.

    Examples:
        >>> weight = torch.ones(2, requires_grad=True)
        >>> _ = plain_backward({"x": lambda part: part * weight}, {"x": [torch.eye(2)]}, lambda e: {"sum": e["x"].sum()})
        >>> weight.grad.tolist()
        [1.0, 1.0]
    """
    rows = {name: torch.cat([embed[name](part) for part in parts]) for name, parts in chunks.items()}
    terms = loss(rows)
    (backward or _backward)(_total(terms))
    return {name: term.detach() for name, term in terms.items()}


class _RandomState:
    """The state of torch's generators now."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    @contextmanager
    def restored(self) -> Iterator[None]:
        """As it was then, within the block."""
        with torch.random.fork_rng(devices=range(len(self._cuda))):
            torch.set_rng_state(self._cpu)
            if self._cuda:
                torch.cuda.set_rng_state_all(self._cuda)
            yield


def _backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def _total(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
