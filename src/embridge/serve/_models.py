"""The models that are served, by name: the new one, the old one, and the new one in the old one's space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from embridge.adapters.linear import Identity
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.encoders.base import Encoder, Modality, Role
from embridge.errors import InvalidInput
from embridge.serve._batching import Batcher
from embridge.space import Space

__all__ = ["ServedModel", "UnknownModel", "served_models"]


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

    async def embeddings(self, items: Sequence[Any], modality: Modality, role: Role) -> Embeddings:
        """The vectors of some items.

        Args:
            items: Texts or images.
            modality: What they are.
            role: What they are for, where the model's name does not say it.

        Returns:
            One a row, in order.
        """
        rows = await self.encoded(items, modality, role)
        return rows if self.map is None else self.map(rows)

    async def encoded(self, items: Sequence[Any], modality: Modality, role: Role) -> Embeddings:
        """The same as the encoder gives them, not mapped."""
        if modality not in self.modalities:
            raise InvalidInput(f"{self.name} takes {' and '.join(sorted(self.modalities))}, not {modality}")
        return Embeddings.of(await self.batcher.vectors(items, modality, self.role or role), self.source)


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
