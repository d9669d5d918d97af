"""The order in which a backfill encodes rows, as the settings say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch
from embridge.rollout.order import by_cluster_distance, by_uncertainty
from embridge.settings.rollout import RolloutSettings
from embridge.space import Space
from embridge.stores import Store

__all__ = ["order_of"]

_ID_PAGE = 10_000


def order_of(settings: RolloutSettings, store: Store, old: Space) -> list[str]:
    """Ids in the order that pays; none where the store's own will do.

    ``uncertainty`` and ``cluster`` hold all old vectors in memory while they are put in order.

    Args:
        settings: Of the rollout.
        store: The store.
        old: The space of the rows that are there.

    Returns:
        The ids.

    Raises:
        SettingsError: The log is no text, or there are more clusters than rows.
        SpaceMismatch: The upgrade that says how uncertain it is is not of the old rows.
        InvalidInput: It says nothing of its uncertainty.

    Examples:
        >>> from embridge.stores import MemoryStore
        >>> space = Space("mini", "1", 2)
        >>> order_of(RolloutSettings(store="memory:", upgrade="upgrade"), MemoryStore(space), space)
        []
    """
    require_order(settings, store, old)
    if settings.log is not None:
        return _by_log(settings.log)
    if settings.order == "random":
        names: list[str] = []
        while page := store.ids(old, after=names[-1] if names else None, limit=_ID_PAGE):
            names += page
        return [names[row] for row in np.random.default_rng(settings.seed).permutation(len(names))]
    if settings.uncertainty is not None:
        return list(by_uncertainty(_rows(store, old), _uncertain(settings.uncertainty, old)))
    if settings.order == "cluster":
        rows = _rows(store, old)
        return list(by_cluster_distance(rows, clusters=settings.clusters, seed=settings.seed))
    return []


def require_order(settings: RolloutSettings, store: Store, old: Space) -> None:
    """Refuse settings by which no order can be made, before anything is changed; see `order_of`."""
    if settings.log is not None:
        _by_log(settings.log)
    if settings.uncertainty is not None:
        _uncertain(settings.uncertainty, old)
    if settings.order == "cluster" and settings.clusters > (rows := store.count(old)):
        raise SettingsError(f"clusters: there are {rows:,} rows, and {settings.clusters:,} clusters to put them in")


def _by_log(log: Path) -> list[str]:
    try:
        with log.open(encoding="utf-8") as lines:
            counts = Counter(line.rstrip("\r\n") for line in lines)
    except UnicodeDecodeError as error:
        raise SettingsError(f"log: {log} is no text in UTF-8: {error}") from error
    return [name for name, _ in counts.most_common() if name]


def _uncertain(folder: Path, old: Space) -> Upgrade:
    upgrade = Upgrade.load(folder)
    if upgrade.uncertainty is None:
        raise InvalidInput(
            f"uncertainty: {folder} ({upgrade.provenance.method}) does not say how uncertain it is; fit one with the method "
            "fastfill"
        )
    if upgrade.uncertainty.source != old:
        raise SpaceMismatch(f"uncertainty: {folder} is of {upgrade.uncertainty.source}, and the old rows are of {old}")
    return upgrade


def _rows(store: Store, old: Space) -> Embeddings:
    """All old rows, in order of their ids, whatever order the store gives them in."""
    parts = list(store.scan(old))
    ids = [name for part in parts for name in part.ids]
    vectors = np.concatenate([part.vectors for part in parts]) if parts else np.zeros((0, old.dim), np.float32)
    return Embeddings(tuple(ids), vectors, old).take(sorted(range(len(ids)), key=ids.__getitem__))
