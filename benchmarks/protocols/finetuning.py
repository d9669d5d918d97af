"""XBT's bridge and its finetuning on cached vectors of photos with captions, each judged in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.data.flickr8k import CAPTIONS_EACH
from benchmarks.protocols.cells import report_rows
from embridge import Embeddings, Upgrade
from embridge.evaluation import Relevance, Scope, Side, evaluate
from embridge.methods import Pairs, make
from embridge.training.xbt.cached import PairVectors, Towers, XBTCached

__all__ = ["Trial", "bridge_and_finetuned", "bridge_trial", "finetuned", "finetuned_trial", "repeated", "trial_rows"]

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Trial:
    """What was trained: what a table calls it, the upgrade of the tower that asks in each direction, and its seconds."""

    name: str
    towers: Mapping[str, Upgrade]
    seconds: float


def bridge_trial(pairs: Pairs, method: str, *, seed: int) -> Trial:
    """A map from captions alone, the same for both towers."""
    began = perf_counter()
    upgrade = make(method).fit(pairs, seed=seed)
    return Trial(upgrade.provenance.method, {"t2i": upgrade, "i2t": upgrade}, perf_counter() - began)


def finetuned_trial(
    pairs: Pairs, photos: Side, first: Trial, case: Mapping[str, Any], *, seed: int, name: str
) -> Trial:
    """What `finetuned` makes of a bridge."""
    began = perf_counter()
    towers = finetuned(pairs, photos, first.towers["t2i"], case, seed=seed)
    return Trial(name, {"t2i": towers.text, "i2t": towers.image}, perf_counter() - began)


def finetuned(pairs: Pairs, photos: Side, upgrade: Upgrade, case: Mapping[str, Any], *, seed: int) -> Towers:
    """Trained on that many of the photos, drawn at random, and all captions of each."""
    drawn = np.random.default_rng(seed).permutation(len(photos.gallery))[: case["photos"]]
    rows = (drawn[:, None] * CAPTIONS_EACH + np.arange(CAPTIONS_EACH)).ravel()
    owners = np.repeat(drawn, CAPTIONS_EACH)
    return XBTCached(**case.get("settings", {})).fit(
        PairVectors(repeated(photos.gallery, owners), photos.queries.take(rows), owners),
        upgrade,
        captions=pairs if case["captions"] else None,
        seed=seed,
    )


def repeated(rows: Embeddings, numbers: np.ndarray) -> Embeddings:
    """Some rows, as often as they are named."""
    return Embeddings.of(rows.vectors[numbers], rows.space)


def trial_rows(
    trial: Trial, sides: tuple[Side, Side], relevance: Relevance, *, seed: int, controls: bool = False
) -> Rows:
    """Each direction through the upgrade of the tower that asks."""
    rows: Rows = []
    reverse = tuple(side.reversed() for side in sides), relevance.inverted()
    for direction, upgrade in trial.towers.items():
        judged, right = (sides, relevance) if direction == "t2i" else reverse
        report = evaluate(*judged, upgrade, right, scope=Scope(directions=[direction], seed=seed))
        rows += report_rows(report, {"name": trial.name}, seed=seed, seconds=trial.seconds, controls=controls)
    return rows


def bridge_and_finetuned(
    pairs: Pairs,
    sides: tuple[Side, Side],
    relevance: Relevance,
    photos: Mapping[str, Side],
    case: Mapping[str, Any],
    *,
    seed: int,
) -> Rows:
    """The bridge of XBT, then for each of the photos by name a finetuning that learns from them."""
    first = bridge_trial(pairs, "xbt", seed=seed)
    rows = trial_rows(first, sides, relevance, seed=seed, controls=True)
    for name, own in photos.items():
        trial = finetuned_trial(pairs, own, first, case, seed=seed, name=name)
        rows += trial_rows(trial, sides, relevance, seed=seed)
    return rows
