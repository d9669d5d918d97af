"""Image-text pairs to train on: captions and the images they describe, the same caption or photo as often as it comes."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embridge.datasets._paths import file_key
from embridge.datasets.judged_pairs import pairs_of
from embridge.datasets.tables import read_table
from embridge.errors import InvalidInput
from embridge.shapes import Int64

__all__ = ["ImageTextPairs", "read_image_text"]


@dataclass(frozen=True, slots=True, eq=False)
class ImageTextPairs:
    """Image-text pairs: ``captions[i]`` describes ``images[i]``.

    Attributes:
        captions: n texts.
        images: n paths, PIL images, or uint8 arrays; all of them may be one array.
        groups: Int64 [n]. Pairs of one group are no wrong answers to each other, and are held out together; see
            `group_numbers`.

    Raises:
        InvalidInput: There are no pairs, the lengths differ, or a caption is not a text.

    Examples:
        >>> pairs = ImageTextPairs(["a cat", "a tabby", "a dog"], ["1.jpg", "1.jpg", "2.jpg"])
        >>> len(pairs), pairs.group_numbers().tolist()
        (3, [0, 0, 2])
    """

    captions: Sequence[str]
    images: Sequence[Any] | np.ndarray
    groups: Int64[np.ndarray, " n"] | None = None

    def __post_init__(self) -> None:
        lengths = {"captions": len(self.captions), "images": len(self.images)}
        if self.groups is not None:
            lengths["groups"] = len(self.groups)
        if len(set(lengths.values())) != 1 or not len(self.captions):
            raise InvalidInput(f"image-text pairs: expected as many of each, and at least one; came {lengths}")
        for row, caption in enumerate(self.captions):
            if not isinstance(caption, str):
                raise InvalidInput(f"image-text pairs: captions are strings; caption {row} is {type(caption).__name__}")

    def __len__(self) -> int:
        return len(self.captions)

    def group_numbers(self) -> Int64[np.ndarray, " n"]:
        """The group of each pair: ``groups``, or else the pairs that share a photo or a caption, and so on along the chain.

        A photo is the same where its file is, whatever path leads there, or its pixels are.
        """
        if self.groups is not None:
            return self.groups
        return _joined(_numbers(map(_photo, self.images)), _numbers(self.captions))

    def take(self, rows: np.ndarray) -> ImageTextPairs:
        """Those pairs, in that order."""
        images = self.images[rows] if isinstance(self.images, np.ndarray) else [self.images[int(i)] for i in rows]
        groups = None if self.groups is None else self.groups[rows]
        return ImageTextPairs([self.captions[int(i)] for i in rows], images, groups)

    def hold_out(self, fraction: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a random (training, validation) split by whole groups; each part has at least one group.

        Raises `InvalidInput` where all pairs are of one group.
        """
        groups = self.group_numbers()
        names, sizes = np.unique(groups, return_counts=True)
        if len(names) < 2:
            raise InvalidInput(
                f"image-text pairs: all {len(self)} are of one group (one photo, or captions shared along a chain); at "
                "least two groups are needed, so that one can be held out for validation"
            )
        order = np.random.default_rng(seed).permutation(len(names))
        fitting = int((np.cumsum(sizes[order]) <= fraction * len(self)).sum())
        held = np.isin(groups, names[order[: min(max(1, fitting), len(names) - 1)]])
        return np.flatnonzero(~held), np.flatnonzero(held)

    @property
    def fingerprint(self) -> str:
        """A hash of captions, images (of paths: their names) and groups."""
        digest = hashlib.sha256("\0".join(self.captions).encode())
        for image in self.images:
            digest.update(f"\0{_image_key(image)}".encode())
        digest.update(np.ascontiguousarray(self.group_numbers()).data)
        return digest.hexdigest()[:16]


def read_image_text(path: Path | str, *, names: Mapping[str, str] | None = None) -> ImageTextPairs:
    """Read image-text pairs from the columns ``text`` and ``image`` of a table; images lie beside the file.

    Args:
        path: The table, see `read_pairs`.
        names: From these names to the file's, where they differ.

    Returns:
        The pairs, their images as paths.

    Raises:
        InvalidInput: The table cannot be read, its pairs are of texts alone, or an image is not there.
        MissingSetting: The columns are others.

    Examples:
        >>> _ = Path("cat.jpg").write_bytes(b""), Path("pairs.csv").write_text("text,image\\na black cat,cat.jpg\\n")
        >>> read_image_text("pairs.csv").captions
        ['a black cat']
    """
    table = read_table(path, names=names)
    read = pairs_of(table, named=names or ())
    if not read.cross_modal:
        raise InvalidInput(f"{path}: image-text pairs have columns text and image; these are of texts alone")
    folder = Path(path).parent
    images = [str(folder / item) for _, item in read.pairs]
    for row, image in enumerate(images):
        if not Path(image).is_file():
            raise InvalidInput(f"{table.where(row)}: no image at {image}; paths count from the file's own folder")
    return ImageTextPairs([caption for caption, _ in read.pairs], images)


def _photo(image: Any) -> Hashable:
    return file_key(Path(image)) if isinstance(image, (str, Path)) else _image_key(image)


def _image_key(image: Any) -> str:
    if isinstance(image, (str, Path)):
        return str(image)
    pixels = np.ascontiguousarray(image)
    return hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode() + pixels.tobytes()).hexdigest()


def _numbers(names: Iterable[Hashable]) -> np.ndarray:
    """Equal names as equal numbers."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(name, len(seen)) for name in names], np.int64)


def _joined(one: np.ndarray, other: np.ndarray) -> Int64[np.ndarray, " n"]:
    """Rows that share either number get one: that of the first row of all that are linked."""
    labels = np.arange(len(one), dtype=np.int64)
    while True:
        before = labels
        for key in (one, other):
            smallest = np.full(key.max() + 1, len(one), np.int64)
            np.minimum.at(smallest, key, labels)
            labels = smallest[key]
        if (labels == before).all():
            return labels
