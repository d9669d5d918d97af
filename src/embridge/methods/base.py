"""Method: pairs of vectors become an upgrade."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from xxhash import xxh3_128

from embridge.adapters.base import Adapter, normalized, row_lengths
from embridge.adapters.linear import Identity
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings, HalfEmbeddings, float32_rows
from embridge.errors import InvalidInput
from embridge.methods.real_pairs import RealPairs
from embridge.progress import Progress, silent
from embridge.provenance import Provenance, library_versions
from embridge.shapes import Float32, Float64, Int64

__all__ = [
    "Method",
    "Pairs",
    "backward_upgrade",
    "forward_upgrade",
    "require_cosine",
    "require_directions",
]

_CHUNK_ROWS = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """The same items as both models see them: ``new.ids == old.ids``. For XBT the items are captions.

    Attributes:
        new: Vectors of the new model [n, d_new]; `HalfEmbeddings` where there are millions.
        old: Vectors of the old model [n, d_old].
        weights: How much each pair counts [n], such as query traffic; all alike where None.
        labels: The class of each item [n], for methods that can use one.
        judged_by: Real pairs of image and caption, for methods that learn from others and can be judged by these (`XBT`).

    Raises:
        InvalidInput: There are no pairs, or both sides are of one space. Or the ids differ; the message names the first. Or
            weights are not finite and above 0, or the real pairs are of other spaces.

    Examples:
        >>> from embridge import Space
        >>> new, old = (Embeddings.of(np.eye(3, d, dtype=np.float32), Space(m, "1", d)) for m, d in (("new", 3), ("old", 2)))
        >>> len(Pairs(new, old).take(np.array([0, 2])))
        2
    """

    new: Embeddings | HalfEmbeddings
    old: Embeddings | HalfEmbeddings
    weights: Float64[np.ndarray, " n"] | None = None
    labels: Int64[np.ndarray, " n"] | None = None
    judged_by: RealPairs | None = None

    def __post_init__(self) -> None:
        if len(self.new) == 0 or len(self.old) == 0:
            raise InvalidInput(
                f"pairs: expected at least one, came {len(self.new)} new and {len(self.old)} old vectors"
            )
        if self.new.space == self.old.space:
            raise InvalidInput(f"pairs: both sides are of {self.new.space}; there is nothing to bridge")
        if self.new.ids != self.old.ids:
            both = zip(self.new.ids, self.old.ids, strict=False)
            first = next((i for i, (a, b) in enumerate(both) if a != b), min(len(self.new), len(self.old)))
            raise InvalidInput(
                f"pairs: {len(self.new)} new and {len(self.old)} old vectors whose ids differ from row {first} on; "
                "both sides hold the same items in the same order"
            )
        for what, values in (("weights", self.weights), ("labels", self.labels)):
            if values is not None and values.shape != (len(self.new),):
                raise InvalidInput(f"pairs: {len(self.new)} pairs came with {what} of shape {values.shape}")
        if self.weights is not None and not (np.isfinite(self.weights) & (self.weights > 0)).all():
            raise InvalidInput("pairs: weights are finite and above 0; leave out pairs that should not count")
        real = self.judged_by
        if real is not None and (real.new_texts.space, real.old_texts.space) != (self.new.space, self.old.space):
            raise InvalidInput(
                f"pairs: these are of {self.new.space} and {self.old.space}, and the image-text pairs that judge them of "
                f"{real.new_texts.space} and {real.old_texts.space}"
            )

    def __len__(self) -> int:
        return len(self.new)

    def take(self, rows: np.ndarray) -> Pairs:
        """Those pairs, in that order."""
        weights, labels = (None if values is None else values[rows] for values in (self.weights, self.labels))
        return Pairs(self.new.take(rows), self.old.take(rows), weights, labels, self.judged_by)

    def hold_out(self, fraction: float, *, seed: int) -> tuple[Pairs, Pairs]:
        """Split at random into training and validation pairs; each part has at least one.

        The validation part has at most 5,000 pairs: more would only cost time.

        Args:
            fraction: Share of the pairs to validate on, in (0, 1).
            seed: Of the random order.

        Returns:
            The training pairs and the validation pairs.

        Raises:
            InvalidInput: There is one pair alone, or the fraction is not in (0, 1).
        """
        train, validation = self.split(fraction, seed=seed)
        return self.take(train), self.take(validation)

    def split(
        self, fraction: float, *, seed: int
    ) -> tuple[Int64[np.ndarray, " n_train"], Int64[np.ndarray, " n_held"]]:
        """The row numbers of `hold_out`, for what reads its rows a part at a time."""
        if len(self) < 2:
            raise InvalidInput("one pair came; at least two are needed, so that one can be held out for validation")
        if not 0 < fraction < 1:
            raise InvalidInput(f"hold_out: expected a fraction in (0, 1), came {fraction}")
        count = min(max(1, round(fraction * len(self))), len(self) - 1, 5_000)
        order = np.random.default_rng(seed).permutation(len(self))
        return np.sort(order[count:]), np.sort(order[:count])

    def unit_rows(
        self, rows: slice | np.ndarray
    ) -> tuple[Float32[np.ndarray, "k d_new"], Float32[np.ndarray, "k d_old"]]:
        """Both sides of some pairs, each vector of length one; whatever the sides are, only these rows are in memory."""
        return normalized(float32_rows(self.new, rows)), normalized(float32_rows(self.old, rows))

    @property
    def fingerprint(self) -> str:
        """A hash of both spaces, the ids and the vectors, and of what they are judged by."""
        digest = hashlib.sha256(f"{self.new.space.id} {self.old.space.id} {len(self)}".encode())
        digest.update("\0".join(self.new.ids).encode())
        for side in (self.new, self.old):
            vectors = xxh3_128()  # ten times as fast, and nobody gains by vectors that collide
            for start in range(0, len(side), _CHUNK_ROWS):
                vectors.update(np.ascontiguousarray(float32_rows(side, slice(start, start + _CHUNK_ROWS))).data)
            digest.update(vectors.digest())
        for values in (self.weights, self.labels):
            if values is not None:
                digest.update(np.ascontiguousarray(values).data)
        for values in () if self.judged_by is None else self.judged_by.arrays():
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()[:16]


@runtime_checkable
class Method(Protocol):
    """A frozen dataclass of settings that can be fitted; `embridge.testing.check_method` checks one.

    Attributes:
        paper: Where it comes from.

    Examples:
        >>> from embridge.methods.procrustes import Procrustes
        >>> isinstance(Procrustes(), Method)
        True
    """

    paper: ClassVar[str]

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Fit on the pairs; the same pairs and seed give the same bytes on a CPU."""
        ...


