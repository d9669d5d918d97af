"""What a rollout's settings name, opened: store, upgrade, spaces, the new model, and where items come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embridge.adapters.upgrade import Upgrade, fingerprint
from embridge.embeddings import Embeddings
from embridge.encoders import Encoder
from embridge.errors import EmbridgeError, InvalidInput, SettingsError, SpaceMismatch, WrongDirection
from embridge.items import ItemSource, read_items
from embridge.jobs.models import Models, with_lora
from embridge.jobs.rollout._in_rows import in_rows
from embridge.jobs.rollout.ordering import order_of
from embridge.progress import Progress, silent
from embridge.rollout._batch import Filling, Spread
from embridge.rollout.backfill import Backfill, BackfillLimits
from embridge.rollout.foreign import change_queue
from embridge.rollout.journal import current_state
from embridge.rollout.state import RolloutState
from embridge.scale import Engine, SerialEngine
from embridge.settings.rollout import RolloutSettings, load_rollout_settings
from embridge.space import Space
from embridge.stores import Store, open_store, parse_url
from embridge.stores.changes import ChangeQueue
from embridge.stores.presence import present

__all__ = ["OpenRollout", "OpenState", "open_rollout", "open_state"]

_ID_PAGE = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class OpenState:
    """The store of a rollout, and where it stands: enough to go back, whatever became of the upgrade and of the items.

    Attributes:
        path: The settings file.
        settings: What it says.
        store: The store.

    Examples:
        >>> [name for name in OpenState.__slots__]
        ['path', 'settings', 'store']
    """

    path: Path
    settings: RolloutSettings
    store: Store

    @property
    def state(self) -> RolloutState | None:
        """Where the rollout stands; None before it begins."""
        return current_state(self.store.documents)

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def require_own(self, state: RolloutState) -> None:
        """Refuse settings of another rollout than the one that runs in the store; an upgrade that is gone tells nothing."""
        try:
            upgrade = Upgrade.load(self.settings.upgrade)
        except (EmbridgeError, OSError):
            return
        require_spaces(self.path, state, upgrade.old_space, upgrade.head.target)


@dataclass(frozen=True, slots=True, eq=False)
class OpenRollout:
    """What the settings of a rollout name.

    Attributes:
        path: The settings file.
        settings: What it says.
        store: The store.
        upgrade: The upgrade.
        upgrade_id: A hash of it.
        old: The space of the rows that are there.
        new: The space that new rows lie in.
        engine: Whose workers encode.

    Examples:
        >>> [name for name in OpenRollout.__slots__][:3]
        ['path', 'settings', 'store']
    """

    path: Path
    settings: RolloutSettings
    store: Store
    upgrade: Upgrade
    upgrade_id: str
    old: Space
    new: Space
    engine: Engine = field(default_factory=SerialEngine)

    @property
    def state(self) -> RolloutState | None:
        """Where the rollout stands; None before it begins."""
        return current_state(self.store.documents)

    @property
    def settings_hash(self) -> str:
        """Of what the settings say; by which engine it is done changes nothing."""
        written = json.dumps(self.settings.model_dump(mode="json", exclude={"engine"}), sort_keys=True)
        return hashlib.sha256(written.encode()).hexdigest()[:16]

    @property
    def layout(self) -> dict[str, Any]:
        """Where the old rows stand, and what the table has beside them."""
        place = self.store.declaration(self.old).place
        table = next((one for one in self.store.tables() if one.name == place.table), None)
        columns = {} if table is None else dict(table.columns)
        vectors = {} if table is None else {name: column.dim for name, column in table.vectors.items()}
        ours = {name for name in vectors if "embridge_" in name or name == self.new.id}
        vectors = {name: dim for name, dim in vectors.items() if name not in ours}
        return {"table": place.table, "vector": place.vector, "id": place.id, "columns": columns, "vectors": vectors}

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def require_old_rows(self) -> None:
        """Raise `InvalidInput` where they were dropped, after which nothing is left to do."""
        if self.old not in self.store.spaces():
            raise InvalidInput(f"{self.path}: the old rows were dropped, and this rollout is at its end")

    def missing(self) -> set[str]:
        """The rows that have no new vector."""
        names: list[str] = []
        while page := self.store.missing(self.new, self.old, after=names[-1] if names else None, limit=_ID_PAGE):
            names += page
        return set(names)

    def source(self) -> ItemSource:
        """Where items come from; raises `SettingsError` where nothing says so."""
        written = self.settings.items or dict(self.store.declaration(self.old).items)
        if not written:
            raise SettingsError(
                f"{self.path}: nothing says where the items are; name them, such as items: {{text: title}}, or adopt the "
                "table again with --text or --image"
            )
        return ItemSource.from_dict(written)

    def encoder(self, progress: Progress = silent) -> Encoder:
        """The new model, with the upgrade's LoRA where it has one."""
        models, named = Models(progress), self.settings.new
        name = self.upgrade.provenance.encoders.get("new")
        if named is None and name is None:
            raise SettingsError(f"{self.path}: the upgrade does not say which model is the new one; name it in new")
        encoder = models.named(name) if named is None and name else models.encoder(named)  # type: ignore[arg-type]
        whole = with_lora(encoder, self.upgrade.lora)
        if whole.space != self.upgrade.new_space:
            raise SpaceMismatch(
                f"{self.path}: the upgrade is of {self.upgrade.new_space}, and the new model of {whole.space}"
            )
        return whole

    def items_of(self, ids: Sequence[str]) -> tuple[dict[str, Any], Mapping[str, str]]:
        """The items of some rows, and why the others cannot be had; rows that are gone are in neither."""
        there = present(self.store, self.old, ids)
        items = read_items(self.source(), self.store, self.old, there)
        still = set(present(self.store, self.old, list(items.missing))) if items.missing else set()
        missing = {name: reason for name, reason in items.missing.items() if name in still}  # others went meanwhile
        return dict(zip(items.ids, items.items, strict=True)), missing

    def filling(self, encoder: Encoder | None = None) -> Filling:
        """What fills a batch; the new model is loaded when it is needed where none is given."""
        source, held = self.source(), [encoder] if encoder is not None else []
        in_row = bool(source.column) and source.modality == "text"  # an image may be where a column leads to
        noted = in_row and self.queue() is not None
        read = in_rows(source, self.old) if in_row else None

        def encode(ids: Sequence[str], items: Sequence[Any]) -> Embeddings:
            held[:] = held or [self.encoder()]
            vectors = held[0].encode(items, modality=source.modality, role="document")
            return self.upgrade.head(Embeddings.of(vectors, held[0].space, ids))

        return Filling(
            self.store, self.old, self.new, self.items_of, encode, noted, self.settings.rest, read, self.limits().once
        )

    def backfill(self, encoder: Encoder | None = None, spread: Spread | None = None) -> Backfill:
        """The backfill of these settings, by the new model here, or by whoever fills batches."""
        filling = self.filling(encoder)
        return Backfill(
            self.store,
            self.old,
            self.new,
            filling.source,
            filling.encode,
            self.queue(),
            noted=filling.noted,
            spread=spread,
            in_row=filling.in_row,
        )

    def queue(self) -> ChangeQueue | None:
        """Where the database notes what others write, if it does."""
        column = self.source().column
        return change_queue(self.store, self.old, self.new, [column] if column else [])

    def limits(self, *, most_rows: int | None = None, most_failed: int | None = None) -> BackfillLimits:
        """How fast and how far the settings let it go."""
        settings = self.settings
        spending = (settings.price, settings.spend_cap)
        pace = (settings.batch_rows, settings.rows_per_second)
        return BackfillLimits(*pace, most_rows, *spending, most_failed, settings.rest)

    def order(self) -> list[str]:
        """Ids in the order that pays; none where the store's own will do."""
        return order_of(self.settings, self.store, self.old)


