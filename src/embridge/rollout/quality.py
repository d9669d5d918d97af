"""Quality of the old model and of the bridge on the rows that are there, where people have judged queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from math import isfinite
from typing import Any, get_args

import numpy as np

from embridge.errors import InvalidInput
from embridge.evaluation import Relevance
from embridge.evaluation.compatibility import Answer, compatible
from embridge.evaluation.judged import Judged
from embridge.evaluation.measures import FULL, measure
from embridge.evaluation.statistics import Drawn, Interval, bootstrap_mean

__all__ = ["Quality", "deepest_of", "quality_of"]

_Ids = Sequence[Sequence[str]]
_FIGURES = ("old", "bridged", "difference")


@dataclass(frozen=True, slots=True)
class Quality:
    """A metric of both ways to ask, with 95 % intervals.

    Attributes:
        metric: Such as ``ndcg_at_10``.
        old: Of the old model.
        bridged: Of the new model through the bridge, in the same rows.
        difference: Of the second from the first, query by query.
        compatible: Whether the bridge is better: ``yes``, ``no`` or ``undecided``.

    Examples:
        >>> Quality("mrr_at_10", Interval(0.5, 0.4, 0.6), Interval(0.6, 0.5, 0.7), Interval(0.1, 0.0, 0.2), "undecided").kept
        1.2
    """

    metric: str
    old: Interval
    bridged: Interval
    difference: Interval
    compatible: Answer

    @property
    def kept(self) -> float | None:
        """What the bridge reaches of the old model's figure; None where that is 0."""
        return self.bridged.value / self.old.value if self.old.value else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON; an interval is its mean and its bounds."""
        figures = {name: list(astuple(getattr(self, name))) for name in _FIGURES}
        return {"metric": self.metric} | figures | {"compatible": self.compatible}

    @staticmethod
    def from_dict(document: Mapping[str, Any]) -> Quality:
        """The inverse of `to_dict`; raises `InvalidInput` for anything else."""
        try:
            old, bridged, difference = (Interval(*map(float, document[name])) for name in _FIGURES)
            numbers = (value for one in (old, bridged, difference) for value in astuple(one))
            if document["compatible"] not in get_args(Answer) or not all(map(isfinite, numbers)):
                raise ValueError(f"came {document!r:.200}")
            return Quality(measure(document["metric"]).name, old, bridged, difference, document["compatible"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"expected figures of a metric ({error})") from error


def deepest_of(metrics: Sequence[str]) -> int:
    """How many hits a query needs for some metrics.

    Args:
        metrics: By their names.

    Returns:
        The largest k.

    Raises:
        SettingsError: There is no such metric.
        InvalidInput: A metric needs the whole ranking, which a store does not give.

    Examples:
        >>> deepest_of(["recall_at_1", "ndcg_at_10"])
        10
    """
    depths = [measure(name).k for name in metrics]
    if 0 in depths:
        raise InvalidInput(
            f"{FULL} needs the whole ranking, and a store gives the best k; take one with a k, such as map_at_100"
        )
    return max(depths)


def quality_of(
    relevance: Relevance, queries: Sequence[str], found: tuple[_Ids, _Ids], metrics: Sequence[str], *, seed: int = 0
) -> tuple[Quality, ...]:
    """Measure both ways to ask by judgements.

    Args:
        relevance: Which items are right for which query.
        queries: Those that were asked, each judged.
        found: Ids of the hits of each query by the old model, and by the bridge; at least as deep as the metrics.
        metrics: By their names.
        seed: Of the intervals.

    Returns:
        The figures, metric by metric.

    Examples:
        >>> (figures,) = quality_of(Relevance.from_pairs([("q", "b")]), ["q"], ([["a", "b"]], [["b", "a"]]), ["mrr_at_2"])
        >>> figures.old.value, figures.bridged.value
        (0.5, 1.0)
    """
    depth, items = deepest_of(metrics), list(dict.fromkeys(name for one in found for ids in one for name in ids))
    judged = relevance.judge(list(queries), items)
    gains, ideal = [_gains(judged, items, one, depth) for one in found], judged.ideal(depth)
    drawn = Drawn(weights=judged.weights, groups=judged.groups)
    figures = []
    for name in metrics:
        old, bridged = (measure(name).values(each, judged.relevant, ideal) for each in gains)
        before, after = (bootstrap_mean(values, **drawn, seed=seed) for values in (old, bridged))
        comparison = compatible(bridged, old, **drawn, seed=seed)
        figures.append(Quality(name, before, after, comparison.difference, comparison.answer))
    return tuple(figures)


def _gains(judged: Judged, items: Sequence[str], found: _Ids, depth: int) -> np.ndarray:
    """How relevant each hit is [q, depth]; 0 where a query has fewer."""
    place = {name: row for row, name in enumerate(items)}
    rows = np.full((len(found), depth), -1)
    for query, ids in enumerate(found):
        rows[query, : len(ids[:depth])] = [place[name] for name in ids[:depth]]
    return np.where(rows < 0, np.float32(0), judged.gains(np.maximum(rows, 0)))
