"""The chooser: fit the candidates, score them on what they have not seen, and take the cheapest that none beats."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from time import perf_counter
from typing import ClassVar

import numpy as np

from embridge.adapters.base import Adapter, normalized
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import float32_rows
from embridge.errors import GateRefused, InvalidInput, MissingExtra, SettingsError
from embridge.evaluation import Interval, Scope, Side, bootstrap_mean, compatible, evaluate
from embridge.evaluation.relevance import Truth
from embridge.evaluation.report import UPGRADED, Task
from embridge.evaluation.statistics import Drawn
from embridge.methods.base import Pairs, require_cosine
from embridge.methods.validation import warn_if_few
from embridge.progress import Progress, silent
from embridge.shapes import Float64

__all__ = ["CANDIDATES", "Candidate", "Choice", "Choose", "JudgedQueries", "choose", "multiply_adds"]

CANDIDATES = ("procrustes", "ridge", "low-rank", "mlp", "xbt")
"""Tried where nothing else is said; one whose extra is not installed is left out, and the table says so."""

_QUERIES, _POOL, _OFFSETS = 1_000, 5_000, 3


@dataclass(frozen=True, slots=True, eq=False)
class JudgedQueries:
    """Queries to choose by, as both models see them: not those that the result is reported on."""

    old: Side
    new: Side
    relevance: Truth
    scope: Scope = field(default_factory=Scope)


@dataclass(frozen=True, slots=True)
class Candidate:
    """How one method did. score and behind are None for one that could not be fitted; ``why`` says what became of it.

    score: on held-out pairs or judged queries; behind: what it lacks to the best, with its interval; multiply_adds: what
    mapping one vector costs.
    """

    method: str
    score: Interval | None
    behind: Interval | None
    multiply_adds: int
    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Choice:
    """The table, the method taken (None: keep the old model), and the upgrade, fitted on all pairs."""

    candidates: tuple[Candidate, ...]
    method: str | None
    upgrade: Upgrade | None
    reason: str

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Column names and rows of text."""
        columns = ["method", "score", "behind the best", "multiply-adds", "seconds", ""]
        rows = []
        for c in self.candidates:
            score = "" if c.score is None else f"{c.score.value:.3f} ±{c.score.half:.3f}"
            behind = "" if c.behind is None else f"{c.behind.value:.3f} ({c.behind.low:+.3f} to {c.behind.high:+.3f})"
            rows.append([c.method, score, behind, f"{c.multiply_adds:,}", f"{c.seconds:.1f}", c.why])
        return columns, rows


@dataclass(frozen=True, slots=True)
class Choose:
    """The chooser as a method: `choose` without judged queries.

    cross_modal: the pairs are texts and images will be searched, see `choose`; settings: those of single candidates.
    """

    paper: ClassVar[str] = "model selection on held-out data"

    candidates: tuple[str, ...] = CANDIDATES
    settings: dict[str, dict[str, object]] = field(default_factory=dict)
    cross_modal: bool = False
    validation_fraction: float = 0.1

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """The chosen candidate, fitted on all pairs; its provenance names what it was chosen from."""
        made = choose(pairs, self, seed=seed, progress=progress)
        if made.upgrade is None:
            raise GateRefused(made.reason)
        return made.upgrade


