"""The chooser: fit the candidates, score them on what they have not seen, and take the cheapest that none beats."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field, replace
from time import perf_counter
from typing import ClassVar

from embridge.adapters.upgrade import Upgrade
from embridge.errors import GateRefused, InvalidInput, MissingExtra, SettingsError
from embridge.evaluation import bootstrap_mean, compatible
from embridge.methods.base import Pairs, require_cosine
from embridge.methods.candidate_scores import Scores, scores_of_pairs, scores_of_queries
from embridge.methods.choice import Candidate, Choice, JudgedQueries, multiply_adds
from embridge.methods.signal import check_signal
from embridge.progress import Progress, silent

__all__ = ["CANDIDATES", "Choose", "choose"]

CANDIDATES = ("procrustes", "ridge", "low-rank", "mlp", "xbt")
"""Tried where nothing else is said; one whose extra is not installed is left out, and the table says so."""


@dataclass(frozen=True, slots=True)
class Choose:
    """The chooser as a method: `choose` without judged queries.

    Attributes:
        candidates: Names of the methods to try.
        settings: Those of single candidates, by name.
        cross_modal: The pairs are texts and images will be searched, see `choose`.
        validation_fraction: Share of the pairs that is held out.

    Examples:
        >>> import numpy as np
        >>> from embridge import Embeddings, Space
        >>> x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
        >>> pairs = Pairs(Embeddings.of(x, Space("new", "1", 6)), Embeddings.of(x[:, :4], Space("old", "1", 4)))
        >>> Choose(candidates=("procrustes", "low-rank")).fit(pairs).provenance.method
        'procrustes'
    """

    paper: ClassVar[str] = "model selection on held-out data"

    candidates: tuple[str, ...] = CANDIDATES
    settings: dict[str, dict[str, object]] = field(default_factory=dict)
    cross_modal: bool = False
    validation_fraction: float = 0.1

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Fit the chosen candidate on all pairs; its provenance names what it was chosen from.

        Args:
            pairs: The same items as both models see them.
            seed: Of the split, and of every candidate.
            progress: Told of every candidate.

        Returns:
            The upgrade.

        Raises:
            GateRefused: No candidate finds more than chance.
            SettingsError: No candidate could be fitted.
            InvalidInput: A space does not compare directions, or there is one pair alone.
        """
        choice = choose(pairs, self, seed=seed, progress=progress)
        if choice.upgrade is None:
            raise GateRefused(choice.reason)
        return choice.upgrade


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
    pairs are texts of models that search images (``cross_modal``), half of it is of queries that are all moved by one vector
    of length one, as images lie beside text: it shows maps that only know their text.

    The score of judged queries is the scope's last metric, the mean of its directions. A candidate that makes a direction
    worse than the old model is out, and where all are, the answer is to keep the old model. Without judged queries that
    cannot be known. Then it is the answer only where no candidate finds more than chance.

    The cheapest candidate is taken that the best one does not beat by an interval clear of nothing.

    Args:
        pairs: The same items as both models see them.
        settings: What to try; the default candidates where None.
        judged: Queries to choose by, where there are any.
        seed: Of the split, of every candidate and of the intervals.
        progress: Told of every candidate.

    Returns:
        The table, and the upgrade.

    Raises:
        SettingsError: No candidate could be fitted.
        InvalidInput: A space does not compare directions, or there is one pair alone.

    Examples:
        >>> import numpy as np
        >>> from embridge import Embeddings, Space
        >>> x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
        >>> pairs = Pairs(Embeddings.of(x, Space("new", "1", 6)), Embeddings.of(x[:, ::-1], Space("old", "1", 6)))
        >>> choose(pairs, Choose(candidates=("procrustes", "mean-shift"))).method
        'procrustes'
    """
    settings = settings or Choose()
    require_cosine(pairs, "choose")
    check_signal(pairs)
    train, held_out = pairs.hold_out(settings.validation_fraction, seed=seed)
    fitted, left_out = _fit_all(settings, pairs if judged else train, seed, progress)
    if not fitted:
        raise SettingsError(f"choose: no candidate could be fitted: {'; '.join(c.why for c in left_out)}")
    upgrades = {name: one.upgrade for name, one in fitted.items()}
    scores = (
        scores_of_pairs(upgrades, train, held_out, cross_modal=settings.cross_modal, seed=seed)
        if judged is None
        else scores_of_queries(upgrades, judged)
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


def _decide(fitted: dict[str, _Fitted], scores: Scores, seed: int) -> tuple[str | None, tuple[Candidate, ...]]:
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
