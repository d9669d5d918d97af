"""The rival: matched clusters, then pairs that are each other's nearest, for more and more items.

After Artetxe et al. 2018 (arXiv 1805.06297). The best start is the one whose pairs' CSLS is highest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from embridge.adapters.base import normalized
from embridge.methods.gromov_wasserstein import cluster, couple, similarity_profiles
from embridge.methods.neighbour_refinement import mutual_pairs, mutual_score, nearest_rotation

_FIRST_ROWS, _ROUNDS, _PART = 500, 20, 0.75


def fit(new: np.ndarray, old: np.ndarray, settings: Mapping[str, Any], seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """The map from new vectors to old ones."""
    rng = np.random.default_rng(seed)
    means = [normalized(side).mean(axis=0) for side in (new, old)]
    judge = [
        normalized(normalized(side) - mean)[rng.permutation(len(side))[: settings["vocabulary"]]]
        for side, mean in zip((new, old), means, strict=True)
    ]
    rotations = []
    for _ in range(settings["starts"]):
        samples = [sample[rng.permutation(len(sample))[: int(_PART * len(sample))]] for sample in judge]
        sides = [cluster(sample, settings["clusters"], rng) for sample in samples]
        profiles = [similarity_profiles(sample, side[0]) for sample, side in zip(samples, sides, strict=True)]
        coupling = couple(sides[0], sides[1], (profiles[0], profiles[1]))
        first = nearest_rotation((sides[0][0].T @ coupling @ sides[1][0]).astype(np.float32))
        rotations.append(_refined(samples, first))
    best = max(rotations, key=lambda rotation: mutual_score((judge[0], judge[1]), rotation))
    rotation = _refined(judge, best)
    return lambda x: (normalized(x) - means[0]) @ rotation + means[1]


def _refined(samples: list[np.ndarray], rotation: np.ndarray) -> np.ndarray:
    whole = max(map(len, samples))
    count = min(_FIRST_ROWS, whole)
    while True:
        new, old = (sample[:count] for sample in samples)
        best = -np.inf
        for _ in range(_ROUNDS):
            rows, others, csls = mutual_pairs((new, old), rotation)
            rotation = nearest_rotation(new[rows].T @ old[others])
            if csls.mean() < best + 1e-4:
                break
            best = csls.mean()
        if count >= whole:
            return rotation
        count = min(2 * count, whole)
