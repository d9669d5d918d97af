"""Metrics by the names that reports, settings and gates use: ``recall_at_10``, ``ndcg_at_10``, ``map`` …

In reports every query asked counts: one with nothing relevant is refused, not asked, or counted as failed, as
`embridge.evaluation.Scope` says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from embridge.errors import SettingsError
from embridge.evaluation import metrics
from embridge.evaluation.tied_metrics import TIED_METRICS
from embridge.evaluation.ties import Ties
from embridge.shapes import Float32, Float64, Int64

__all__ = ["FULL", "MEASURES", "Measure", "measure"]

FULL = "map"
"""Mean average precision over the whole gallery: the one measure that a ranking cut at some depth cannot give."""

_Function = Callable[[np.ndarray, int, np.ndarray, np.ndarray], np.ndarray]


def _plain(function: Callable[..., np.ndarray]) -> _Function:
    return lambda gains, k, relevant, _: function(gains, k, relevant=relevant, empty="zero")


def _graded(function: Callable[..., np.ndarray]) -> _Function:
    return lambda gains, k, _, ideal: function(gains, k, ideal=ideal, empty="zero")


_step = partial(metrics.average_precision, estimator="step")

MEASURES: dict[str, tuple[str, str, _Function]] = {
    "recall": ("R", "any relevant item is within the top k", _plain(metrics.cmc_at_k)),
    "cmc": ("CMC", "the same as recall, by its name in re-identification", _plain(metrics.cmc_at_k)),
    "recall_share": (
        "share",
        "the share of the relevant items within the top k",
        _plain(partial(metrics.recall_at_k, rule="share")),
    ),
    "ndcg": ("nDCG", "discounted gain, linear", _graded(partial(metrics.ndcg_at_k, growth="linear"))),
    "ndcg_exp": ("nDCG exp", "discounted gain, 2^gain − 1", _graded(partial(metrics.ndcg_at_k, growth="exponential"))),
    "mrr": ("MRR", "one over the rank of the first relevant item", _plain(metrics.mrr)),
    "map": ("mAP", "average precision over all relevant items", _plain(partial(_step, denominator="relevant"))),
    "map_min": (
        "mAP min",
        "average precision over min(relevant, k)",
        _plain(partial(_step, denominator="min(relevant, k)")),
    ),
}
"""Name before ``_at_k``: short label, what it is, and the function of gains, k, relevant and ideal."""

_NAME = re.compile(rf"({'|'.join(MEASURES)})_at_([1-9]\d*)")


@dataclass(frozen=True, slots=True)
class Measure:
    """A metric at a k.

    Attributes:
        name: ``recall_at_10``.
        kind: ``recall``: what stands before ``_at_``.
        k: Its depth; 0 for `FULL`.

    Examples:
        >>> measure("ndcg_at_5").k
        5
    """

    name: str
    kind: str
    k: int

    @property
    def label(self) -> str:
        """What heads a column: ``R@10``."""
        return f"{MEASURES[self.kind][0]}@{self.k}" if self.k else MEASURES[self.kind][0]

    def values(
        self,
        gains: Float32[np.ndarray, "q depth"],
        relevant: Int64[np.ndarray, " q"],
        ideal: Float32[np.ndarray, "q depth"],
        ties: Ties | None = None,
    ) -> Float64[np.ndarray, " q"]:
        """One value a query; where hits are equal, its expectation over all orders of them."""
        values = MEASURES[self.kind][2](gains, self.k, relevant, ideal)
        if ties is not None:
            rows = ties.queries
            values[rows] = TIED_METRICS[self.kind](ties, self.k, relevant[rows], ideal[rows])
        return values


def measure(name: str) -> Measure:
    """Look a metric up by its name.

    Args:
        name: One of `MEASURES`, ``_at_`` and a depth, or `FULL`.

    Returns:
        The measure.

    Raises:
        SettingsError: There is none of that name.

    Examples:
        >>> measure("recall_at_10").label
        'R@10'
    """
    if name == FULL:
        return Measure(name, FULL, 0)
    match = _NAME.fullmatch(name)
    if match is None:
        known = ", ".join(f"{kind}_at_10" for kind in MEASURES)
        raise SettingsError(
            f"there is no metric {name!r}; there are (at any k) {known}, and {FULL} over the whole gallery"
        )
    return Measure(name, match[1], int(match[2]))
