"""How good the candidates of a choice are: on held-out pairs, or on judged queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from embridge.adapters.base import normalized
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import float32_rows
from embridge.evaluation import evaluate
from embridge.evaluation.report import UPGRADED, Task
from embridge.evaluation.statistics import Drawn
from embridge.methods.base import Pairs
from embridge.methods.choice import JudgedQueries
from embridge.shapes import Float64

__all__ = ["Scores", "scores_of_pairs", "scores_of_queries"]

_QUERIES, _POOL, _OFFSETS = 1_000, 5_000, 3


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """How good every candidate is.

    Attributes:
        values: One value a query [q] of every candidate; higher is better.
        drawn: How queries are drawn, see `bootstrap_mean`.
        refused: Who is out, and why.

    Examples:
        >>> Scores({"ridge": np.ones(3)}, Drawn(weights=None, groups=None), {}).values["ridge"].mean()
        np.float64(1.0)
    """

    values: Mapping[str, Float64[np.ndarray, " q"]]
    drawn: Drawn
    refused: Mapping[str, str]


def scores_of_pairs(
    upgrades: Mapping[str, Upgrade], train: Pairs, held_out: Pairs, *, cross_modal: bool, seed: int
) -> Scores:
    """Score by reciprocal ranks of held-out items; who finds no more than chance is out.

    Args:
        upgrades: The candidates, by name.
        train: What they were fitted on; the old vectors are in the ranking.
        held_out: What they were not.
        cross_modal: Half of the score is of queries that are all moved by one vector of length one.
        seed: Of these vectors.

    Returns:
        The scores of all candidates.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> from embridge.methods.procrustes import Procrustes
        >>> x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
        >>> pairs = Pairs(Embeddings.of(x, Space("new", "1", 6)), Embeddings.of(x[:, :4], Space("old", "1", 4)))
        >>> train, held_out = pairs.hold_out(0.1, seed=0)
        >>> upgrades = {"procrustes": Procrustes().fit(train)}
        >>> scores_of_pairs(upgrades, train, held_out, cross_modal=False, seed=0).refused
        {}
    """
    queries = held_out.take(np.arange(min(len(held_out), _QUERIES)))
    pool = np.concatenate([queries.old.vectors, float32_rows(train.old, slice(_POOL))])
    new = normalized(queries.new.vectors)
    offsets = normalized(np.random.default_rng(seed).standard_normal((_OFFSETS, new.shape[1])).astype(np.float32))
    values = {}
    for name, upgrade in upgrades.items():
        plain = _reciprocal_ranks(upgrade, new, pool)
        if cross_modal:
            moved = np.mean([_reciprocal_ranks(upgrade, normalized(new + o), pool) for o in offsets], axis=0)
            plain = (plain + moved) / 2
        values[name] = plain
    chance = (np.log(len(pool)) + 1) / len(pool)  # of a reciprocal rank
    nothing = {name: "finds no more than chance" for name, v in values.items() if v.mean() <= 3 * chance}
    return Scores(values, Drawn(weights=queries.weights, groups=None), nothing)


def _reciprocal_ranks(upgrade: Upgrade, new: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Of each query's own item, one over its rank by cosine among the pool [q]; ties count against it, and NaN ranks last."""
    queries, gallery = upgrade.head.apply(new), pool
    if upgrade.direction == "backward":
        queries = upgrade.bridge.apply(queries)
    else:
        gallery = upgrade.bridge.apply(pool)
    scores = normalized(queries) @ normalized(gallery).T
    own = scores[np.arange(len(new)), np.arange(len(new))]
    ranks = (scores >= own[:, None]).sum(axis=1)
    ranks[np.isnan(own)] = len(pool)
    return 1 / ranks


def scores_of_queries(upgrades: Mapping[str, Upgrade], judged: JudgedQueries) -> Scores:
    """Score by judged queries; who makes a direction worse than the old model is out.

    The value is the scope's last metric in all directions, each direction counting alike.

    Args:
        upgrades: The candidates, by name.
        judged: What they are scored by.

    Returns:
        The scores of all candidates.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> from embridge.evaluation import Relevance, Side
        >>> from embridge.methods.procrustes import Procrustes
        >>> x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
        >>> new, old = (Embeddings.of(x, Space(m, "1", 4)) for m in ("new", "old"))
        >>> upgrades = {"procrustes": Procrustes().fit(Pairs(new, old))}
        >>> right = Relevance.from_pairs([(str(i), str(i)) for i in range(40)])
        >>> scores_of_queries(upgrades, JudgedQueries(Side(old, old), Side(new, new), right)).refused
        {}
    """
    first, *others = upgrades
    scope = replace(judged.scope, controls={name: upgrades[name] for name in others})
    report = evaluate(judged.old, judged.new, upgrades[first], judged.relevance, scope=scope)
    cells = {first: UPGRADED} | {name: f"{name}/old" for name in others}
    values = {
        n: np.concatenate([report.values(d, c, report.main) for d in report.directions]) for n, c in cells.items()
    }
    refused = {}
    for name, cell in cells.items():
        worse = [t.title for t in report.tasks if report.compatible(t.direction, report.main, cell).answer == "no"]
        if worse:
            refused[name] = f"is worse than the old model: {', '.join(worse)}"
    weights = [np.ones(len(t.query_ids)) if t.weights is None else t.weights for t in report.tasks]
    drawn = Drawn(weights=np.concatenate([w / w.sum() for w in weights]), groups=_groups(report.tasks))
    return Scores(values, drawn, refused)


def _groups(tasks: Sequence[Task]) -> np.ndarray:
    """The groups of all directions, one after the other; a query without others is a group of its own."""
    groups, first = [], 0
    for task in tasks:
        own = np.arange(len(task.query_ids)) if task.groups is None else task.groups
        groups.append(own + first)
        first += len(task.query_ids)
    return np.concatenate(groups)
