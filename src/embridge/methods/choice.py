"""What a choice between methods is made by, and what it says."""

from __future__ import annotations

from dataclasses import dataclass, field

from embridge.adapters.base import Adapter
from embridge.adapters.upgrade import Upgrade
from embridge.evaluation import Interval, Scope, Side
from embridge.evaluation.relevance import AnyRelevance

__all__ = ["STATUS_QUO", "Candidate", "Choice", "JudgedQueries", "multiply_adds"]

STATUS_QUO = "old model"
"""What the table of a choice calls the old model beside the candidates."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedQueries:
    """Queries to choose by, as both models see them: not those that the result is reported on.

    Attributes:
        old: Queries and gallery of the old model.
        new: The same of the new model.
        relevance: What is right.
        scope: Which metrics; the last one decides.

    Examples:
        >>> import numpy as np
        >>> from embridge import Embeddings, Space
        >>> from embridge.evaluation.relevance import Relevance
        >>> x = np.eye(3, dtype=np.float32)
        >>> old, new = (Side(Embeddings.of(x, s), Embeddings.of(x, s)) for s in (Space("old", "1", 3), Space("new", "1", 3)))
        >>> JudgedQueries(old, new, Relevance.from_pairs([("0", "0")])).scope.metrics[-1]
        'recall_at_10'
    """

    old: Side
    new: Side
    relevance: AnyRelevance
    scope: Scope = field(default_factory=Scope)


@dataclass(frozen=True, slots=True)
class Candidate:
    """How one method did.

    Attributes:
        method: Its name.
        score: On held-out pairs or judged queries; None where it could not be fitted.
        behind: What it lacks to the best, with its interval; None where it could not be fitted.
        multiply_adds: What mapping one vector costs.
        seconds: How long the fit took.
        why: What became of it.

    Examples:
        >>> Candidate("mlp", None, None, 0, 0.0, "left out: torch is not installed").method
        'mlp'
    """

    method: str
    score: Interval | None
    behind: Interval | None
    multiply_adds: int
    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and from what.

    Attributes:
        candidates: How each did, the best first.
        method: The method taken; None: keep the old model.
        upgrade: Fitted on all pairs; None where the old model is kept.
        reason: Why, in a line.
        status_quo: The same score of the old model's own queries; None where it was not measured.

    Examples:
        >>> Choice((), None, None, "keep the old model").table()[0][:2]
        ['method', 'score']
    """

    candidates: tuple[Candidate, ...]
    method: str | None
    upgrade: Upgrade | None
    reason: str
    status_quo: Interval | None = None

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Column names and rows of text."""
        columns = ["method", "score", "behind the best", "multiply-adds", "seconds", ""]
        rows = []
        for c in self.candidates:
            score = "" if c.score is None else f"{c.score.value:.3f} ±{c.score.half:.3f}"
            behind = "" if c.behind is None else f"{c.behind.value:.3f} ({c.behind.low:+.3f} to {c.behind.high:+.3f})"
            rows.append([c.method, score, behind, f"{c.multiply_adds:,}", f"{c.seconds:.1f}", c.why])
        if self.status_quo is not None:
            score = f"{self.status_quo.value:.3f} ±{self.status_quo.half:.3f}"
            rows.append([STATUS_QUO, score, "", "", "", "the status quo: its own queries"])
        return columns, rows


def multiply_adds(upgrade: Upgrade) -> int:
    """What mapping one vector costs: the products of its matrices.

    Args:
        upgrade: Any upgrade.

    Returns:
        How many products of two numbers.

    Examples:
        >>> import numpy as np
        >>> from embridge import Space
        >>> from embridge.adapters import Identity, Linear, Provenance
        >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
        >>> bridge = Linear(new, old, np.eye(3, 2, dtype=np.float32))
        >>> multiply_adds(Upgrade(Identity(new, new), bridge, Provenance("cut")))
        6
    """
    parts: tuple[Adapter, ...] = (upgrade.head, upgrade.bridge)
    return sum(w.size for part in parts for w in part.weights().values() if w.ndim == 2)
