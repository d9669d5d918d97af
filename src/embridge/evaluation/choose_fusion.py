"""How far to trust the bridge in a fusion, found on a support set of judged queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SettingsError
from embridge.evaluation.judged import Judged
from embridge.evaluation.measures import FULL, Measure, measure
from embridge.evaluation.one_set import own_rows, share_items
from embridge.evaluation.relevance import AnyRelevance
from embridge.evaluation.retrieve import retrieve
from embridge.evaluation.sides import Side
from embridge.evaluation.ties import Searched
from embridge.query.fusion import Fusion, FusionKind, cosines, nlerp, slerp
from embridge.shapes import Int64

__all__ = ["GRID", "choose_alpha", "split_support"]

GRID = tuple(i / 20 for i in range(21))
"""The α tried."""

_TAILS = 0.1, 0.9  # the adaptive rule is searched by its α at these quantiles of ⟨u, v⟩ on the support set
_NEAR_ENDS = 0.01, 0.99  # σ reaches neither 0 nor 1


def split_support(
    query_ids: Sequence[str], n: int, seed: int
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " m"]]:
    """Draw n queries to choose settings on, and leave the others to measure on.

    Args:
        query_ids: All judged queries.
        n: How many to draw; at least one is left.
        seed: Draws them.

    Returns:
        The rows drawn [n] and the rows left [m], both ascending.

    Raises:
        InvalidInput: n is not from 1 to all but one.

    Examples:
        >>> support, rest = split_support(["a", "b", "c", "d", "e"], 2, seed=0)
        >>> len(support), sorted([*support.tolist(), *rest.tolist()])
        (2, [0, 1, 2, 3, 4])
    """
    if not 1 <= n < len(query_ids):
        raise InvalidInput(f"a support set takes from 1 to all but one of {len(query_ids)} queries, came n={n}")
    order = np.random.default_rng(seed).permutation(len(query_ids))
    return np.sort(order[:n]), np.sort(order[n:])


def choose_alpha(
    old: Side,
    bridged: Embeddings,
    relevance: AnyRelevance,
    *,
    metric: str,
    kind: FusionKind = "slerp",
    grid: Sequence[float] = GRID,
) -> Fusion:
    """Choose the fusion that scores best on these queries, the support set.

    Do not measure on them again: `split_support` draws them, and the fusion names them in ``support``. ``adaptive``
    tries (b, s) by the α that they give at the lowest and the highest tenth of ⟨u, v⟩, from the grid, and reads the
    metric at other α by interpolation. The first of equals is taken, of adaptive ones the flattest.

    Where queries are rows of the gallery, by id and by vector, none finds itself, unless pairs call an item right for
    itself.

    Args:
        old: The old model's queries [q], and its index or a sample of it that holds what is relevant.
        bridged: The same queries by the new model, through the bridge [q].
        relevance: What is right.
        metric: A name that `measure` knows; not ``map``, which is of whole rankings.
        kind: ``slerp``, ``nlerp`` or ``adaptive``.
        grid: The α to try, ascending, from 0 to 1.

    Returns:
        The fusion, with the metric at each α of the grid.

    Raises:
        InvalidInput: Nothing is relevant to any of the queries, or the grid is no grid.
        SettingsError: There is no such metric at a depth.

    Examples:
        >>> from embridge import Space
        >>> from embridge.evaluation import Relevance
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("old", "1", 2))
        >>> wrong = rows.with_vectors(rows.vectors[::-1].copy(), rows.space)
        >>> relevance = Relevance.from_pairs([("0", "0"), ("1", "1")])
        >>> choose_alpha(Side(rows, rows), wrong, relevance, metric="recall_at_1", grid=(0.0, 1.0)).alpha
        0.0
    """
    at_k, alphas = _measure(metric), _grid(grid)
    queries, gallery = old.queries, old.gallery
    one_set = not relevance.names_itself and share_items(queries, gallery)
    judged = relevance.judge(queries.ids, gallery.ids, one_set=one_set)
    if not judged.present.any():
        raise InvalidInput(f"nothing in the gallery is relevant to any of the {len(queries)} support queries")
    own = own_rows(queries, gallery) if one_set else None
    fuse = slerp if kind == "slerp" else nlerp
    values = np.stack([_values(fuse(queries, bridged, float(a)), gallery, judged, at_k, own) for a in alphas], axis=1)
    means = np.average(values, axis=0, weights=judged.weights)
    table = tuple(zip(alphas.tolist(), means.tolist(), strict=True))
    best = Fusion(
        queries.space, "nlerp", float(alphas[means.argmax()]), metric=metric, support=queries.ids, scores=table
    )
    if kind != "adaptive":
        return replace(best, kind=kind)
    bias, slope = _adaptive(cosines(queries, bridged), alphas, values, judged.weights)
    return replace(best, kind=kind, alpha=None, bias=bias, slope=slope)


def _measure(name: str) -> Measure:
    at_k = measure(name)
    if at_k.kind == FULL and not at_k.k:
        raise SettingsError(f"{FULL} is of whole rankings; choose a fusion by map_at_K or another metric at K")
    return at_k


def _grid(grid: Sequence[float]) -> np.ndarray:
    alphas = np.asarray(grid, np.float64)
    if alphas.ndim != 1 or not len(alphas) or (np.diff(alphas) <= 0).any() or alphas[0] < 0 or not alphas[-1] <= 1:
        raise InvalidInput(f"the grid is ascending numbers from 0 to 1, at least one; came {grid!r:.100}")
    return alphas


def _values(
    queries: Embeddings, gallery: Embeddings, judged: Judged, at_k: Measure, own: np.ndarray | None
) -> np.ndarray:
    found = retrieve(Side(queries, gallery), at_k.k, Searched(judged, own))
    gains, ideal = judged.gains(found.ranking.rows), judged.ideal(min(at_k.k, len(gallery)))
    return at_k.values(gains, judged.relevant, ideal, found.ties)


def _adaptive(
    agreement: np.ndarray, alphas: np.ndarray, values: np.ndarray, weights: np.ndarray | None
) -> tuple[float, float]:
    """(b, s) of the best mean; ``values`` [q, a] are the metric of each query at each α."""
    low, high = np.quantile(agreement, _TAILS)
    reachable = np.clip(alphas, *_NEAR_ENDS)
    logits = np.unique(np.log(reachable / (1 - reachable)))
    rules = []
    for at_low in logits:
        for at_high in logits if high - low > 1e-9 else [at_low]:
            slope = (at_high - at_low) / (high - low) if at_high != at_low else 0.0
            bias = at_low - slope * low
            mean = np.average(_read(alphas, values, bias + slope * agreement), weights=weights)
            rules.append((-float(mean), abs(float(slope)), float(bias), float(slope)))
    _, _, bias, slope = min(rules)
    return bias, slope


def _read(alphas: np.ndarray, values: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Each query's value at its own α = σ(logit), between the two nearest of the grid."""
    if len(alphas) == 1:
        return values[:, 0]
    at = 0.5 * (1 + np.tanh(0.5 * logits))
    left = np.clip(np.searchsorted(alphas, at) - 1, 0, len(alphas) - 2)
    share = np.clip((at - alphas[left]) / (alphas[left + 1] - alphas[left]), 0, 1)
    row = np.arange(len(values))
    return (1 - share) * values[row, left] + share * values[row, left + 1]
