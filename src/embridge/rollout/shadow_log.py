"""What a shadow found: numbers of queries that were asked both ways, beside the rows, with no query in them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field, fields, replace
from math import isfinite
from typing import Any, Literal

import numpy as np

from embridge.errors import InvalidInput, StoreError
from embridge.nearest import Hits
from embridge.rollout.quality import Quality
from embridge.stores.documents import Documents

__all__ = ["SOURCES", "ShadowLog", "ShadowSample", "add_to_log", "compare_hits", "read_log", "write_log"]

Source = Literal["sampled", "asked"]
SOURCES: dict[Source, str] = {"sampled": "sampled queries", "asked": "queries of a file"}
"""Where compared queries are from: an application, of whose queries a share is drawn, or a file."""

_SCHEMA = "embridge.shadow/1"
_PERSISTENCE = 0.9  # of rank-biased overlap: the first ten ranks carry about nine tenths of it
_SAMPLES = 500
_ATTEMPTS = 50
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class ShadowSample:
    """One query, asked both ways.

    Attributes:
        overlap: The share of the hits that both have, of the longer list.
        top1: 1 where both have the same best hit, else 0.
        rank_biased: Rank-biased overlap of the two lists; 1 where they are one.
        old_score: Of the old model's best hit.
        bridged_score: Of the bridge's best hit, in the same space.
        old_seconds: How long the old model's answer took, encoding included.
        bridged_seconds: The same of the bridge's.

    Examples:
        >>> ShadowSample(0.9, 1.0, 0.95, 0.8, 0.7, 0.01, 0.02).top1
        1.0
    """

    overlap: float
    top1: float
    rank_biased: float
    old_score: float
    bridged_score: float
    old_seconds: float
    bridged_seconds: float


def compare_hits(old: Hits, bridged: Hits, *, seconds: tuple[float, float] = (0.0, 0.0)) -> list[ShadowSample | None]:
    """Compare what two systems found in the same rows.

    Args:
        old: The hits of the old model.
        bridged: Those of the new model through the bridge, for the same queries.
        seconds: How long a query took with each of the two.

    Returns:
        One sample a query; None where both found nothing, or one of them did.

    Note:
        Source of rank-biased overlap: Webber et al. 2010, cut at the last hit and divided by its largest value there.

    Examples:
        >>> scores = np.ones((1, 2), np.float32)
        >>> (sample,) = compare_hits(Hits((("a", "b"),), scores), Hits((("b", "c"),), scores))
        >>> sample.overlap, sample.top1, round(sample.rank_biased, 3)
        (0.5, 0.0, 0.237)
    """
    return [
        _sample(*ids, *(float(scores[0]) for scores in best), *seconds) if all(ids) else None
        for ids, best in zip(
            zip(old.ids, bridged.ids, strict=True), zip(old.scores, bridged.scores, strict=True), strict=True
        )
    ]


def _sample(old: Sequence[str], bridged: Sequence[str], *numbers: float) -> ShadowSample:
    overlap = len(set(old) & set(bridged)) / max(len(old), len(bridged))
    shown = (round(value, 4) for value in (overlap, float(old[0] == bridged[0]), _rank_biased(old, bridged)))
    limited = (float(f"{min(max(value, -_LARGEST), _LARGEST):.6g}") for value in numbers)
    return ShadowSample(*shown, *limited)


def _rank_biased(old: Sequence[str], bridged: Sequence[str]) -> float:
    depth = max(len(old), len(bridged))
    weights = [_PERSISTENCE**rank for rank in range(depth)]
    shares = [len(set(old[:rank]) & set(bridged[:rank])) / rank for rank in range(1, depth + 1)]
    return sum(weight * share for weight, share in zip(weights, shares, strict=True)) / sum(weights)


@dataclass(frozen=True, slots=True)
class ShadowLog:
    """What is kept of all comparisons: how many there were, and the numbers of some, drawn evenly from all.

    Attributes:
        upgrade_id: The hash of the upgrade that was asked through.
        samples: Of the comparisons, those that are kept.
        compared: How many there were.
        empty: Queries for which one of the two found nothing; they are in no figure.
        dropped: Queries that were drawn and not asked, since others were waiting.
        failed: Kind of failure → queries that could not be asked through the bridge.
        quality: Figures by judgements, where there are any.

    Raises:
        InvalidInput: A count is negative, or there are more samples than comparisons.

    Examples:
        >>> ShadowLog("a1b2").merged(ShadowLog("a1b2", compared=0, dropped=3)).dropped
        3
    """

    upgrade_id: str
    samples: tuple[ShadowSample, ...] = ()
    compared: int = 0
    empty: int = 0
    dropped: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    quality: tuple[Quality, ...] = ()

    def __post_init__(self) -> None:
        counts = (self.compared, self.empty, self.dropped, *self.failed.values())
        if any(type(count) is not int or count < 0 for count in counts) or len(self.samples) > self.compared:
            raise InvalidInput("a shadow's log counts from 0 on, and keeps no more samples than it counts")

    def merged(self, batch: ShadowLog, *, most: int = _SAMPLES, draw: Callable[[], float] = random.random) -> ShadowLog:
        """This log and a further batch, all of whose samples are there; each sample of both is kept with the same chance."""
        kept, count = list(self.samples), self.compared
        for sample in batch.samples:
            count += 1
            if len(kept) < most:
                kept.append(sample)
            elif (place := int(draw() * count)) < most:
                kept[place] = sample
        return replace(
            self,
            samples=tuple(kept),
            compared=count,
            empty=self.empty + batch.empty,
            dropped=self.dropped + batch.dropped,
            failed=dict(Counter(self.failed) + Counter(batch.failed)),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON; a sample is a list of numbers in the order of its fields."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        samples = [list(astuple(sample)) for sample in self.samples]
        quality = [one.to_dict() for one in self.quality]
        return {"schema": _SCHEMA} | values | {"samples": samples, "failed": dict(self.failed), "quality": quality}

    @staticmethod
    def from_dict(document: Mapping[str, Any]) -> ShadowLog:
        """The inverse of `to_dict`; raises `StoreError` for anything else."""
        try:
            if document["schema"] != _SCHEMA:
                raise ValueError(f"its schema is {document['schema']!r}")
            values = {one.name: document[one.name] for one in fields(ShadowLog)}
            rows = [[float(value) for value in row] for row in values["samples"]]
            if not all(isfinite(value) for row in rows for value in row):
                raise ValueError("a number is not finite")
            quality = tuple(map(Quality.from_dict, values["quality"]))
            return ShadowLog(**values | {"samples": tuple(ShadowSample(*row) for row in rows), "quality": quality})
        except (KeyError, TypeError, ValueError, AttributeError, InvalidInput) as error:
            raise StoreError(
                f"the log of the shadow is damaged ({error}); the next comparisons begin another"
            ) from error


def read_log(documents: Documents, source: Source, *, upgrade_id: str) -> ShadowLog | None:
    """The log of an upgrade.

    Args:
        documents: Of the store.
        source: ``sampled`` or ``asked``.
        upgrade_id: The upgrade's hash; a log of another one is none.

    Returns:
        The log; None where there is none.

    Raises:
        StoreError: It is damaged.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> print(read_log(MemoryDocuments(), "sampled", upgrade_id="a1b2"))
        None
    """
    document = documents.read(_name(source))
    log = None if document is None else ShadowLog.from_dict(document)
    return log if log is not None and log.upgrade_id == upgrade_id else None


def add_to_log(documents: Documents, batch: ShadowLog) -> None:
    """Add comparisons of sampled queries to what others have found; begin anew where that is of another upgrade, or damaged.

    Args:
        documents: Of the store.
        batch: What is new, with all of its samples.

    Raises:
        StoreError: Others write again and again.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> documents = MemoryDocuments()
        >>> add_to_log(documents, ShadowLog("a1b2", (ShadowSample(1.0, 1.0, 1.0, 0.5, 0.5, 0.1, 0.1),), 1))
        >>> add_to_log(documents, ShadowLog("a1b2", dropped=2))
        >>> log = read_log(documents, "sampled", upgrade_id="a1b2")
        >>> log.compared, log.dropped
        (1, 2)
    """
    for _ in range(_ATTEMPTS):
        present = documents.read(_name("sampled"))
        log = ShadowLog(batch.upgrade_id)
        if present is not None and present.get("upgrade_id") == batch.upgrade_id:
            with suppress(StoreError):
                log = ShadowLog.from_dict(present)
        if documents.swap(_name("sampled"), present, log.merged(batch).to_dict()):
            return
    raise StoreError("others wrote the log of the shadow at every attempt")


def write_log(documents: Documents, log: ShadowLog) -> None:
    """Keep the comparisons of a file's queries, in place of those before.

    Args:
        documents: Of the store.
        log: What was found.

    Raises:
        StoreError: Others write again and again.

    Examples:
        >>> from embridge.stores.documents import MemoryDocuments
        >>> documents = MemoryDocuments()
        >>> write_log(documents, ShadowLog("a1b2", empty=1))
        >>> read_log(documents, "asked", upgrade_id="a1b2").empty
        1
    """
    for _ in range(_ATTEMPTS):
        if documents.swap(_name("asked"), documents.read(_name("asked")), log.to_dict()):
            return
    raise StoreError("others wrote the log of the shadow at every attempt")


def _name(source: Source) -> str:
    return f"shadow/{source}"
