"""Whether pairs can teach a map anything: both sides vary, and one says something of the other."""

from __future__ import annotations

import warnings

import numpy as np

from embridge.errors import InvalidInput
from embridge.methods.base import Pairs
from embridge.methods.prompts import rotation_fails
from embridge.methods.validation import warn_if_few
from embridge.shapes import Float32

__all__ = ["check_signal", "own_is_higher", "require_spread"]

_TRAIN, _HELD_OUT = 256, 192
_FEWEST = 100  # with fewer, chance looks like a relation, and a relation like chance
_ALIKE = 1e-6
_PENALTY = 0.05  # of the mean squared length of a row
_SURE = 2.0  # standard errors


def check_signal(pairs: Pairs) -> None:
    """Refuse pairs of which a side is all alike; warn of pairs that look shuffled or of other prompts, and of too few.

    A few hundred pairs are looked at, whatever the method: a ridge map of most of them should find the old vectors of the
    others more often than chance.

    Args:
        pairs: What a map is to be fitted on.

    Raises:
        InvalidInput: All vectors of one side point the same way.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> rows = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
        >>> new, old = (Embeddings.of(rows[:, :d], Space(m, "1", d)) for m, d in (("new", 4), ("old", 3)))
        >>> check_signal(Pairs(new, old))
    """
    warn_if_few(pairs)
    rows = np.random.default_rng(0).permutation(len(pairs))[: _TRAIN + _HELD_OUT]
    new, old = pairs.unit_rows(rows)
    for what, side in (("new", new), ("old", old)):
        require_spread(side, what)
    useful = new.any(axis=1) & old.any(axis=1)
    new, old = new[useful], old[useful]
    if len(new) < _FEWEST:
        return
    held = min(_HELD_OUT, len(new) // 3)
    train, held_out = (new[held:], old[held:]), (new[:held], old[:held])
    mapped = _regressed(train, held_out[0])
    share = _own_is_higher(mapped, train, held_out)
    if share < 0.5 + _SURE * (1 / (12 * held)) ** 0.5:
        warnings.warn(
            f"the pairs look shuffled: mapped vectors of {held} held-out pairs find their own old vector no better than chance "
            "(one in two others is nearer); are both files of the same items in the same order?",
            stacklevel=3,
        )
    elif rotation_fails(train, held_out, mapped):
        warnings.warn(
            "the new side looks as if it were encoded with a long prefix or prompt that the old side is without: its vectors "
            "have most in common, and a rotation loses what a regression keeps; encode both sides of the pairs with the prompt "
            "of one role (query or document)",
            stacklevel=3,
        )


def require_spread(rows: Float32[np.ndarray, "n d"], what: str) -> None:
    """Refuse rows that are all alike; rows of zeros have no direction and do not count.

    Args:
        rows: Unit rows [n, d], or some of them.
        what: ``new`` or ``old``.

    Raises:
        InvalidInput: They are, and there is more than one.

    Examples:
        >>> require_spread(np.eye(2, dtype=np.float32), "old")
    """
    some = rows[rows.any(axis=1)]
    if len(some) > 1 and np.abs(some - some[0]).max() < _ALIKE:
        raise InvalidInput(
            f"all {len(some)} {what} vectors point the same way: the encoder failed, or one row was repeated; nothing can be "
            "fitted on them, so check what was encoded"
        )


def own_is_higher(
    train: tuple[Float32[np.ndarray, "m d_new"], Float32[np.ndarray, "m d_old"]],
    held_out: tuple[Float32[np.ndarray, "k d_new"], Float32[np.ndarray, "k d_old"]],
) -> float:
    """Fit a ridge map, and count how often a held-out item's own old vector is nearer than another's.

    Args:
        train: New and old unit rows to fit on.
        held_out: New and old unit rows to look at, two or more.

    Returns:
        A share; one half is chance.

    Examples:
        >>> rows = np.eye(6, dtype=np.float32)
        >>> own_is_higher((rows, rows), (rows, rows))
        1.0
    """
    return _own_is_higher(_regressed(train, held_out[0]), train, held_out)


def _regressed(train: tuple[np.ndarray, np.ndarray], queries: np.ndarray) -> np.ndarray:
    """Where a ridge map, fitted on these rows, puts others [k, d_old]."""
    means = [side.mean(axis=0) for side in train]
    x, y = (side.astype(np.float64) - mean for side, mean in zip(train, means, strict=True))
    gram = x @ x.T
    gram[np.diag_indices(len(gram))] += _PENALTY * np.trace(gram) / len(gram) + 1e-12
    mapped: np.ndarray = ((queries.astype(np.float64) - means[0]) @ x.T @ np.linalg.solve(gram, y) + means[1]).astype(
        np.float32
    )
    return mapped


def _own_is_higher(
    mapped: np.ndarray, train: tuple[np.ndarray, np.ndarray], held_out: tuple[np.ndarray, np.ndarray]
) -> float:
    """How often an item's own old vector is nearer than another's, the mean taken off both."""
    mean = train[1].mean(axis=0)
    mapped, answers = (side.astype(np.float64) - mean for side in (mapped, held_out[1]))
    lengths = np.maximum(np.linalg.norm(answers, axis=1), 1e-12)
    scores = mapped @ (answers / lengths[:, None]).T
    own = scores.diagonal()[:, None]
    nearer = (own > scores).sum() + 0.5 * ((own == scores).sum() - len(scores))
    return float(nearer / (len(scores) * (len(scores) - 1)))
