"""What a rollout names: its upgrade, both models, and where the items are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from embridge.adapters.upgrade import Upgrade, fingerprint
from embridge.embeddings import Embeddings
from embridge.encoders import Encoder, LazyEncoder
from embridge.encoders.base import Modality, Role
from embridge.errors import ArtefactError, EmbridgeError, InvalidInput, SpaceMismatch
from embridge.items import ItemSource
from embridge.rollout.state import RolloutState
from embridge.space import Space
from embridge.stores.base import Store

__all__ = ["ITEMS", "Client", "Sides", "Wanted", "sides_of"]

Client = Literal["old", "new"]
ITEMS = "items"
"""The document that says where a rollout's items are, as its settings do."""


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What the caller gives; None for what the rollout names.

    Attributes:
        upgrade: The upgrade, or its folder.
        new: The new model, or its name.
        old: The old model, or its name.
        items: Where items come from.
        lookup: Whether models and items that are not given are looked up.
    """

    upgrade: Upgrade | Path | str | None
    new: Encoder | str | None
    old: Encoder | str | None
    items: ItemSource | None
    lookup: bool


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """The parts of a rollout that make vectors.

    Attributes:
        upgrade: The upgrade.
        encoders: The models that are at hand.
        absent: Why a model is not.
        items: Where items come from; None where nothing says so.
    """

    upgrade: Upgrade
    encoders: Mapping[Client, Encoder]
    absent: Mapping[Client, str]
    items: ItemSource | None
    _locks: Mapping[Client, Lock] = field(default_factory=lambda: {"old": Lock(), "new": Lock()}, repr=False)

    def vectors(
        self,
        given: Sequence[Any] | Embeddings,
        side: Client,
        *,
        modality: Modality,
        role: Role,
        ids: Sequence[str] | None = None,
    ) -> Embeddings:
        """The vectors of some items by one of the models; those that came as vectors are checked to be its own."""
        space = self.upgrade.old_space if side == "old" else self.upgrade.new_space
        if isinstance(given, Embeddings):
            if given.space != space:
                raise SpaceMismatch(f"the {side} model answers now; expected its vectors ({space}), came {given.space}")
            return given if ids is None else Embeddings(tuple(ids), given.vectors, space)
        encoder = self.encoders.get(side)
        if encoder is None:
            reason = f" ({self.absent[side]})" if side in self.absent else ""
            raise InvalidInput(
                f"the {side} model answers now, and is not at hand{reason}; open the gallery with {side}=…"
            )
        with self._locks[side]:  # tokenizers serve one thread at a time
            vectors = encoder.encode(list(given), modality=modality, role=role)
        return Embeddings.of(vectors, space, ids)


def sides_of(store: Store, state: RolloutState, wanted: Wanted) -> Sides:
    """Load what a rollout names.

    Raises:
        InvalidInput: The upgrade cannot be loaded, or is not the one that the rollout began with.
        SpaceMismatch: The upgrade, or a model that was given, is of other spaces than the rollout.
    """
    upgrade = wanted.upgrade if isinstance(wanted.upgrade, Upgrade) else _loaded(wanted.upgrade, state)
    for stated, space in ((state.old, upgrade.old_space), (state.new, upgrade.head.target)):
        if stated != space:
            raise SpaceMismatch(
                f"the rollout of this store is of {stated}, and the upgrade of {space}; open it with its own"
            )
    encoders: dict[Client, Encoder] = {}
    absent: dict[Client, str] = {}
    sides: tuple[tuple[Client, Encoder | str | None, Space], ...] = (
        ("new", wanted.new, upgrade.new_space),
        ("old", wanted.old, upgrade.old_space),
    )
    for side, given, space in sides:
        try:
            encoder = _named(store, upgrade, side, wanted) if given is None or isinstance(given, str) else given
            if encoder is not None and encoder.space != space:
                raise SpaceMismatch(f"the upgrade is of {space}, and the model gives {encoder.space}")
            if encoder is not None:
                encoders[side] = encoder
        except EmbridgeError as error:
            if given is not None:
                raise
            absent[side] = str(error)
    return Sides(upgrade, encoders, absent, wanted.items or (_items(store, state) if wanted.lookup else None))


def _loaded(folder: Path | str | None, state: RolloutState) -> Upgrade:
    path = state.upgrade if folder is None else folder
    try:
        upgrade = Upgrade.load(path)
        same = fingerprint(path) == state.upgrade_id
    except (ArtefactError, OSError) as error:
        raise InvalidInput(
            f"the upgrade of this rollout cannot be loaded from {path}: {error}; open the gallery with upgrade=FOLDER"
        ) from error
    if not same:
        raise InvalidInput(f"{path} holds another upgrade than the one this rollout began with; open it with that")
    return upgrade


def _named(store: Store, upgrade: Upgrade, side: Client, wanted: Wanted) -> Encoder | None:
    """The model by its name: the one given, or as the upgrade or the declaration of the store names it."""
    name, options = wanted.new if side == "new" else wanted.old, {}
    assert name is None or isinstance(name, str)
    if name is None and wanted.lookup:
        name = upgrade.provenance.encoders.get(side)
        if side == "old" and upgrade.old_space in store.spaces():
            declared = store.declaration(upgrade.old_space)
            if declared.encoder is not None:
                name, options = declared.encoder, dict(declared.options)
    if name is None:
        return None
    if side == "new" and upgrade.lora is not None:
        options = {"lora": upgrade.lora}
    return LazyEncoder(name, **options)


def _items(store: Store, state: RolloutState) -> ItemSource | None:
    written = store.documents.read(ITEMS) or {}
    if not written and state.old in store.spaces():
        written = dict(store.declaration(state.old).items)
    return ItemSource.from_dict(written) if written else None
