"""What the settings name, opened: encoders with their batches, the upgrade, and the gallery."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embridge.adapters.upgrade import Upgrade
from embridge.encoders import Encoder
from embridge.errors import EmbridgeError, SettingsError, SpaceMismatch, WrongDirection
from embridge.jobs.models import Models, with_lora
from embridge.serve._batching import Batcher, InTurn
from embridge.serve._galleries import Galleries
from embridge.serve._keys import Keys, read_keys
from embridge.serve._models import ServedModel, served_models
from embridge.settings.models import ModelSettings
from embridge.settings.serve import ServeSettings
from embridge.stores import parse_url

__all__ = ["Opened", "open_served"]


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """What is served.

    Attributes:
        settings: The settings.
        upgrade: The upgrade.
        models: By the names that clients use.
        batchers: By side, ``new`` and ``old``.
        galleries: The store on its way; None where none is served.
        keys: Of clients.
        operator_keys: Of those who move the rollout.

    Examples:
        >>> [name for name in Opened.__slots__][:2]
        ['settings', 'upgrade']
    """

    settings: ServeSettings
    upgrade: Upgrade
    models: dict[str, ServedModel]
    batchers: dict[str, Batcher]
    galleries: Galleries | None
    keys: Keys
    operator_keys: Keys

    def lines(self) -> list[str]:
        """What is served where, for who starts it."""
        settings = self.settings
        names = ", ".join(name for name, model in self.models.items() if model.role is None)
        held = [f"store   {parse_url(settings.store)}"] if settings.store else []
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return [f"serving http://{host}:{settings.port}", f"models  {names}", *held]

    def close(self) -> None:
        """Let go of models and store."""
        if self.galleries is not None:
            self.galleries.close()
        for batcher in self.batchers.values():
            batcher.close()


def open_served(settings: ServeSettings, encoders: Mapping[str, Encoder] | None = None) -> Opened:
    """Open what is to be served; models are loaded, so that the first request finds them.

    Args:
        settings: The settings.
        encoders: The models, ``new`` and perhaps ``old``, where they are at hand; else those that the settings name.

    Returns:
        All of it.

    Raises:
        SettingsError: A key file, a model or a name cannot be meant.
        SpaceMismatch: A model, or the store, is of other spaces than the upgrade.
        WrongDirection: The upgrade is a forward one.
        StoreError: The store cannot be opened.

    Examples:
        >>> open_served(ServeSettings(upgrade="nowhere"))
        Traceback (most recent call last):
        embridge.errors.ArtefactError: nowhere ...
    """
    keys, operator_keys = read_keys(settings.keys, settings.keys_variable), read_keys(settings.operator_keys)
    upgrade = Upgrade.load(settings.upgrade)
    if upgrade.direction != "backward":
        raise WrongDirection(f"{settings.upgrade}: old rows are served as they are, which needs a backward upgrade")
    encoders = _of_the_upgrade(upgrade, _named_encoders(settings, upgrade) if encoders is None else dict(encoders))
    batchers = {
        side: Batcher(
            encoder.encode, settings.batch_items, settings.limits.waiting, refuse_long=settings.too_long == "refuse"
        )
        for side, encoder in encoders.items()
    }
    names = {
        "new": settings.new_name or upgrade.new_space.model,
        "old": settings.old_name or upgrade.old_space.model,
    }
    models = served_models(upgrade, names, {side: (encoders[side], batchers[side]) for side in encoders})
    in_turn = {side: InTurn(encoders[side], batchers[side]) for side in encoders}
    galleries = None if settings.store is None else Galleries.opened(settings, upgrade, in_turn)
    return Opened(settings, upgrade, models, batchers, galleries, keys, operator_keys)


def _named_encoders(settings: ServeSettings, upgrade: Upgrade) -> dict[str, Encoder]:
    """The new model, and the old one where it is at hand, with their weights in memory."""
    models = Models()
    new = _encoder(settings.new, upgrade.provenance.encoders.get("new"), models)
    if new is None:
        raise SettingsError("the upgrade does not say which model is the new one; name it in new")
    old = _old_encoder(settings, upgrade, models)
    return {"new": with_lora(new, upgrade.lora)} | ({} if old is None else {"old": old})


def _of_the_upgrade(upgrade: Upgrade, encoders: dict[str, Encoder]) -> dict[str, Encoder]:
    """The same, of the upgrade's spaces."""
    for side, encoder in encoders.items():
        space = upgrade.new_space if side == "new" else upgrade.old_space
        if encoder.space != space:
            raise SpaceMismatch(f"the upgrade is of {space}, and the {side} model gives {encoder.space}")
    return encoders


def _old_encoder(settings: ServeSettings, upgrade: Upgrade, models: Models) -> Encoder | None:
    """The old model: as the settings say, or the one that the upgrade was fitted with if it is still there."""
    if settings.old is not None:
        return _encoder(settings.old, None, models)
    try:
        return _encoder(None, upgrade.provenance.encoders.get("old"), models)
    except EmbridgeError:  # nothing asked for it
        return None


def _encoder(named: ModelSettings | None, name: str | None, models: Models) -> Any:
    if named is not None and named.encoder is not None:
        lazy = models.encoder(named)
    elif name is not None:
        lazy = models.named(name)
    else:
        return None
    lazy.loaded()
    return lazy
