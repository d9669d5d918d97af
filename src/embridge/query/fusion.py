"""The old model's query and the bridged one, fused into one vector that searches the untouched old index.

Both are unit vectors u and v of the old space, at an angle θ; α = 0 is the old query, α = 1 the bridged one.

    SLERP    [sin((1 − α)θ) u + sin(αθ) v] / sin θ            (Shoemake 1985: along the great circle)
    NLERP    (1 − α) u + α v, normalised                      (along the chord)
    adaptive NLERP with α = σ(b + s⟨u, v⟩), another for every query

Where the new model has more dims than the old one, nothing is fused before the bridge: that takes the new query into the old
space first, drops what the old space has no room for, and v is the rest at length one. So v says less than the new query
does, however large α is.

A query costs both encoders. Outcomes at the edges: at α = 0 and α = 1 the given vector itself comes back. A vector of
zeros says nothing, so the other one stands alone. Two opposite vectors have no shortest way between them: the nearer
end is taken, in the middle the old query.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.shapes import Float32, Float64
from embridge.space import Space, require_same

__all__ = ["Fusion", "FusionKind", "adaptive_alpha", "cosines", "interpolate_scores", "nlerp", "slerp"]

FusionKind = Literal["slerp", "nlerp", "adaptive"]

_SMALL = 1e-6  # of a length where both queries are float32 unit vectors: some roundings of them


def slerp(old: Embeddings, bridged: Embeddings, alpha: float | np.ndarray) -> Embeddings:
    """Take the point α of the way from the old query to the bridged one, along the sphere.

    Args:
        old: The old model's queries [q].
        bridged: The same queries by the new model, through the bridge [q].
        alpha: From 0 to 1, one number for all queries or one a query [q].

    Returns:
        Queries of the old space [q].

    Raises:
        SpaceMismatch: The two are of two spaces.
        InvalidInput: They are other queries, the space is not compared by cosine, or α is out of range.

    Note:
        Source: Shoemake 1985.

    Examples:
        >>> space = Space("old", "1", 2)
        >>> u, v = (Embeddings.of(np.array([x], np.float32), space, ["q"]) for x in ([1, 0], [0, 1]))
        >>> slerp(u, v, 1 / 3).vectors.round(3).tolist()
        [[0.8659999966621399, 0.5]]
    """
    u, v = _directions(old, bridged)
    a = _alphas(alpha, len(old))
    angle = 2 * np.arctan2(_lengths(u - v), _lengths(u + v))
    sine = np.sin(angle)
    curved = sine > _SMALL  # else the chord is the arc, to the last digit
    scale = np.where(curved, sine, 1.0)
    weights = (np.where(curved, np.sin(share * angle) / scale, share) for share in (1 - a, a))
    return _settled(old, bridged, a, *weights)


def nlerp(old: Embeddings, bridged: Embeddings, alpha: float | np.ndarray) -> Embeddings:
    """Take the point α of the way from the old query to the bridged one, along the chord, at length one.

    At α = ½ it is the mean of both: the cell ``fused/old`` of a report.

    Args:
        old: The old model's queries [q].
        bridged: The same queries by the new model, through the bridge [q].
        alpha: From 0 to 1, one number for all queries or one a query [q].

    Returns:
        Queries of the old space [q].

    Raises:
        SpaceMismatch: The two are of two spaces.
        InvalidInput: They are other queries, the space is not compared by cosine, or α is out of range.

    Examples:
        >>> space = Space("old", "1", 2)
        >>> u, v = (Embeddings.of(np.array([x], np.float32), space, ["q"]) for x in ([1, 0], [0, 1]))
        >>> nlerp(u, v, 0.2).vectors.round(3).tolist()
        [[0.9700000286102295, 0.24300000071525574]]
    """
    _require_pair(old, bridged)
    a = _alphas(alpha, len(old))
    return _settled(old, bridged, a, 1 - a, a)


def interpolate_scores(
    old: Float32[np.ndarray, "q n"], bridged: Float32[np.ndarray, "q n"], alpha: float | np.ndarray
) -> Float32[np.ndarray, "q n"]:
    """Mix the scores of both queries: (1 − α) · the old one's + α · the bridged one's.

    Of cosines to unit queries the order is that of `nlerp`, whose one search is half the work.

    Args:
        old: Scores of the old queries [q, n].
        bridged: Scores of the bridged queries over the same items [q, n].
        alpha: From 0 to 1, one number for all queries or one a query [q].

    Returns:
        Scores [q, n].

    Raises:
        InvalidInput: The shapes differ, or α is out of range.

    Examples:
        >>> interpolate_scores(np.array([[1, 0]], np.float32), np.array([[0, 1]], np.float32), 0.25).tolist()
        [[0.75, 0.25]]
    """
    if old.shape != bridged.shape:
        raise InvalidInput(f"expected scores of the same queries and items, came {old.shape} and {bridged.shape}")
    a = _alphas(alpha, len(old))[:, None]
    return ((1 - a) * old + a * bridged).astype(np.float32)


def adaptive_alpha(old: Embeddings, bridged: Embeddings, bias: float, slope: float) -> Float64[np.ndarray, " q"]:
    """Compute σ(b + s⟨u, v⟩) for every query: how far to trust the bridge, given how far the two models agree.

    Args:
        old: The old model's queries [q].
        bridged: The same queries by the new model, through the bridge [q].
        bias: b.
        slope: s.

    Returns:
        One α a query [q].

    Raises:
        SpaceMismatch: The two are of two spaces.
        InvalidInput: They are other queries, or the space is not compared by cosine.

    Examples:
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("old", "1", 2))
        >>> adaptive_alpha(rows, rows, bias=-1.0, slope=1.0).tolist()
        [0.5, 0.5]
    """
    return np.asarray(0.5 * (1 + np.tanh(0.5 * (bias + slope * cosines(old, bridged)))))  # σ, without overflow


def cosines(old: Embeddings, bridged: Embeddings) -> Float64[np.ndarray, " q"]:
    """Compute ⟨u, v⟩ of every query: how far the two models agree.

    Args:
        old: The old model's queries [q].
        bridged: The same queries by the new model, through the bridge [q].

    Returns:
        Float64 [q]; 0 where one of the two is zeros.

    Raises:
        SpaceMismatch: The two are of two spaces.
        InvalidInput: They are other queries, or the space is not compared by cosine.

    Examples:
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("old", "1", 2))
        >>> cosines(rows, rows).tolist()
        [1.0, 1.0]
    """
    u, v = _directions(old, bridged)
    return np.asarray(np.einsum("qd,qd->q", u, v))


@dataclass(frozen=True, slots=True)
class Fusion:
    """A way to fuse queries, for one old space; `embridge.evaluation.choose_alpha` finds one on a support set.

    Attributes:
        space: The old space.
        kind: ``slerp``, ``nlerp`` or ``adaptive``.
        alpha: Of ``slerp`` and ``nlerp``.
        bias: Of ``adaptive``.
        slope: Of ``adaptive``.
        metric: By which it was chosen; empty where it was set by hand.
        support: Ids of the queries it was chosen on; leave them out of any evaluation.
        scores: (α, mean of the metric on the support) of every α that was tried.

    Raises:
        InvalidInput: The numbers are not those of the kind, or out of range.

    Examples:
        >>> space = Space("old", "1", 2)
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), space)
        >>> Fusion(space, "nlerp", alpha=0.5).apply(rows, rows).vectors.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    space: Space
    kind: FusionKind
    alpha: float | None = None
    bias: float | None = None
    slope: float | None = None
    metric: str = ""
    support: tuple[str, ...] = ()
    scores: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(FusionKind):
            raise InvalidInput(f"a fusion is one of {', '.join(get_args(FusionKind))}, not {self.kind!r}")
        named = {"alpha": self.alpha, "bias": self.bias, "slope": self.slope}
        needs = {"bias", "slope"} if self.kind == "adaptive" else {"alpha"}
        if {name for name, value in named.items() if value is not None} != needs:
            raise InvalidInput(f"a fusion by {self.kind} has {' and '.join(sorted(needs))} and no other; came {named}")
        numbers = np.array([named[name] for name in sorted(needs)], np.float64)
        if not np.isfinite(numbers).all() or (self.alpha is not None and not 0 <= self.alpha <= 1):
            raise InvalidInput(f"a fusion has finite numbers, and alpha from 0 to 1; came {named}")

    def apply(self, old_queries: Embeddings, bridged: Embeddings) -> Embeddings:
        """The fused queries, in the old space; raises `SpaceMismatch` for queries of another."""
        require_same(self.space, old_queries.space, what="the old queries of this fusion")
        if self.bias is not None and self.slope is not None:
            return nlerp(old_queries, bridged, adaptive_alpha(old_queries, bridged, self.bias, self.slope))
        fuse = slerp if self.kind == "slerp" else nlerp
        return fuse(old_queries, bridged, float(self.alpha or 0.0))

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self) | {"support": list(self.support), "scores": [list(pair) for pair in self.scores]}

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> Fusion:
        """The inverse of `to_dict`; raises `InvalidInput` on missing, unknown and impossible fields."""
        try:
            rest = {name: fields[name] for name in Fusion.__slots__ if name not in ("space", "support", "scores")}
            if set(fields) != set(Fusion.__slots__):
                raise KeyError(*sorted(set(fields) - set(Fusion.__slots__)))
            scores = tuple((float(alpha), float(value)) for alpha, value in fields["scores"])
            return Fusion(
                space=Space.from_dict(fields["space"]),
                support=tuple(map(str, fields["support"])),
                scores=scores,
                **rest,
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(f"a fusion is written as {list(Fusion.__slots__)}, not as {fields!r:.200}") from error


def _directions(old: Embeddings, bridged: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    _require_pair(old, bridged)
    return _unit(old.vectors), _unit(bridged.vectors)


def _require_pair(old: Embeddings, bridged: Embeddings) -> None:
    require_same(old.space, bridged.space, what="the bridged queries")
    if old.space.metric != "cosine":
        raise InvalidInput(f"fusion is between unit vectors and needs a space compared by cosine, came {old.space}")
    if old.ids != bridged.ids:
        raise InvalidInput(
            f"the old and the bridged queries must be the same ones in the same order; {len(old)} and {len(bridged)} came"
        )


def _alphas(alpha: float | np.ndarray, queries: int) -> np.ndarray:
    alphas = np.asarray(alpha, np.float64)
    if alphas.shape not in ((), (queries,)) or not np.all((alphas >= 0) & (alphas <= 1)):
        raise InvalidInput(
            f"alpha is one number from 0 to 1, or one for each of {queries} queries; came {alpha!r:.100}"
        )
    return np.broadcast_to(alphas, (queries,))


def _settled(old: Embeddings, bridged: Embeddings, a: np.ndarray, to_old: np.ndarray, to_new: np.ndarray) -> Embeddings:
    """The weighted sums at length one, but the given vectors themselves at the edges that the module states."""
    u, v = _unit(old.vectors), _unit(bridged.vectors)
    fused = _unit(to_old[:, None] * u + to_new[:, None] * v).astype(np.float32)
    zero_u, zero_v = (~x.any(axis=1) for x in (u, v))
    opposite = _lengths(u + v) <= _SMALL
    choices = [a == 0, a == 1, zero_v, zero_u, opposite & (a <= 0.5), opposite]
    end = np.select(choices, [1, 2, 1, 2, 1, 2], default=0)[:, None]
    vectors = np.where(end == 1, old.vectors, np.where(end == 2, bridged.vectors, fused))
    return old.with_vectors(vectors, old.space)


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    lengths = _lengths(wide)[:, None]
    return np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)


def _lengths(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("qd,qd->q", vectors, vectors))
