"""How good the candidates of a choice are: by what held-out items find, and by judged queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from embridge.adapters.base import normalized
from embridge.adapters.upgrade import Upgrade
from embridge.evaluation import NeighbourAgreement, evaluate
from embridge.evaluation.report import OLD, UPGRADED, Task
from embridge.evaluation.statistics import Drawn, weighted_mean
from embridge.methods.base import Pairs
from embridge.methods.choice import JudgedQueries
from embridge.methods.spread import evenly_spread
from embridge.shapes import Float32, Float64

__all__ = ["Scores", "Search", "scores_of_pairs", "scores_of_queries", "with_few_queries"]

Search = Literal["alike", "t2i", "i2t"]

_QUERIES, _ITEMS, _OFFSETS, _K = 500, 4_000, 3, 10
_MIXED = 1_000  # rows of which a random one is mixed
_SURE, _FEWEST = 3.0, 10  # standard errors above chance; of fewer queries nothing is said
_FEW = 100  # judged queries that count as much as agreement does
_SLOPE = 0.5  # of judged metrics over agreement, as methods differ


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """How good every candidate is.

    Attributes:
        values: One value a query [q] of every candidate; higher is better.
        drawn: How queries are drawn, see `bootstrap_mean`.
        refused: Who is out, and why.
        status_quo: The same values of the old model's own queries [q].

    Examples:
        >>> Scores({"ridge": np.ones(3)}, Drawn(weights=None, groups=None), {}, np.zeros(3)).values["ridge"].mean()
        np.float64(1.0)
    """

    values: Mapping[str, Float64[np.ndarray, " q"]]
    drawn: Drawn
    refused: Mapping[str, str]
    status_quo: Float64[np.ndarray, " q"]


def scores_of_pairs(
    upgrades: Mapping[str, Upgrade],
    train: Pairs,
    held_out: Pairs,
    *,
    searches: Sequence[Search] = ("alike",),
    seed: int = 0,
) -> Scores:
    """Score by neighbour agreement of held-out items; who finds no more than chance is out.

    Items that are fitted on may be found, too. Pairs of texts stand for images where there are none. Where texts search images
    (``t2i``), each item is moved by as much as it differs from the mean, in a random direction of those in which items differ:
    an image holds more than its caption says. And items are compared without the mean of all texts, which images do not
    share. Where images search texts (``i2t``), queries are moved by one vector of length one, about as far as images lie from
    texts (Liang et al. 2022).

    Args:
        upgrades: The candidates, by name.
        train: What they were fitted on.
        held_out: What they were not.
        searches: What will be searched by what; the score is the mean.
        seed: Of the vectors by which queries and items are moved.

    Returns:
        The scores of all candidates.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> from embridge.methods.procrustes import Procrustes
        >>> x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
        >>> pairs = Pairs(Embeddings.of(x, Space("new", "1", 6)), Embeddings.of(x[:, :4], Space("old", "1", 4)))
        >>> train, held_out = pairs.hold_out(0.1, seed=0)
        >>> upgrades = {"procrustes": Procrustes().fit(train)}
        >>> scores_of_pairs(upgrades, train, held_out).refused
        {}
    """
    asked, known = evenly_spread(len(held_out), _QUERIES), evenly_spread(len(train), _ITEMS)
    sides = zip(held_out.unit_rows(asked), train.unit_rows(known), strict=True)
    new, old = (np.concatenate(parts) for parts in sides)
    tests = [test for search in searches for test in _tests(search, new, old, len(asked), seed)]
    values = {name: np.mean([test.values(upgrade) for test in tests], axis=0) for name, upgrade in upgrades.items()}
    status_quo = np.mean([test.status_quo() for test in tests], axis=0)
    unseen = _unseen(*held_out.unit_rows(asked))  # a map finds what it was fitted on, even if that was shuffled
    nothing = {name: "finds no more than chance" for name, upgrade in upgrades.items() if unseen.by_chance(upgrade)}
    weights = None if held_out.weights is None else held_out.weights[asked]
    return Scores(values, Drawn(weights=weights, groups=None), nothing, status_quo)


def _others(rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A random vector a row [n, d], distributed as the rows differ from their mean, and as long on average."""
    centred = rows - rows.mean(axis=0)
    mixed = generator.standard_normal((len(rows), min(len(rows), _MIXED))).astype(np.float32) @ centred[:_MIXED]
    lengths = (np.linalg.norm(side, axis=1).mean() for side in (centred, mixed))
    result: np.ndarray = mixed * np.divide(*lengths)
    return result