def choose(
    pairs: Pairs,
    settings: Choose | None = None,
    *,
    judged: JudgedQueries | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Choice:
    """Fit every candidate on a part of the pairs and score it on the rest, or on judged queries where there are any.

    The score of held-out pairs is the reciprocal rank of each item's own old vector, among those of all items. Where the
    pairs are texts of models that search images (``cross_modal``), half of it is of queries that are all moved by one
    vector of length one, as images lie beside text: it shows maps that only know their text. Of judged queries it is the
    scope's last metric, the mean of its directions; a candidate that makes a direction worse than the old model is out,
    and where all are, the answer is to keep the old model. Without judged queries that cannot be known; then it is the
    answer only where no candidate finds more than chance.

    The cheapest candidate is taken that the best one does not beat by an interval clear of nothing.
    """
    settings = settings or Choose()
    require_cosine(pairs, "choose")
    warn_if_few(pairs)
    train, held = pairs.hold_out(settings.validation_fraction, seed=seed)
    fitted, left_out = _fit_all(settings, pairs if judged else train, seed, progress)
    if not fitted:
        raise SettingsError(f"choose: no candidate could be fitted: {'; '.join(c.why for c in left_out)}")
    scores = (
        _scores_of_pairs(fitted, train, held, settings, seed) if judged is None else _scores_of_queries(fitted, judged)
    )
    method, candidates = _decide(fitted, scores, seed)
    table = tuple(sorted(candidates, key=lambda c: -(c.score.value if c.score else 0))) + left_out
    if method is None:
        reason = f"keep the old model: {'; '.join(f'{c.method} {c.why}' for c in table)}"
        return Choice(table, None, None, reason)
    upgrade = fitted[method].upgrade
    if judged is None:  # what was held out is fitted on, too
        upgrade = _fit(settings, method, pairs, seed, silent)
    chosen = next(c for c in table if c.method == method)
    figures = dict(upgrade.provenance.figures) | {"chosen_from": [asdict(c) for c in table]}
    upgrade = replace(upgrade, provenance=replace(upgrade.provenance, figures=figures))
    return Choice(table, method, upgrade, f"{method}: {chosen.why}")


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    upgrade: Upgrade
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class _Scores:
    """One value a query of every candidate, how queries are drawn (see `bootstrap_mean`), and who is out, and why."""

    values: Mapping[str, Float64[np.ndarray, " q"]]
    drawn: Drawn
    refused: Mapping[str, str]


def multiply_adds(upgrade: Upgrade) -> int:
    """What mapping one vector costs: the products of its matrices."""
    parts: tuple[Adapter, ...] = (upgrade.head, upgrade.bridge)
    return sum(w.size for part in parts for w in part.weights().values() if w.ndim == 2)


def _fit_all(
    settings: Choose, pairs: Pairs, seed: int, progress: Progress
) -> tuple[dict[str, _Fitted], tuple[Candidate, ...]]:
    fitted: dict[str, _Fitted] = {}
    left_out: list[Candidate] = []
    for i, name in enumerate(settings.candidates):
        began = perf_counter()
        try:
            upgrade = _fit(settings, name, pairs, seed, progress)
            fitted[name] = _Fitted(upgrade, perf_counter() - began)
        except (MissingExtra, InvalidInput) as error:
            left_out.append(Candidate(name, None, None, 0, perf_counter() - began, f"left out: {error}"))
        progress(i + 1, len(settings.candidates), "choose")
    return fitted, tuple(left_out)


def _fit(settings: Choose, name: str, pairs: Pairs, seed: int, progress: Progress) -> Upgrade:
    from embridge.methods import make  # the table of methods names this file

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # few pairs were warned of once
        return make(name, settings.settings.get(name)).fit(pairs, seed=seed, progress=progress)


def _scores_of_pairs(fitted: Mapping[str, _Fitted], train: Pairs, held: Pairs, settings: Choose, seed: int) -> _Scores:
    """Reciprocal ranks of held-out items, plain and, for models that search images, moved."""
    asked = held.take(np.arange(min(len(held), _QUERIES)))
    pool = np.concatenate([asked.old.vectors, float32_rows(train.old, slice(_POOL))])
    new = normalized(asked.new.vectors)
    offsets = normalized(np.random.default_rng(seed).standard_normal((_OFFSETS, new.shape[1])).astype(np.float32))
    values = {}
    for name, one in fitted.items():
        plain = _reciprocal_ranks(one.upgrade, asked, new, pool)
        if settings.cross_modal:
            moved = np.mean([_reciprocal_ranks(one.upgrade, asked, normalized(new + o), pool) for o in offsets], axis=0)
            plain = (plain + moved) / 2
        values[name] = plain
    chance = (np.log(len(pool)) + 1) / len(pool)  # of a reciprocal rank
    nothing = {name: "finds no more than chance" for name, v in values.items() if v.mean() <= 3 * chance}
    return _Scores(values, Drawn(weights=asked.weights, groups=None), nothing)


def _reciprocal_ranks(upgrade: Upgrade, asked: Pairs, new: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Of each query's own item, the first so many of the pool, by cosine; ties count against it."""
    queries, gallery = upgrade.head.apply(new), pool
    if upgrade.direction == "backward":
        queries = upgrade.bridge.apply(queries)
    else:
        gallery = upgrade.bridge.apply(pool)
    scores = normalized(queries) @ normalized(gallery).T
    own = scores[np.arange(len(asked)), np.arange(len(asked))]
    return 1 / (scores >= own[:, None]).sum(axis=1)


def _scores_of_queries(fitted: Mapping[str, _Fitted], judged: JudgedQueries) -> _Scores:
    """The scope's last metric in all directions, each direction counting alike; refused where it is worse than before."""
    first, *others = fitted
    controls = {name: fitted[name].upgrade for name in others}
    report = evaluate(
        judged.old, judged.new, fitted[first].upgrade, judged.relevance, scope=judged.scope, controls=controls
    )
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
    return _Scores(values, drawn, refused)


def _groups(tasks: Sequence[Task]) -> np.ndarray:
    """The groups of all directions, one after the other; a query without others is a group of its own."""
    made, first = [], 0
    for task in tasks:
        own = np.arange(len(task.query_ids)) if task.groups is None else task.groups
        made.append(own + first)
        first += len(task.query_ids)
    return np.concatenate(made)


def _decide(fitted: Mapping[str, _Fitted], scores: _Scores, seed: int) -> tuple[str | None, tuple[Candidate, ...]]:
    means = {name: bootstrap_mean(v, **scores.drawn, seed=seed) for name, v in scores.values.items()}
    open_to = [name for name in fitted if name not in scores.refused]
    best = max(open_to or fitted, key=lambda name: means[name].value)
    against = {name: compatible(scores.values[best], v, **scores.drawn, seed=seed) for name, v in scores.values.items()}
    level = [name for name in open_to if against[name].answer != "yes"]
    cost = {name: multiply_adds(one.upgrade) for name, one in fitted.items()}
    method = min(level, key=lambda name: (cost[name], -means[name].value), default=None)
    candidates = []
    for name, one in fitted.items():
        why = scores.refused.get(name, "behind the best" if name not in level else "as good, and no cheaper")
        if name == method:
            why = (
                "chosen: the best" if name == best else f"chosen: cheaper than {best}, which is not shown to be better"
            )
        candidates.append(Candidate(name, means[name], against[name].difference, cost[name], one.seconds, why))
    return method, tuple(candidates)
