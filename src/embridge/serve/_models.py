"""The models that are served, by name: the new one, the old one, and the new one in the old one's space."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embridge.adapters.linear import Identity
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings, require_vectors
from embridge.encoders.base import Encoder, Modality, Role
from embridge.errors import InvalidInput
from embridge.serve._batching import Batcher
from embridge.space import Space

__all__ = ["ServedModel", "UnknownModel", "served_models"]

_FEW = 64  # rows that are mapped before a thread would have begun


class UnknownModel(InvalidInput):
    """No model of that name is served."""


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """A model under the name that clients use.

    Attributes:
        name: The name.
        space: Where its vectors lie.
        source: Where the encoder's lie.
        modalities: What it takes.
        batcher: The encoder.
        map: From the encoder's space to this one; None where they are one.
        role: What items are for, where the name says it.
        description: What it is, in a sentence.

    Examples:
        >>> [name for name in ServedModel.__slots__][:2]
        ['name', 'space']
    """

    name: str
    space: Space
    source: Space
    modalities: frozenset[Modality]
    batcher: Batcher
    map: Callable[[Embeddings], Embeddings] | None
    role: Role | None
    description: str

    async def vectors(self, items: Sequence[Any], modality: Modality, role: Role) -> np.ndarray:
        """The vectors of some items.

        Args:
            items: Texts or images.
            modality: What they are.
            role: What they are for, where the model's name does not say it.

        Returns:
            Rows [n, d], in order. Many are mapped in a thread, so that nobody else waits.
        """
        if self.map is None:
            rows = await self._encoded(items, modality, role)
            require_vectors(rows, dim=self.space.dim, what=f"vectors of {self.space.model}")
            return rows
        found = await self.encoded(items, modality, role)
        mapped = self.map(found) if len(found) <= _FEW else await asyncio.to_thread(self.map, found)
        return mapped.vectors

    async def encoded(self, items: Sequence[Any], modality: Modality, role: Role) -> Embeddings:
        """The same as the encoder gives them, not mapped."""
        return Embeddings.of(await self._encoded(items, modality, role), self.source)

    async def _encoded(self, items: Sequence[Any], modality: Modality, role: Role) -> np.ndarray:
        if modality not in self.modalities:
            raise InvalidInput(f"{self.name} takes {' and '.join(sorted(self.modalities))}, not {modality}")
        return await self.batcher.vectors(items, modality, self.role or role)


def served_models(
    upgrade: Upgrade, names: Mapping[str, str], sides: Mapping[str, tuple[Encoder, Batcher]]
) -> dict[str, ServedModel]:
    """All models under their names.

    Args:
        upgrade: The upgrade, a backward one.
        names: What clients call the ``new`` and the ``old`` model.
        sides: Of ``new``, and of ``old`` where it is at hand, the encoder and its batches.

    Returns:
        By name: NEW, NEW@OLD and, where it is there, OLD; each also with ``:query`` and ``:document``.

    Raises:
        InvalidInput: Both models have one name.
    """
    encoder, batcher = sides["new"]
    new_name, old_name = names["new"], names["old"]
    if new_name == old_name:
        raise InvalidInput(f"both models are called {new_name}; name them with new_name and old_name")
    kinds = encoder.modalities
    head, source = upgrade.head, upgrade.new_space
    own = None if isinstance(head, Identity) else head
    bridged = f"{new_name}@{old_name}"
    kept = f"the new model in the space of {old_name}: for an index that keeps its vectors"
    models = [
        ServedModel(new_name, head.target, source, kinds, batcher, own, None, "the new model"),
        ServedModel(bridged, upgrade.old_space, source, kinds, batcher, upgrade.to_index_space, None, kept),
    ]
    if "old" in sides:
        old, old_batcher = sides["old"]
        space = upgrade.old_space
        models.append(ServedModel(old_name, space, space, old.modalities, old_batcher, None, None, "the old model"))
    return {model.name: model for one in models for model in _with_roles(one)}


def _with_roles(model: ServedModel) -> Iterator[ServedModel]:
    yield model
    roles: tuple[Role, ...] = ("query", "document")
    for role in roles:
        yield replace(model, name=f"{model.name}:{role}", role=role)