@dataclass(frozen=True, slots=True, eq=False)
class _Test:
    """One way of asking: queries by the new model and by the old one, old items, and what the new model finds."""

    new: Float32[np.ndarray, "q d_new"]
    old: Float32[np.ndarray, "q d_old"]
    items: Float32[np.ndarray, "n d_old"]
    centred: bool
    agreement: NeighbourAgreement

    def values(self, upgrade: Upgrade, *, mixed_up: bool = False) -> Float64[np.ndarray, " q"]:
        """What each query finds behind the upgrade; what the one before it finds, where they are mixed up."""
        queries, items = upgrade.head.apply(np.roll(self.new, 1, axis=0) if mixed_up else self.new), self.items
        if upgrade.direction == "backward":
            queries = upgrade.bridge.apply(queries)
        else:
            items = upgrade.bridge.apply(items)
        return self._agreement(queries, items)

    def by_chance(self, upgrade: Upgrade) -> bool:
        """Whether queries find no more of their own neighbours than of another query's, such as what is near to everything."""
        gain = self.values(upgrade) - self.values(upgrade, mixed_up=True)
        if len(gain) < _FEWEST:
            return False
        return not bool(gain.mean() > _SURE * gain.std() / len(gain) ** 0.5)

    def status_quo(self) -> Float64[np.ndarray, " q"]:
        return self._agreement(self.old, self.items)

    def _agreement(self, queries: np.ndarray, items: np.ndarray) -> Float64[np.ndarray, " q"]:
        return self.agreement.values(queries, items - items.mean(axis=0) if self.centred else items)


def _unseen(new: np.ndarray, old: np.ndarray) -> _Test:
    """Held-out items among themselves."""
    k = min(_K, max(1, len(new) // 5))
    return _Test(new, old, old, False, NeighbourAgreement.of(new, new, own=np.arange(len(new)), k=k))


def _tests(search: Search, new: np.ndarray, old: np.ndarray, asking: int, seed: int) -> list[_Test]:
    queries, own = new[:asking], np.arange(asking)
    k = min(_K, max(1, len(new) // 20))
    moved, items, centred, generator = [queries], old, search == "t2i", np.random.default_rng(seed)
    if search == "t2i":
        items = old + _others(old, generator)
    elif search == "i2t":
        offsets = generator.standard_normal((_OFFSETS, new.shape[1])).astype(np.float32)
        moved = [normalized(queries + offset) for offset in normalized(offsets)]
    found = new - new.mean(axis=0) if centred else new
    return [
        _Test(rows, old[:asking], items, centred, NeighbourAgreement.of(rows, found, own=own, k=k)) for rows in moved
    ]


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
    status_quo = np.concatenate([report.values(d, OLD, report.main) for d in report.directions])
    weights = [np.ones(len(t.query_ids)) if t.weights is None else t.weights for t in report.tasks]
    drawn = Drawn(weights=np.concatenate([w / w.sum() for w in weights]), groups=_groups(report.tasks))
    return Scores(values, drawn, _below(values, status_quo, refused, drawn), status_quo)


def _below(
    values: Mapping[str, np.ndarray], status_quo: np.ndarray, refused: dict[str, str], drawn: Drawn
) -> dict[str, str]:
    """Who is refused, and, where some candidate is above the old model, whoever is below it, shown or not."""
    means = {name: weighted_mean(v - status_quo, drawn["weights"]) for name, v in values.items()}
    if max((mean for name, mean in means.items() if name not in refused), default=-1) < 0:
        return refused
    below = {name: "is below the old model, and others are not" for name, mean in means.items() if mean < 0}
    return below | refused


def with_few_queries(judged: Scores, agreement: Scores) -> Scores:
    """Draw what few judged queries say towards what neighbour agreement says.

    q queries count q / (q + 100). The rest is what agreement lets expect: candidates lie as far apart in half their
    agreement.

    Args:
        judged: Scores by judged queries.
        agreement: Scores of the same candidates by held-out pairs.

    Returns:
        The judged scores, each candidate's moved by one number.

    Examples:
        >>> drawn = Drawn(weights=None, groups=None)
        >>> judged = Scores({"one": np.zeros(100), "other": np.zeros(100)}, drawn, {}, np.zeros(100))
        >>> agreement = Scores({"one": np.full(9, 0.5), "other": np.full(9, 0.3)}, drawn, {}, np.zeros(9))
        >>> [round(float(v.mean()), 3) for v in with_few_queries(judged, agreement).values.values()]
        [0.025, -0.025]
    """
    own, others = ({n: weighted_mean(v, s.drawn["weights"]) for n, v in s.values.items()} for s in (judged, agreement))
    middle, centre = np.mean(list(own.values())), np.mean(list(others.values()))
    queries = len(judged.status_quo)
    share = _FEW / (_FEW + queries)
    values = {
        name: v + share * (middle + _SLOPE * (others[name] - centre) - own[name]) for name, v in judged.values.items()
    }
    return replace(judged, values=values)


def _groups(tasks: Sequence[Task]) -> np.ndarray:
    """The groups of all directions, one after the other; a query without others is a group of its own."""
    groups, first = [], 0
    for task in tasks:
        own = np.arange(len(task.query_ids)) if task.groups is None else task.groups
        groups.append(own + first)
        first += len(task.query_ids)
    return np.concatenate(groups)
