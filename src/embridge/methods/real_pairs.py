"""A few hundred real pairs of image and caption, as both models see them: what a map learnt from text is judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from embridge.adapters.base import normalized
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput
from embridge.shapes import Float32, Float64, Int64

__all__ = ["RealPairs"]


@dataclass(frozen=True, slots=True, eq=False)
class RealPairs:
    """Image-text pairs as both models see them: row i of each side is of pair i.

    The new model asks, and the old one has made what is searched: new_images search old_texts, and new_texts search
    old_images, where there are any.

    Attributes:
        new_images: Images by the new model.
        new_texts: Captions by the new model.
        old_texts: Captions by the old model.
        old_images: Images by the old model; None where it takes none.
        groups: Rows of one group [n], such as the captions of one photo, are no wrong answers to each other and count as one
            pair; each row its own where None.

    Raises:
        InvalidInput: The sides are of other lengths or spaces, or there are fewer than two groups.

    Examples:
        >>> from embridge import Space
        >>> new, old = (Embeddings.of(np.eye(3, d, dtype=np.float32), Space(m, "1", d)) for m, d in (("new", 3), ("old", 2)))
        >>> RealPairs(new, new, old, groups=np.array([0, 0, 1])).directions
        ('i2t',)
    """

    new_images: Embeddings
    new_texts: Embeddings
    old_texts: Embeddings
    old_images: Embeddings | None = None
    groups: Int64[np.ndarray, " n"] | None = None

    def __post_init__(self) -> None:
        sides = [s for s in (self.new_images, self.new_texts, self.old_texts, self.old_images) if s is not None]
        lengths = [len(side) for side in sides] + ([] if self.groups is None else [len(self.groups)])
        if len(set(lengths)) != 1:
            raise InvalidInput(f"image-text pairs: expected one row a pair on every side, came {lengths}")
        for one, other in ((self.new_images, self.new_texts), (self.old_texts, self.old_images)):
            if other is not None and one.space != other.space:
                raise InvalidInput(
                    f"image-text pairs: images and texts of one model, came {one.space} and {other.space}"
                )
        if len(self) < 2:
            raise InvalidInput(
                f"image-text pairs: {len(self)} to judge by; at least two, and a few hundred are advised"
            )

    def __len__(self) -> int:
        """How many groups there are."""
        return len(self.new_images) if self.groups is None else len(np.unique(self.groups))

    def __str__(self) -> str:
        return f"{len(self)} image-text pairs, {' and '.join(self.directions)}"

    @property
    def directions(self) -> tuple[str, ...]:
        """Which searches are judged."""
        return ("i2t",) if self.old_images is None else ("i2t", "t2i")

    def arrays(self) -> tuple[np.ndarray, ...]:
        """All numbers that there are, for a fingerprint."""
        sides = (self.new_images, self.new_texts, self.old_texts, self.old_images)
        vectors = tuple(side.vectors for side in sides if side is not None)
        return vectors if self.groups is None else (*vectors, self.groups)

    def reciprocal_ranks(
        self,
        bridge: Callable[[Float32[np.ndarray, "n d_new"]], Float32[np.ndarray, "n d_old"]],
        others: Float32[np.ndarray, "m d_old"] | None = None,
    ) -> Float64[np.ndarray, " g"]:
        """Where each query's own answer stands, by cosine; ties count against it, and NaN ranks last.

        Args:
            bridge: Maps new unit rows to old ones.
            others: Unit rows of the old model, of captions that are no answers [m, d_old]; images are ranked among them too.

        Returns:
            One value a group [g], in (0, 1], the mean of the directions.
        """
        searches = [(self.new_images, self.old_texts, others)]
        if self.old_images is not None:
            searches.append((self.new_texts, self.old_images, None))
        numbers = np.arange(len(self)) if self.groups is None else np.unique(self.groups, return_inverse=True)[1]
        apart = numbers[:, None] != numbers[None, :]
        values = np.zeros(len(numbers))
        for queries, gallery, more in searches:
            mapped = normalized(bridge(normalized(queries.vectors)))
            scores = mapped @ normalized(gallery.vectors).T
            own = scores.diagonal()[:, None]
            ahead = ((scores >= own) & apart).sum(axis=1)
            if more is not None:
                ahead += (mapped @ more.T >= own).sum(axis=1)
            ahead[np.isnan(own[:, 0])] = len(scores) + (0 if more is None else len(more))
            values += 1 / (1 + ahead) / len(searches)
        return np.bincount(numbers, weights=values) / np.bincount(numbers)