def open_rollout(path: Path | str) -> OpenRollout:
    """Open what a rollout's settings name.

    Args:
        path: The settings file.

    Returns:
        Store, upgrade and spaces.

    Raises:
        SettingsError: The file does not say what it must.
        WrongDirection: The upgrade is a forward one.
        SpaceMismatch: The store does not hold the space that the upgrade searches.
        StoreError: The store cannot be opened.

    Examples:
        >>> open_rollout("nowhere.yaml")
        Traceback (most recent call last):
        embridge.errors.SettingsError: nowhere.yaml ...
    """
    settings = load_rollout_settings(path)
    upgrade = Upgrade.load(settings.upgrade)
    if upgrade.direction != "backward":
        raise WrongDirection(
            f"{settings.upgrade}: a rollout keeps old rows as they are, which needs a backward upgrade"
        )
    store = open_store(settings.store, declarations=settings.declarations)
    try:
        _require_space(store, settings, upgrade)
    except BaseException:
        store.close()
        raise
    return OpenRollout(
        Path(path), settings, store, upgrade, fingerprint(settings.upgrade), upgrade.old_space, upgrade.head.target
    )


def open_state(path: Path | str) -> OpenState:
    """Open the store of a rollout, and nothing else that its settings name.

    Args:
        path: The settings file.

    Returns:
        The store.

    Raises:
        SettingsError: The file does not say what it must.
        StoreError: The store cannot be opened.

    Examples:
        >>> open_state("nowhere.yaml")
        Traceback (most recent call last):
        embridge.errors.SettingsError: nowhere.yaml ...
    """
    settings = load_rollout_settings(path, files=False)
    return OpenState(Path(path), settings, open_store(settings.store, declarations=settings.declarations))


def require_spaces(path: Path, state: RolloutState, old: Space, new: Space) -> None:
    """Refuse settings that lead from another space, or to another, than the rollout of the store."""
    if (state.old, state.new) != (old, new):
        raise InvalidInput(
            f"{path}: the rollout of this store leads from {state.old} to {state.new}, with the upgrade {state.upgrade}; these "
            f"settings are of {old} and {new}: name its own"
        )


def _require_space(store: Store, settings: RolloutSettings, upgrade: Upgrade) -> None:
    """Refuse a store without the rows that the upgrade searches, unless they were dropped at the end of its rollout."""
    held = [space for space in store.spaces() if settings.old in (None, space.id)]
    state = current_state(store.documents)
    ended = state is not None and state.old_dropped and state.old == upgrade.old_space
    if upgrade.old_space not in held and not ended:
        names = "; ".join(map(str, held)) or "none"
        raise SpaceMismatch(
            f"{parse_url(settings.store)}: the upgrade searches rows of {upgrade.old_space}; the store holds: {names}. Adopt the "
            "table with the model that made its vectors (embridge adopt), or fit an upgrade for what it holds"
        )
