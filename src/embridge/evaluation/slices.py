"""Slices: queries of a kind, to be looked at apart."""

from __future__ import annotations

from collections.abc import Mapping

from embridge.errors import InvalidInput

__all__ = ["frequency_slices"]


def frequency_slices(counts: Mapping[str, float], *, head: float = 0.5, torso: float = 0.4) -> dict[str, str]:
    """Queries by how often they are asked: ``head``, those that make up that share of all traffic; ``torso``; ``tail``.

    counts: query id → how often, above 0. A query belongs to the part in which its own traffic begins, most frequent
    first; equal ones in the order given.

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
