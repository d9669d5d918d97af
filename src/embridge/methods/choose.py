"""The chooser: fit the candidates, cheap ones first, and take the one whose vectors find what the new model finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import ClassVar

from embridge.adapters.upgrade import Upgrade
from embridge.errors import GateRefused, SettingsError
from embridge.evaluation import bootstrap_mean, compatible
from embridge.methods._candidates import Candidates, Fitted
from embridge.methods.base import Pairs, require_cosine
from embridge.methods.candidate_scores import Scores, Search, scores_of_pairs, scores_of_queries, with_few_queries
from embridge.methods.choice import Candidate, Choice, JudgedQueries, multiply_adds
from embridge.methods.signal import check_signal
from embridge.progress import Progress, silent

__all__ = ["CANDIDATES", "Choose", "choose"]

CANDIDATES = (
    "identity",
    "mean-shift",
    "procrustes",
    "whitened-procrustes",
    "reweighted-procrustes",
    "ridge",
    "neighbour-map",
    "lambda-orthogonal",
    "mlp",
    "xbt",
)
"""Tried where nothing else is said, the cheap ones first. One whose extra is missing is left out, and the table says so."""


@dataclass(frozen=True, slots=True)
class Choose:
    """The chooser as a method: `choose` without judged queries.

    Attributes:
        candidates: Names of the methods to try.
        settings: Those of single candidates, by name.
        searches: What will be searched by what: ``alike`` (texts by texts, images by images), ``t2i`` (images by texts),
            ``i2t`` (texts by images). The score is the mean. `embridge fit` sets it by what the encoders take.
        validation_fraction: Share of the pairs that is held out.

    Raises:
        SettingsError: There is no search, or one of another name.

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
    searches: tuple[Search, ...] = ("alike",)
    validation_fraction: float = 0.1

    def __post_init__(self) -> None:
        if not self.searches or not set(self.searches) <= {"alike", "t2i", "i2t"}:
            raise SettingsError(f"choose: searches are one or more of alike, t2i, i2t; came {list(self.searches)}")

    @property
    def cross_modal(self) -> bool:
        """Whether images search texts, or texts images."""
        return set(self.searches) != {"alike"}

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
    """Fit every candidate on a part of the pairs, and take the one by which held-out items find what the new model finds.

    The score is `NeighbourAgreement` with ten neighbours; the table has the old model's own beside it. Judged queries, where
    there are any, decide instead: by the scope's last metric, the mean of its directions. Few of them are drawn towards what
    agreement says (`with_few_queries`). A candidate that makes a direction worse than the old model is out, and so is one below
    the old model where another is not. Where all are out, the answer is to keep the old model. Without judged queries that
    cannot be known: then it is the answer only where no candidate finds more than chance.

    Candidates in closed form come first. One that is trained is tried for a short while on a few pairs; it is fitted on all
    only if it is not clearly behind there. The chosen one is fitted again on all pairs, held-out ones included, unless it was
    trained on 10,000 or more. Of those that the best does not beat by an interval clear of nothing, the one whose
    vectors cost least to map is taken.

    Args:
        pairs: The same items as both models see them.
        settings: What to try; the default candidates where None.
        judged: Queries to choose by, where there are any.
        seed: Of the split, of every candidate and of the intervals.
        progress: Told of how much of the work is done.

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
    candidates = Candidates(settings.candidates, settings.settings, settings.searches, seed, progress)
    fitted, left_out = candidates.fit(train, held_out)
    if not fitted:
        raise SettingsError(f"choose: no candidate could be fitted: {'; '.join(c.why for c in left_out)}")
    upgrades = {name: one.upgrade for name, one in fitted.items()}
    scores = scores_of_pairs(upgrades, train, held_out, searches=settings.searches, seed=seed)
    if judged is not None:
        scores = with_few_queries(scores_of_queries(upgrades, judged), scores)
    method, scored = _decide(fitted, scores, seed)
    table = tuple(sorted(scored, key=lambda c: -(c.score.value if c.score else 0))) + left_out
    status_quo = bootstrap_mean(scores.status_quo, **scores.drawn, seed=seed)
    if method is None:
        reason = f"keep the old model: {'; '.join(f'{c.method} {c.why}' for c in table)}"
        return Choice(table, None, None, reason, status_quo)
    upgrade = candidates.fit_chosen(method, pairs, fitted[method], train)  # what was held out is fitted on, too
    chosen = next(c for c in table if c.method == method)
    figures = {"chosen_from": [asdict(c) for c in table], "status_quo": asdict(status_quo)}
    provenance = replace(upgrade.provenance, figures=dict(upgrade.provenance.figures) | figures)
    reason = f"{method}: {chosen.why}"
    if judged is None and chosen.score is not None and chosen.score.value < status_quo.value:
        reason += "; yet the old model's own queries find more of what the new model finds: judge the upgrade before it is used"
    return Choice(table, method, replace(upgrade, provenance=provenance), reason, status_quo)


def _decide(fitted: dict[str, Fitted], scores: Scores, seed: int) -> tuple[str | None, tuple[Candidate, ...]]:
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
