"""Slices: queries of a kind, to be looked at apart."""

from __future__ import annotations

from collections.abc import Mapping

from embridge.errors import InvalidInput

__all__ = ["frequency_slices"]


def frequency_slices(counts: Mapping[str, float], *, head: float = 0.5, torso: float = 0.4) -> dict[str, str]:
    """Sort queries by how often they are asked: ``head``, ``torso`` and ``tail``.

    A query belongs to the part in which its own traffic begins, most frequent first; equal ones in the order given.

    Args:
        counts: Query id → how often it is asked, above 0.
        head: The share of all traffic that ``head`` makes up.
        torso: The share of ``torso``; ``tail`` is the rest.

    Returns:
        Query id → part.

    Raises:
        InvalidInput: A count is not above 0, or the shares leave no tail.

    Examples:
        >>> frequency_slices({"shoes": 60, "hats": 30, "spats": 5, "gaiters": 5})
        {'shoes': 'head', 'hats': 'torso', 'spats': 'tail', 'gaiters': 'tail'}
    """
    if not counts or min(counts.values()) <= 0 or not 0 < head < head + torso < 1:
        raise InvalidInput("expected counts above 0, and shares head and torso above 0 that leave a tail")
    total, before = sum(counts.values()), 0.0
    labels = {}
    for query in sorted(counts, key=lambda name: -counts[name]):
        share = before / total
        labels[query] = "head" if share < head else "torso" if share < head + torso else "tail"
        before += counts[query]
    return labels
