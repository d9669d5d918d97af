"""Whether one side was encoded with a prefix or prompt that the other side, or the index, was encoded without."""

from __future__ import annotations

import numpy as np

from embridge.adapters.base import normalized
from embridge.embeddings import Embeddings, HalfEmbeddings, float32_rows
from embridge.evaluation.agreement import NeighbourAgreement
from embridge.methods.spread import evenly_spread
from embridge.shapes import Float32

__all__ = ["prompt_shift", "rotation_fails"]

_NARROW = 0.8  # length of the mean of unit rows: a long prompt makes all texts alike
_LOST = 0.9
_ITEMS, _FEWEST = 500, 50
_OWN_NEAREST, _SAME, _COMMON = 0.7, 0.98, 0.3


def prompt_shift(pairs: Embeddings | HalfEmbeddings, stored: Embeddings | HalfEmbeddings) -> float | None:
    """Whether the items that two sets of one model share lie elsewhere in one, all of them moved the same way.

    A prompt before each text does that. With ``query: `` before Banking77's questions, MiniLM's vectors keep a cosine of 0.93
    to those without, and with an instruction 0.56; at least half of the difference is common to all. Ids that two files
    share by chance, such as row numbers, are not of the same items: then an item's own vector is not the nearest one.

    Args:
        pairs: Vectors that a map is to be fitted on.
        stored: Vectors of the same model, as they are searched.

    Returns:
        The mean cosine between the two vectors of an item, or None where nothing looks moved, or less than 50 are shared.

    Examples:
        >>> from embridge import Space
        >>> rows = np.random.default_rng(0).normal(size=(60, 32)).astype(np.float32)
        >>> plain, moved = (Embeddings.of(x, Space("m", "1", 32)) for x in (rows, rows + np.float32(0.8)))
        >>> prompt_shift(plain, plain), round(prompt_shift(moved, plain), 1)
        (None, 0.8)
    """
    row_of = {name: row for row, name in enumerate(stored.ids)}
    shared = [(row, row_of[name]) for row, name in enumerate(pairs.ids) if name in row_of]
    if len(shared) < _FEWEST or pairs.space.dim != stored.space.dim:
        return None
    spread = evenly_spread(len(shared), _ITEMS)
    rows = np.array(shared)[spread]
    one, other = (normalized(float32_rows(side, rows[:, i])) for i, side in enumerate((pairs, stored)))
    cosines = one @ other.T
    own = cosines.diagonal()
    difference = one - other
    common = (difference.mean(axis=0) ** 2).sum() / max((difference**2).sum(axis=1).mean(), 1e-12)
    nearest = (own >= cosines.max(axis=1) - 1e-6).mean()
    moved = nearest >= _OWN_NEAREST and own.mean() < _SAME and common >= _COMMON
    return float(own.mean()) if moved else None


def rotation_fails(
    train: tuple[Float32[np.ndarray, "m d_new"], Float32[np.ndarray, "m d_old"]],
    held_out: tuple[Float32[np.ndarray, "k d_new"], Float32[np.ndarray, "k d_old"]],
    regressed: Float32[np.ndarray, "k d_old"],
) -> bool:
    """Whether a rotation loses what a regression keeps, as where a long prompt stands before the new side's texts alone.

    Elsewhere a rotation agrees more with the new model than a regression does, also where the two means differ much: on all
    pairs of text models, of photos and of captions that were measured.

    Args:
        train: New and old unit rows to fit on.
        held_out: New and old unit rows to look at.
        regressed: The held-out new rows behind a ridge map.

    Returns:
        Whether it does; False where the new rows have not much in common.

    Examples:
        >>> rows = np.eye(20, dtype=np.float32)
        >>> rotation_fails((rows, rows), (rows, rows), rows)
        False
    """
    means = [side.mean(axis=0) for side in train]
    if np.linalg.norm(means[0]) < _NARROW:
        return False
    agreement = NeighbourAgreement.of(held_out[0], held_out[0], own=np.arange(len(held_out[0])))

    def agrees(mapped: np.ndarray) -> float:
        return float(agreement.values(mapped.astype(np.float32), held_out[1]).mean())

    plain, centred = (
        agrees(
            (held_out[0] - c * means[0]) @ _rotation(train[0] - c * means[0], train[1] - c * means[1]) + c * means[1]
        )
        for c in (0, 1)
    )
    ridge = agrees(regressed)
    return plain < _LOST * ridge and centred < ridge


def _rotation(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """U Vᵀ of ``XᵀY``, of no more than as many dims as there are rows."""
    (basis_new, along_new), (basis_old, along_old) = (np.linalg.qr(side.T) for side in (new, old))
    u, _, vt = np.linalg.svd(along_new @ along_old.T, full_matrices=False)
    rotation: np.ndarray = basis_new @ (u @ vt) @ basis_old.T
    return rotation
