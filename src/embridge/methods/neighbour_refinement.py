"""A rotation between two spaces that share no item, made better by what lies near what behind it."""

from __future__ import annotations

import numpy as np

from embridge.adapters.base import normalized
from embridge.shapes import Float32

__all__ = ["averaged", "mutual_pairs", "mutual_score", "nearest_rotation", "relative_targets", "shared_neighbours"]

_CROWD = 10  # nearest rows that say how crowded a place is


def nearest_rotation(cross: Float32[np.ndarray, "d_new d_old"]) -> Float32[np.ndarray, "d_new d_old"]:
    """The rotation U Vᵀ of a cross product, or the partial isometry where the dims differ.

    Args:
        cross: ``XᵀY`` [d_new, d_old].

    Returns:
        The rotation [d_new, d_old].

    Examples:
        >>> nearest_rotation(np.diag([2, 3]).astype(np.float32)).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    u, _, vt = np.linalg.svd(cross.astype(np.float64), full_matrices=False)
    rotation: np.ndarray = (u @ vt).astype(np.float32)
    return rotation


def relative_targets(
    rows: tuple[np.ndarray, np.ndarray], anchors: list[tuple[np.ndarray, np.ndarray]], neighbours: int
) -> np.ndarray:
    """For each new row, the mean of the old rows that see the matched anchors as it does.

    What a row sees, its similarities to all anchors, does not depend on how its space is turned. Each similarity is
    standardised over the rows of its side.

    Source: mini-vec2vec, arXiv 2510.02348, relative representations.

    Args:
        rows: Unit rows of the new side [n, d_new] and of the old [m, d_old].
        anchors: Matched anchors of both sides, [c, d_new] and [c, d_old], as often as they were drawn.
        neighbours: How many old rows are averaged.

    Returns:
        Old rows to rotate the new ones onto [n, d_old].

    Examples:
        >>> rows = np.eye(3, dtype=np.float32)
        >>> relative_targets((rows, rows[::-1]), [(rows, rows)], 1).argmax(axis=1).tolist()
        [0, 1, 2]
    """
    seen = []
    for side in (0, 1):
        similarity = rows[side] @ np.concatenate([pair[side] for pair in anchors]).T
        similarity -= similarity.mean(axis=0)
        similarity /= np.maximum(similarity.std(axis=0), 1e-6)
        seen.append(normalized(similarity))
    return _mean_of_best(seen[0] @ seen[1].T, rows[1], neighbours)


def averaged(
    samples: tuple[np.ndarray, np.ndarray],
    rotation: np.ndarray,
    rng: np.random.Generator,
    *,
    neighbours: int,
    rows: int,
    rounds: int,
) -> np.ndarray:
    """Rotate rows onto the mean of their nearest ones of the other side, by CSLS and from both sides, again and again.

    Means of many neighbours pull a poor rotation towards a good one where single neighbours, most of them wrong, do not.
    Each round sees other rows.

    Source: mini-vec2vec, arXiv 2510.02348, refinement by matching.

    ``Deviation:`` the paper averages rotations of successive rounds, matches from one side, and by cosine. With CSLS
    from both sides one round starts where the last one ended.

    Args:
        samples: Centred unit rows of the new side [n, d_new] and of the old [m, d_old].
        rotation: Where to start [d_new, d_old].
        rng: Draws the rows of each round.
        neighbours: How many are averaged.
        rows: How many a side are looked at in each round.
        rounds: How often.

    Returns:
        The rotation [d_new, d_old].

    Examples:
        >>> rows = np.eye(3, dtype=np.float32)
        >>> averaged((rows, rows), rows, np.random.default_rng(0), neighbours=1, rows=3, rounds=2).round(3).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    for _ in range(rounds):
        new, old = (sample[rng.permutation(len(sample))[:rows]] for sample in samples)
        csls = _csls(new, old, rotation)
        onto_old, onto_new = _mean_of_best(csls, old, neighbours), _mean_of_best(csls.T, new, neighbours)
        rotation = nearest_rotation(new.T @ onto_old + onto_new.T @ old)
    return rotation


def mutual_score(samples: tuple[np.ndarray, np.ndarray], rotation: np.ndarray) -> float:
    """CSLS of rows that are each other's nearest, summed, for each row of the smaller side.

    It tells a better rotation of two spaces from a worse one. Between other spaces it has another scale.

    Args:
        samples: Centred unit rows of the new side [n, d_new] and of the old [m, d_old].
        rotation: The rotation [d_new, d_old].

    Returns:
        The score; more is better.

    Examples:
        >>> rows = np.eye(3, dtype=np.float32)
        >>> round(mutual_score((rows, rows), rows), 3)
        1.333
    """
    _, _, csls = mutual_pairs(samples, rotation)
    return float(csls.sum() / min(map(len, samples)))


def mutual_pairs(
    samples: tuple[np.ndarray, np.ndarray], rotation: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of both sides that are each other's nearest by CSLS.

    Args:
        samples: Centred unit rows of the new side [n, d_new] and of the old [m, d_old].
        rotation: The rotation [d_new, d_old].

    Returns:
        New rows [p], old rows [p] and their CSLS [p].

    Examples:
        >>> rows = np.eye(3, dtype=np.float32)
        >>> new, old, _ = mutual_pairs((rows, rows[::-1]), rows)
        >>> new.tolist(), old.tolist()
        ([0, 1, 2], [2, 1, 0])
    """
    scores = _csls(*samples, rotation)
    nearest = scores.argmax(axis=1)
    rows = np.flatnonzero(scores.argmax(axis=0)[nearest] == np.arange(len(nearest)))
    return rows, nearest[rows], scores[rows, nearest[rows]]


def shared_neighbours(
    samples: tuple[np.ndarray, np.ndarray], rotations: tuple[np.ndarray, np.ndarray], neighbours: int
) -> float:
    """Of the nearest old rows of a new one, how many are the same behind two rotations; ``neighbours / m`` is chance.

    Args:
        samples: Centred unit rows of the new side [n, d_new] and of the old [m, d_old].
        rotations: Both rotations [d_new, d_old].
        neighbours: How many count.

    Returns:
        The mean share over all new rows.

    Examples:
        >>> rows = np.eye(4, dtype=np.float32)
        >>> shared_neighbours((rows, rows), (rows, rows[[1, 0, 2, 3]]), 1)
        0.5
    """
    new, old = samples
    k = min(neighbours, len(old))
    nearest = [np.zeros((len(new), len(old)), bool) for _ in rotations]
    for members, rotation in zip(nearest, rotations, strict=True):
        scores = normalized(new @ rotation) @ old.T
        np.put_along_axis(members, np.argpartition(-scores, k - 1, axis=1)[:, :k], True, axis=1)
    return float((nearest[0] & nearest[1]).sum() / (k * len(new)))


def _csls(new: np.ndarray, old: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    scores: np.ndarray = normalized(new @ rotation) @ old.T
    k = min(_CROWD, *scores.shape)
    crowd_new = np.partition(scores, -k, axis=1)[:, -k:].mean(axis=1)
    crowd_old = np.partition(scores, -k, axis=0)[-k:].mean(axis=0)
    scores *= 2
    scores -= crowd_new[:, None]
    scores -= crowd_old
    return scores


def _mean_of_best(scores: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    count = min(count, scores.shape[1])
    best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    members = np.zeros(scores.shape, np.float32)
    np.put_along_axis(members, best, np.float32(1 / count), axis=1)
    mean: np.ndarray = members @ rows
    return mean