def require_cosine(pairs: Pairs, method: str) -> None:
    """Refuse pairs whose lengths matter: both spaces compare by cosine, or hold vectors of length one.

    A map fitted on directions says nothing of lengths, which dot products and distances of other vectors depend on.

    Args:
        pairs: What is to be fitted on.
        method: What messages call the method.

    Raises:
        InvalidInput: A space compares by dot product or distance, and its vectors are of other lengths.

    Examples:
        >>> from embridge import Space
        >>> sides = (Embeddings.of(np.eye(2, dtype=np.float32), Space(m, "1", 2, "dot")) for m in ("new", "old"))
        >>> require_cosine(Pairs(*sides), "procrustes")
    """
    for rows in (pairs.new, pairs.old):
        require_directions(rows, method)


def require_directions(rows: Embeddings | HalfEmbeddings, method: str) -> None:
    """Refuse one side whose lengths matter; see `require_cosine`.

    Args:
        rows: The side.
        method: What messages call the method.

    Raises:
        InvalidInput: The space compares by dot product or distance, and the vectors are of other lengths.

    Examples:
        >>> from embridge import Space
        >>> require_directions(Embeddings.of(np.eye(2, dtype=np.float32), Space("m", "1", 2, "dot")), "unpaired")
    """
    if rows.space.metric == "cosine":
        return
    lengths = np.concatenate([row_lengths(part.vectors) for part in rows.chunks(_CHUNK_ROWS)])
    if np.abs(lengths - 1).max() > 1e-3:
        raise InvalidInput(
            f"{method} fits directions, and {rows.space} compares by {rows.space.metric} vectors whose lengths vary "
            f"({lengths.min():.3g} to {lengths.max():.3g}); normalise them, or use spaces with metric cosine"
        )


def backward_upgrade(
    bridge: Adapter, pairs: Pairs, method: str, *, settings: Any, seed: int, figures: Mapping[str, Any]
) -> Upgrade:
    """Make the upgrade of a bridge from new to old; the new model is untouched, so its head is an identity.

    Args:
        bridge: The map.
        pairs: What it was fitted on.
        method: The name in the provenance.
        settings: The method's dataclass.
        seed: What it was fitted with.
        figures: How it went.

    Returns:
        The upgrade, with its provenance.

    Examples:
        >>> from embridge import Space
        >>> from embridge.methods.procrustes import Procrustes, fit_rotation
        >>> new, old = (Embeddings.of(np.eye(3, dtype=np.float32), Space(m, "1", 3)) for m in ("new", "old"))
        >>> pairs = Pairs(new, old)
        >>> bridge = fit_rotation(pairs, center=False)
        >>> backward_upgrade(bridge, pairs, "procrustes", settings=Procrustes(), seed=0, figures={}).direction
        'backward'
    """
    provenance = _provenance(pairs, method, settings=settings, seed=seed, figures=figures)
    return Upgrade(Identity(pairs.new.space, pairs.new.space), bridge, provenance)


def forward_upgrade(
    bridge: Adapter, pairs: Pairs, method: str, *, settings: Any, seed: int, figures: Mapping[str, Any]
) -> Upgrade:
    """Make the same of a bridge from old to new: it maps the stored gallery, and queries stay as the new model makes them.

    Args:
        bridge: The map.
        pairs: What it was fitted on.
        method: The name in the provenance.
        settings: The method's dataclass.
        seed: What it was fitted with.
        figures: How it went.

    Returns:
        The upgrade, with its provenance.

    Examples:
        >>> from embridge import Space
        >>> from embridge.methods.procrustes import Procrustes
        >>> new, old = (Embeddings.of(np.eye(3, dtype=np.float32), Space(m, "1", 3)) for m in ("new", "old"))
        >>> bridge = Identity(old.space, new.space)
        >>> forward_upgrade(bridge, Pairs(new, old), "fct", settings=Procrustes(), seed=0, figures={}).direction
        'forward'
    """
    provenance = _provenance(pairs, method, settings=settings, seed=seed, figures=figures)
    return Upgrade(Identity(pairs.new.space, pairs.new.space), bridge, provenance, direction="forward")


def _provenance(pairs: Pairs, method: str, *, settings: Any, seed: int, figures: Mapping[str, Any]) -> Provenance:
    return Provenance(
        method=method,
        settings=asdict(settings),
        seed=seed,
        data=f"{len(pairs)} pairs, {pairs.fingerprint}",
        versions=library_versions(),
        figures=dict(figures),
    )
