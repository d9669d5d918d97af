"""The searches that the demo's page shows: held-out names against the whole index, before and after."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from embridge.adapters.upgrade import Upgrade
from embridge.datasets import glyphs
from embridge.embeddings import Embeddings
from embridge.encoders import Encoder
from embridge.stores import Store

__all__ = ["Example", "Hit", "example_searches"]

Hit = tuple[str, str]
"""A rendering's id, and the name of its character."""

_HITS = 10
_FIXED, _BROKEN = "found only after the upgrade", "found only before the upgrade"
_COUNTS = {_FIXED: 2, _BROKEN: 1}
_RANDOM = 2
_TRIED = 200


@dataclass(frozen=True, slots=True)
class Example:
    """A query, why it is shown, the hits of both systems, and what is right."""

    query: str
    why: str
    before: list[Hit]
    after: list[Hit]

    @property
    def found(self) -> tuple[bool, bool]:
        """Whether the character is among the hits, before and after."""
        before, after = (any(c == self.query for _, c in hits) for hits in (self.before, self.after))
        return before, after

    @property
    def right(self) -> list[Hit]:
        """The first renderings of the character."""
        code_point = ord(unicodedata.lookup(self.query.upper()))
        return [(name, self.query) for name in glyphs.render([code_point]).ids[:_HITS]]


def example_searches(
    names: Sequence[str], store: Store, encoders: tuple[Encoder, Encoder], upgrade: Upgrade
) -> list[Example]:
    """Held-out queries against the whole store: two that the upgrade fixed, one it broke, and two as they came.

    A kind that none of the first 200 queries is of is left out. encoders: the old one and the new one.
    """
    order = [names[i] for i in np.random.default_rng(0).permutation(len(names))][:_TRIED]
    old, new = (_queries(encoder, order) for encoder in encoders)
    bridged = upgrade.to_index_space(new)

    def example(row: int) -> Example:
        return Example(order[row], "drawn at random", _hits(store, old.take([row])), _hits(store, bridged.take([row])))

    drawn = [example(row) for row in range(_RANDOM)]
    found: dict[str, list[Example]] = {kind: [] for kind in _COUNTS}
    for row in range(_RANDOM, len(order)):
        candidate = example(row)
        if (kind := _kind(candidate)) in found and len(found[kind]) < _COUNTS[kind]:
            found[kind].append(replace(candidate, why=kind))
        if all(len(found[kind]) == count for kind, count in _COUNTS.items()):
            break
    return [*(example for kind in found.values() for example in kind), *drawn]


def _queries(encoder: Encoder, names: list[str]) -> Embeddings:
    return Embeddings.of(encoder.encode(names, modality="text", role="query"), encoder.space, names)


def _kind(example: Example) -> str:
    before, after = example.found
    return "" if before == after else _FIXED if after else _BROKEN


def _hits(store: Store, query: Embeddings) -> list[Hit]:
    ids = store.search(query, _HITS).ids[0]
    return [(name, glyphs.caption(int(name.split("/")[0][2:], 16))) for name in ids]
