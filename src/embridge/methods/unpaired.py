"""A map between two spaces that share no item: the last resort, which says how far it may be trusted."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from embridge.adapters.base import normalized
from embridge.adapters.linear import Identity, Linear
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SettingsError
from embridge.methods.base import require_directions
from embridge.methods.gromov_wasserstein import cluster, couple, similarity_profiles
from embridge.progress import Progress, silent
from embridge.provenance import Provenance, library_versions

__all__ = ["Unpaired", "fit_unpaired"]

_CHUNK_ROWS, _FIRST_VOCABULARY, _ROUNDS = 4096, 500, 20
_PART = 0.75  # of the vocabulary in each start: on the same items several starts may agree on the same wrong map


@dataclass(frozen=True, slots=True)
class Unpaired:
    """Settings of `fit_unpaired`.

    Attributes:
        clusters: Parts that are matched first.
        starts: How often everything is done from the beginning, at least 2: it is by their agreement that a failure shows.
        vocabulary: Items a side in the refinement; half as many before that, down to 500.
        neighbours: Of CSLS.
        tolerated_degrees: How far apart the two best starts may put an item, on average, without a warning. Where nothing can
            be matched it is 60 to 90 degrees; nearest neighbours among many similar items change within 5.

    Raises:
        SettingsError: A value is out of range.

    Examples:
        >>> Unpaired(clusters=20).vocabulary
        3000
    """

    paper: ClassVar[str] = (
        "Artetxe et al., A robust self-learning method for fully unsupervised cross-lingual mappings of word embeddings, ACL "
        "2018, arXiv 1805.06297 (refinement); Alvarez-Melis & Jaakkola, Gromov-Wasserstein alignment of word embedding spaces, "
        "EMNLP 2018, arXiv 1809.00013 (start)"
    )

    clusters: int = 40
    starts: int = 8
    vocabulary: int = 3000
    neighbours: int = 10
    tolerated_degrees: float = 15.0

    def __post_init__(self) -> None:
        if self.clusters < 2 or self.starts < 2 or self.neighbours < 1 or self.vocabulary < 4 * self.clusters:
            raise SettingsError(
                "unpaired: clusters and starts are at least 2, neighbours at least 1, and vocabulary at least four times "
                f"clusters; came {self.clusters}, {self.starts}, {self.neighbours} and {self.vocabulary}"
            )
        if not 0 <= self.tolerated_degrees <= 180:
            raise SettingsError(f"unpaired: tolerated_degrees lies in [0, 180], came {self.tolerated_degrees}")


def fit_unpaired(
    new: Embeddings,
    old: Embeddings,
    settings: Unpaired | None = None,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Upgrade:
    """Fit ``y = s (x − μ_new) R + μ_old`` to two sets of items of one kind that need share none.

    Both sides are L2-normalised, centred and normalised again. Clusters of one side are matched with those of the other by the
    similarities within each (`couple`); they give a first rotation R. Then come more and more items. Pairs that are each
    other's nearest by CSLS (Conneau et al. 2018), ``2 cos(x, y) − r(x) − r(y)`` with r the mean cosine to the 10 nearest of
    the other side, count as translations of each other. R is fitted to them (`Procrustes`), until their CSLS no longer rises.
    s is the ratio of the spreads. Every start sees three quarters of the vocabulary, drawn anew. The best start is the one
    whose mutual neighbours' CSLS, summed over all items, is highest, which needs no label; it is refined on all of the
    vocabulary.

    It warns where the two best starts disagree, and says how far: they then found nothing, or the data allow more than one
    answer. On planted data no wrong map passed in silence, and a right one was sometimes warned of. Agreement is no proof:
    judge the upgrade on queries before it serves. The ids of the items are not looked at; where both models have seen a few
    hundred items, use `Pairs` and `Procrustes`. Memory beyond the input: about a hundred megabytes, ``vocabulary²`` numbers a
    few times.

    Source: Artetxe et al. 2018 (arXiv 1805.06297) for the refinement; Alvarez-Melis & Jaakkola 2018 (arXiv 1809.00013) for
    the start.

    ``Deviation:`` Artetxe et al. start from sorted similarity profiles of single words and drop similarities at random during
    the refinement. Matching clusters is cheaper, and the randomness here is in the starts.

    Args:
        new: Items as the new model sees them [n, d_new].
        old: Other items as the old model sees them [m, d_old].
        settings: How; the defaults where None.
        seed: Of everything that is drawn.
        progress: Told of every start.

    Returns:
        A backward upgrade.

    Raises:
        InvalidInput: There are fewer than ``4 · clusters`` items a side, or all vectors of a side point the same way.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> from embridge import Space
        >>> centres, turn = rng.normal(size=(12, 8)), np.linalg.qr(rng.normal(size=(8, 8)))[0]
        >>> a, b = (centres[rng.integers(12, size=300)] + 0.2 * rng.normal(size=(300, 8)) for _ in range(2))
        >>> new = Embeddings.of(a.astype(np.float32), Space("new", "1", 8))
        >>> old = Embeddings.of((b @ turn).astype(np.float32), Space("old", "1", 8))
        >>> upgrade = fit_unpaired(new, old, Unpaired(clusters=24))
        >>> mapped = normalized(upgrade.to_index_space(new).vectors)
        >>> bool((mapped * normalized((a @ turn).astype(np.float32))).sum(axis=1).mean() > 0.95)
        True
    """
    settings = settings or Unpaired()
    if new.space == old.space:
        raise InvalidInput(f"unpaired: both sides are of {new.space}; there is nothing to bridge")
    sides = [_Side.of(rows, settings) for rows in (new, old)]
    rng = np.random.default_rng(seed)
    judge = [_sample(side, settings.vocabulary, rng) for side in sides]
    starts = []
    for start in range(settings.starts):
        samples = [sample[rng.permutation(len(sample))[: int(_PART * len(sample))]] for sample in judge]
        rotation = _refined(samples, _first_rotation(samples, settings.clusters, rng), settings.neighbours)
        starts.append((_score(judge, rotation, settings.neighbours), rotation))
        progress(start + 1, settings.starts, "unpaired")
    starts.sort(key=lambda one: -one[0])
    figures = _figures(judge, starts)
    _warn_of_disagreement(figures, settings)
    return _upgrade(sides, _refined(judge, starts[0][1], settings.neighbours), settings, seed, figures)


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """Embeddings, the mean of their directions, and how far these spread around it."""

    rows: Embeddings
    mean: np.ndarray
    spread: float

    @classmethod
    def of(cls, rows: Embeddings, settings: Unpaired) -> _Side:
        require_directions(rows, "unpaired")
        if len(rows) < 4 * settings.clusters:
            raise InvalidInput(
                f"unpaired: {settings.clusters} clusters need at least {4 * settings.clusters} items a side; {len(rows)} "
                f"of {rows.space} came: bring more, or ask for fewer clusters"
            )
        mean, squares = np.zeros(rows.space.dim), np.float64(0)
        for part in rows.chunks(_CHUNK_ROWS):
            unit = normalized(part.vectors).astype(np.float64)
            mean, squares = mean + unit.sum(axis=0) / len(rows), squares + (unit**2).sum() / len(rows)
        spread = max(float(squares - mean @ mean), 0.0) ** 0.5
        if spread < 1e-6:
            raise InvalidInput(
                f"unpaired: all {len(rows)} vectors of {rows.space} point the same way; check what was encoded"
            )
        return cls(rows, mean, spread)


def _sample(side: _Side, count: int, rng: np.random.Generator) -> np.ndarray:
    """Centred directions of at most ``count`` random items, in random order."""
    rows = rng.permutation(len(side.rows))[:count]
    return normalized(normalized(side.rows.vectors[rows]) - side.mean.astype(np.float32))


def _first_rotation(samples: list[np.ndarray], clusters: int, rng: np.random.Generator) -> np.ndarray:
    new, old = (cluster(sample, clusters, rng) for sample in samples)
    profiles = [similarity_profiles(sample, side[0]) for sample, side in zip(samples, (new, old), strict=True)]
    return _rotation(new[0].T @ couple(new, old, (profiles[0], profiles[1])) @ old[0])


def _refined(samples: list[np.ndarray], rotation: np.ndarray, neighbours: int) -> np.ndarray:
    whole = max(map(len, samples))
    count = min(_FIRST_VOCABULARY, whole)
    while True:
        new, old = (sample[:count] for sample in samples)
        best = -np.inf
        for _ in range(_ROUNDS):
            rows, their, csls = _mutual(new, old, rotation, neighbours)
            rotation = _rotation(new[rows].T @ old[their])
            if csls.mean() < best + 1e-4:
                break
            best = csls.mean()
        if count >= whole:
            return rotation
        count = min(2 * count, whole)


def _rotation(cross: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(cross.astype(np.float64), full_matrices=False)
    rotation: np.ndarray = (u @ vt).astype(np.float32)
    return rotation


def _mutual(new: np.ndarray, old: np.ndarray, rotation: np.ndarray, neighbours: int) -> tuple[np.ndarray, ...]:
    """Rows of new and of old that are each other's nearest by CSLS, and their CSLS."""
    scores = normalized(new @ rotation) @ old.T
    k = min(neighbours, *scores.shape)
    crowd_new = np.partition(scores, -k, axis=1)[:, -k:].mean(axis=1)
    crowd_old = np.partition(scores, -k, axis=0)[-k:].mean(axis=0)
    scores *= 2
    scores -= crowd_new[:, None]
    scores -= crowd_old
    nearest = scores.argmax(axis=1)
    rows = np.flatnonzero(scores.argmax(axis=0)[nearest] == np.arange(len(new)))
    return rows, nearest[rows], scores[rows, nearest[rows]]


