"""Side: the same queries and gallery as one model sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.evaluation._parted import searchable
from embridge.evaluation.one_set import is_one_set
from embridge.nearest._parts import Portions, through
from embridge.space import require_same

__all__ = ["Side", "fingerprint", "require_same_items"]

_DIGESTED = 65_536  # rows at once


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Queries and gallery of one model, in its one space.

    Attributes:
        queries: Embeddings [q].
        gallery: Embeddings [n].
        without_lora: The same items as the model sees them without its LoRA, where it has one. A full backfill is
            written so.

    Raises:
        SpaceMismatch: Queries and gallery are of two spaces.
        InvalidInput: The side without the LoRA holds other items.

    Examples:
        >>> from embridge import Space
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2))
        >>> Side(rows, rows).one_set
        True
    """

    queries: Embeddings
    gallery: Embeddings
    without_lora: Side | None = None

    def __post_init__(self) -> None:
        require_same(self.gallery.space, self.queries.space, what="the queries of a side")
        if self.without_lora is not None:
            require_same_items(self, self.without_lora)

    @property
    def plain(self) -> Side:
        """What the model sees without a LoRA."""
        return self if self.without_lora is None else self.without_lora

    @property
    def one_set(self) -> bool:
        """Whether the queries are the gallery, by id and by vector: then no query may find itself."""
        return is_one_set(self.queries, self.gallery)

    def reversed(self) -> Side:
        """The gallery asks, the queries answer."""
        return Side(self.gallery, self.queries, self.without_lora and self.without_lora.reversed())

    def asking(self, rows: np.ndarray) -> Side:
        """Only those queries; the gallery stays whole."""
        return Side(self.queries.take(rows), self.gallery, self.without_lora and self.without_lora.asking(rows))


def require_same_items(old: Side, new: Side) -> None:
    """Check that both sides hold the same items in the same order.

    Args:
        old: One side.
        new: The other.

    Raises:
        InvalidInput: They do not.

    Examples:
        >>> from embridge import Space
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2))
        >>> require_same_items(Side(rows, rows), Side(rows, rows))
    """
    for what, a, b in (("queries", old.queries, new.queries), ("gallery items", old.gallery, new.gallery)):
        if a.ids == b.ids:
            continue
        only = [sorted(set(x.ids) - set(y.ids))[:1] for x, y in ((a, b), (b, a))]
        names = [f"only {side} has {found[0]!r}" for side, found in zip(("old", "new"), only, strict=True) if found]
        raise InvalidInput(
            f"{what}: both models must see the same items in the same order; {len(a)} and {len(b)} came"
            + (f" ({'; '.join(names)})" if names else ", ordered differently")
        )


def fingerprint(side: Side) -> str:
    """Hash the ids and vectors of queries and gallery: other data, other digits.

    Args:
        side: The side.

    Returns:
        Sixteen hexadecimal digits.

    Examples:
        >>> from embridge import Space
        >>> rows = Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2))
        >>> len(fingerprint(Side(rows, rows)))
        16
    """
    before = [*_bytes_of(side.queries), *_named(side.gallery.ids)]
    return through(searchable(side.gallery), _Digest(tuple(before)), [None])[0]


@dataclass(frozen=True, slots=True)
class _Digest:
    """Of what comes before a gallery's vectors, and of these."""

    before: tuple[bytes, ...]

    def through(self, portions: Portions, item: None) -> str:
        digest = hashlib.blake2b(b"".join(self.before), digest_size=8)
        for _, vectors in portions():
            for start in range(0, len(vectors), _DIGESTED):
                digest.update(vectors[start : start + _DIGESTED].tobytes())
        return digest.hexdigest()


def _bytes_of(rows: Embeddings) -> Iterator[bytes]:
    yield from _named(rows.ids)
    yield rows.vectors.tobytes()


def _named(ids: Sequence[str]) -> tuple[bytes, bytes]:
    lengths = f"{len(ids)} {[len(name) for name in ids]}".encode()
    return lengths, "".join(ids).encode("utf-8", "surrogatepass")
