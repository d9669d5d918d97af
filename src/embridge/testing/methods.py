"""The contract of methods."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np

from embridge.adapters import Upgrade
from embridge.embeddings import Embeddings, HalfEmbeddings
from embridge.methods.base import Method, Pairs
from embridge.nearest import top_k
from embridge.space import Space
from embridge.testing._expect import expect, expect_equal

__all__ = ["check_method"]

_PLANTED_PAIRS, _PLANTED_QUERIES, _DIM_NEW, _DIM_OLD, _NOISE = 400, 100, 12, 8, 0.05


def check_method(method: Method, pairs: Pairs) -> list[str]:
    """Assert the contract of `embridge.methods.Method`; skips nothing.

    A part of the check fits 400 pairs of its own, so a method is best given with settings that fit in seconds.

    - ``fit`` gives an `Upgrade` between the spaces of the pairs, with its provenance, and no warning;
    - progress counts up to its total, for each thing it tells of;
    - the same pairs and seed give the same bytes; saved and loaded, it gives the same outputs;
    - a planted rotation with a little noise is recovered: far more of 100 unseen items find themselves than by chance;
    - below ``2 · d_old`` pairs it warns.

    Args:
        method: The method to check.
        pairs: At least ``2 · d_old`` of them.

    Returns:
        What was skipped: nothing.

    Raises:
        AssertionError: It does something else; the message says what was expected and what came.

    Examples:
        >>> from embridge import make_method
        >>> rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
        >>> new, old = Embeddings.of(rows, Space("new", "1", 6)), Embeddings.of(rows[:, :4].copy(), Space("old", "1", 4))
        >>> check_method(make_method("procrustes"), Pairs(new, old))
        []
    """
    name, enough = type(method).__name__, 2 * pairs.old.space.dim
    expect(len(pairs) >= enough, f"{name}: expected at least {enough} pairs to check with, came {len(pairs)}")
    upgrade, warned = _fit(method, pairs)
    expect_equal([], warned, f"{name}: warnings from {len(pairs)} pairs")
    _check_upgrade(name, upgrade, pairs)
    _check_bytes(name, upgrade, _fit(method, pairs)[0], pairs)
    _check_planted(name, method)
    _, warned = _fit(method, pairs.take(np.arange(enough - 1)))
    expect(bool(warned), f"{name}: expected a warning from {enough - 1} pairs, since d_old is {enough // 2}; came none")
    return []


def _fit(method: Method, pairs: Pairs) -> tuple[Upgrade, list[str]]:
    """The upgrade with seed 3, and the warnings on the way; progress is checked."""
    events: list[tuple[int, int, str]] = []

    def tell(done: int, total: int, what: str) -> None:
        events.append((done, total, what))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        upgrade = method.fit(pairs, seed=3, progress=tell)
    parts = {what: [done for done, _, part in events if part == what] for _, _, what in events}
    rising = all(done == sorted(done) for done in parts.values())
    rising = rising and all(0 <= done <= total and what for done, total, what in events)
    expect(rising, f"{type(method).__name__}: expected progress that rises to its total, came {events}")
    return upgrade, [str(w.message) for w in caught if issubclass(w.category, UserWarning)]


def _check_upgrade(name: str, upgrade: Upgrade, pairs: Pairs) -> None:
    expect(isinstance(upgrade, Upgrade), f"{name}: expected an Upgrade, came {type(upgrade).__name__}")
    expect_equal(pairs.new.space, upgrade.new_space, f"{name}: new space of the upgrade")
    expect_equal(pairs.old.space, upgrade.old_space, f"{name}: old space of the upgrade")
    expect(upgrade.direction in ("backward", "forward"), f"{name}: expected a direction, came {upgrade.direction!r}")
    provenance = upgrade.provenance
    expect(bool(provenance.method and provenance.data), f"{name}: expected method and data, came {provenance}")
    expect_equal(3, provenance.seed, f"{name}: seed in the provenance")


def _check_bytes(name: str, upgrade: Upgrade, again: Upgrade, pairs: Pairs) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, two = upgrade.save(Path(folder) / "one"), again.save(Path(folder) / "two")
        same = (one / "weights.safetensors").read_bytes() == (two / "weights.safetensors").read_bytes()
        expect(same, f"{name}: expected the same bytes from the same pairs and seed, came others")
        loaded = Upgrade.load(one)
    actual, expected = (_mapped(u, pairs).tobytes() for u in (loaded, upgrade))
    expect(actual == expected, f"{name}: expected the same outputs after saving and loading, came others")
    expect_equal(upgrade.direction, loaded.direction, f"{name}: direction after saving and loading")


def _check_planted(name: str, method: Method) -> None:
    """old = the first coordinates of a rotated new vector, plus noise."""
    rng = np.random.default_rng(0)
    count = _PLANTED_PAIRS + _PLANTED_QUERIES
    new = rng.normal(size=(count, _DIM_NEW))
    rotation, _ = np.linalg.qr(rng.normal(size=(_DIM_NEW, _DIM_NEW)))
    old = (new @ rotation)[:, :_DIM_OLD] + _NOISE * rng.normal(size=(count, _DIM_OLD))
    spaces = Space("planted new", "1", _DIM_NEW), Space("planted old", "1", _DIM_OLD)
    rows = [Embeddings.of(v.astype(np.float32), s) for v, s in zip((new, old), spaces, strict=True)]
    pairs = Pairs(rows[0], rows[1])
    upgrade, _ = _fit(method, pairs.take(np.arange(_PLANTED_PAIRS)))
    unseen = pairs.take(np.arange(_PLANTED_PAIRS, count))
    queries, gallery = _mapped(upgrade, unseen), unseen.old.vectors
    if upgrade.direction == "forward":
        queries, gallery = upgrade.head(_whole(unseen.new)).vectors, queries
    found = float((top_k(queries, gallery, 1).rows[:, 0] == np.arange(len(unseen))).mean())
    chance = 1 / len(unseen)
    expect(found > 10 * chance, f"{name}: expected a planted rotation to be found (chance {chance:g}), came {found:g}")


def _mapped(upgrade: Upgrade, pairs: Pairs) -> np.ndarray:
    """What the bridge makes of the side it maps."""
    if upgrade.direction == "backward":
        return upgrade.to_index_space(_whole(pairs.new)).vectors
    return upgrade.bridge(_whole(pairs.old)).vectors


def _whole(side: Embeddings | HalfEmbeddings) -> Embeddings:
    return next(iter(side.chunks(len(side))))