def _score(judge: list[np.ndarray], rotation: np.ndarray, neighbours: int) -> float:
    _, _, csls = _mutual(judge[0], judge[1], rotation, neighbours)
    return float(csls.sum() / min(map(len, judge)))


def _figures(judge: list[np.ndarray], starts: list[tuple[float, np.ndarray]]) -> dict[str, Any]:
    """How well every start scored, and for the two best the share of other nearest neighbours and the angle between."""
    one, two = (normalized(judge[0] @ rotation) for _, rotation in starts[:2])
    differ = (one @ judge[1].T).argmax(axis=1) != (two @ judge[1].T).argmax(axis=1)
    angles = np.degrees(np.arccos(np.clip((one * two).sum(axis=1), -1, 1)))
    return {
        "scores": [score for score, _ in starts],
        "disagreement": float(differ.mean()),
        "mean_angle_degrees": float(angles.mean()),
    }


def _warn_of_disagreement(figures: dict[str, Any], settings: Unpaired) -> None:
    if figures["mean_angle_degrees"] > settings.tolerated_degrees:
        warnings.warn(
            f"unpaired: the two best of {settings.starts} starts put the items {figures['mean_angle_degrees']:.0f} degrees "
            f"apart on average, and {figures['disagreement']:.2f} of them beside another nearest neighbour: the spaces "
            "may not be matched at all. Do not serve this upgrade unless judged queries say otherwise; a few hundred items "
            "encoded by both models would do better",
            stacklevel=3,
        )


def _upgrade(
    sides: list[_Side], rotation: np.ndarray, settings: Unpaired, seed: int, figures: dict[str, Any]
) -> Upgrade:
    new, old = sides
    weight = rotation * np.float32(old.spread / new.spread)
    bias = (old.mean - new.mean @ weight).astype(np.float32)
    space = new.rows.space
    digest = hashlib.sha256()
    for side in sides:
        digest.update(side.rows.space.id.encode())
        for part in side.rows.chunks(65_536):
            digest.update(np.ascontiguousarray(part.vectors).data)
    data = f"{len(new.rows)} new and {len(old.rows)} old items without pairs, {digest.hexdigest()[:16]}"
    provenance = Provenance("unpaired", asdict(settings), seed, data, library_versions(), figures)
    return Upgrade(
        Identity(space, space), Linear(space, old.rows.space, weight, bias, normalize_input=True), provenance
    )
