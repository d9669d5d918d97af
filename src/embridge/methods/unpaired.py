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
from embridge.methods.neighbour_refinement import (
    averaged,
    mutual_score,
    nearest_rotation,
    relative_targets,
    shared_neighbours,
)
from embridge.progress import Progress, silent
from embridge.provenance import Provenance, library_versions

__all__ = ["Unpaired", "fit_unpaired"]

_CHUNK_ROWS, _COUNTED = 4096, 10
_CLUSTERED_ROWS, _ROUND_ROWS, _COMPARED_ROWS = 1500, 2000, 2000
_PART = 0.75  # of the vocabulary in each start: on the same items several starts may agree on the same wrong map
_ROUNDS, _LAST_ROUNDS = (10, 20), (5, 5)  # with many neighbours, then with few


@dataclass(frozen=True, slots=True)
class Unpaired:
    """Settings of `fit_unpaired`.

    Attributes:
        clusters: Anchors a side that are matched by the similarities among them.
        draws: How often anchors are drawn in each start; all together say where an item lies.
        starts: How often at most everything is done from the beginning, at least 2; it ends as soon as two agree.
        vocabulary: Items a side that are looked at.
        neighbours: Of the other side that are averaged for an item; three times as many at first, and one at last.
        least_agreement: Share of the ten nearest old items that two starts have to have in common, or it warns.

    Raises:
        SettingsError: A value is out of range.

    Examples:
        >>> Unpaired(clusters=20).vocabulary
        3000
    """

    paper: ClassVar[str] = (
        "mini-vec2vec, arXiv 2510.02348 (anchors, relative representations, refinement by averaged neighbours); Alvarez-Melis "
        "& Jaakkola, Gromov-Wasserstein alignment of word embedding spaces, EMNLP 2018, arXiv 1809.00013 (matching of anchors)"
    )

    clusters: int = 50
    draws: int = 30
    starts: int = 3
    vocabulary: int = 3000
    neighbours: int = 10
    least_agreement: float = 0.4

    def __post_init__(self) -> None:
        counts = self.clusters, self.draws, self.starts, self.neighbours, self.vocabulary
        if (
            self.clusters < 2
            or self.starts < 2
            or min(self.neighbours, self.draws) < 1
            or self.vocabulary < 4 * self.clusters
        ):
            raise SettingsError(
                "unpaired: clusters and starts are at least 2, draws and neighbours at least 1, and vocabulary at least four "
                f"times clusters; came clusters, draws, starts, neighbours and vocabulary of {counts}"
            )
        if not 0 <= self.least_agreement <= 1:
            raise SettingsError(f"unpaired: least_agreement lies in [0, 1], came {self.least_agreement}")


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
    similarities within each (`couple`), many times over. How an item lies to all these anchors does not depend on the model,
    and says which items of the other side are like it; R is fitted to them (`Procrustes`). Then items are rotated onto the
    mean of their nearest ones of the other side, from both sides, by CSLS (Conneau et al. 2018), which is
    ``2 cos(x, y) − r(x) − r(y)`` with r the mean cosine to the 10 nearest of the other side. s is the ratio of the spreads.

    All of it is done from the beginning several times, each on three quarters of the vocabulary. Two starts that found the same
    rotation are trusted, and the one whose mutual neighbours' CSLS is higher is refined on all of the vocabulary.

    **How far to trust it**: ``agreement`` in the provenance's figures is the share of the ten nearest old items that an item
    has behind both rotations, and ``agreement_by_chance`` what any two would have. Right maps have most in common, and wrong
    ones hardly more than chance; the benchmark shows both beside the true agreement. Below ``least_agreement`` it warns.
    Agreement is no proof: data that look the same from two sides can be laid on each other both ways. So judge the upgrade on
    queries before it serves. The ids of the items are not looked at; where both models have seen a few hundred items, use
    `Pairs` and `Procrustes`. Memory beyond the input: about a hundred megabytes, ``vocabulary²`` numbers a few times.

    Source: mini-vec2vec (arXiv 2510.02348), as its text describes it; Alvarez-Melis & Jaakkola 2018 (arXiv 1809.00013) for the
    matching of anchors.

    ``Deviation:`` the paper matches anchors one to one, by quadratic assignment; with as many as 50, shares of a cluster that
    go to several others found twice as good a start. The paper ends by clustering both sides once more, which lost 0.01 to
    0.03 of the agreement here, where a last few rounds with single neighbours gained as much.

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
        >>> upgrade = fit_unpaired(new, old, Unpaired(clusters=24, draws=6))
        >>> mapped = normalized(upgrade.to_index_space(new).vectors)
        >>> bool((mapped * normalized((a @ turn).astype(np.float32))).sum(axis=1).mean() > 0.95)
        True
    """
    settings = settings or Unpaired()
    if new.space == old.space:
        raise InvalidInput(f"unpaired: both sides are of {new.space}; there is nothing to bridge")
    sides = [_Side.of(rows, settings) for rows in (new, old)]
    rng = np.random.default_rng(seed)
    vocabulary = (_sample(sides[0], settings.vocabulary, rng), _sample(sides[1], settings.vocabulary, rng))
    found = _found(vocabulary, settings, rng, progress)
    _warn_of_disagreement(found, settings)
    rotation = found.rotation
    for neighbours, rounds in zip((max(settings.neighbours // 2, 1), 1), _LAST_ROUNDS, strict=True):
        rotation = averaged(vocabulary, rotation, rng, neighbours=neighbours, rows=settings.vocabulary, rounds=rounds)
    return _upgrade(sides, rotation, settings, seed, found.figures)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """The rotation of the best start, and how far the starts agree."""

    rotation: np.ndarray
    figures: dict[str, Any]


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


def _found(
    vocabulary: tuple[np.ndarray, np.ndarray], settings: Unpaired, rng: np.random.Generator, progress: Progress
) -> _Found:
    compared = (vocabulary[0][:_COMPARED_ROWS], vocabulary[1][:_COMPARED_ROWS])
    rotations: list[np.ndarray] = []
    agreements: dict[tuple[int, int], float] = {}
    for start in range(settings.starts):
        progress(start, settings.starts, "unpaired")
        one = _start(vocabulary, settings, rng)
        for before, other in enumerate(rotations):
            agreements[before, start] = shared_neighbours(compared, (one, other), _COUNTED)
        rotations.append(one)
        if agreements and max(agreements.values()) >= settings.least_agreement:
            break
    progress(settings.starts, settings.starts, "unpaired")
    scores = [mutual_score(compared, rotation) for rotation in rotations]
    agreeing = max(agreements, key=lambda pair: agreements[pair])
    trusted = agreeing if agreements[agreeing] >= settings.least_agreement else range(len(rotations))
    best = max(trusted, key=lambda start: scores[start])
    figures = {
        "agreement": max(share for pair, share in agreements.items() if best in pair),
        "agreement_by_chance": min(_COUNTED / len(compared[1]), 1.0),
        "starts": len(rotations),
        "scores": sorted(scores, reverse=True),
    }
    return _Found(rotations[best], figures)


def _start(vocabulary: tuple[np.ndarray, np.ndarray], settings: Unpaired, rng: np.random.Generator) -> np.ndarray:
    """A rotation found from nothing, on a part of the vocabulary."""
    new, old = (rows[rng.permutation(len(rows))[: int(_PART * len(rows))]] for rows in vocabulary)
    anchors = [_anchors((new, old), settings.clusters, rng) for _ in range(settings.draws)]
    neighbours = 3 * settings.neighbours
    rotation = nearest_rotation(new.T @ relative_targets((new, old), anchors, neighbours))
    for count, rounds in zip((neighbours, settings.neighbours), _ROUNDS, strict=True):
        rotation = averaged((new, old), rotation, rng, neighbours=count, rows=_ROUND_ROWS, rounds=rounds)
    return rotation


def _anchors(
    samples: tuple[np.ndarray, np.ndarray], clusters: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the new side, and for each the mean of those old ones that it goes to."""
    drawn = [sample[rng.permutation(len(sample))[:_CLUSTERED_ROWS]] for sample in samples]
    new, old = (cluster(sample, clusters, rng) for sample in drawn)
    profiles = [similarity_profiles(sample, side[0]) for sample, side in zip(drawn, (new, old), strict=True)]
    coupling = couple(new, old, (profiles[0], profiles[1]))
    return new[0], normalized((coupling / coupling.sum(axis=1, keepdims=True)).astype(np.float32) @ old[0])


def _warn_of_disagreement(found: _Found, settings: Unpaired) -> None:
    figures = found.figures
    if figures["agreement"] < settings.least_agreement:
        warnings.warn(
            f"unpaired: do not trust this map. Of {figures['starts']} starts no two found the same: an item has "
            f"{figures['agreement']:.2f} of its ten nearest old items in common behind the best two (chance "
            f"{figures['agreement_by_chance']:.3f}, trusted from {settings.least_agreement:g}), so the spaces may not be matched "
            "at all. Bring more items of the same kind, or, better, a few hundred that both models encoded",
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
