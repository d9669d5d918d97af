"""Labelled images: from arrays, from a folder of folders, from a Hugging Face dataset."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embridge.encoders.squares import square_pixels
from embridge.errors import InvalidInput, SettingsError, require
from embridge.progress import Progress, silent
from embridge.shapes import Int64
from embridge.training.compatible.labelled import checked_labels, class_names, fingerprint_of

__all__ = ["HuggingFaceImages", "ImageArrays", "ImageFolder"]

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_HASHED_IMAGES = 1_000
_UNLABELLED = "unlabelled"


@dataclass(frozen=True, slots=True, eq=False)
class ImageArrays:
    """Images in memory, each of a class.

    Attributes:
        images: uint8 [n, h, w] or [n, h, w, 3].
        labels: Of each image, 0 … c − 1.
        classes: Names of the labels, numbers by default.
        side: Of the images as they are trained on; 0 takes the height, others are resized as `square_pixels` does.

    Raises:
        InvalidInput: The array is another, or the labels and names do not fit.

    Examples:
        >>> data = ImageArrays(np.zeros((2, 8, 8), np.uint8), np.array([1, 0]), ["cat", "dog"])
        >>> data.batch(np.array([0])).shape, len(data)
        (torch.Size([1, 3, 8, 8]), 2)
    """

    images: np.ndarray
    labels: Int64[np.ndarray, " n"]
    classes: Sequence[str] = ()
    side: int = 0

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) not in (3, 4) or shape[3:] not in ((), (3,)):
            raise InvalidInput(
                f"images: expected uint8 [n, h, w] or [n, h, w, 3], came {self.images.dtype} {list(shape)}"
            )
        object.__setattr__(self, "labels", checked_labels(self.labels, len(self.images)))
        object.__setattr__(self, "classes", class_names(self.labels, self.classes))
        object.__setattr__(self, "side", self.side or shape[1])

    def fingerprint(self) -> str:
        return fingerprint_of(self, [f"{self.side}".encode(), np.ascontiguousarray(self.images).data])

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: Int64[np.ndarray, " b"]) -> Tensor:
        return torch.from_numpy(square_pixels(self.images[rows], self.side))

    def items(self, rows: Int64[np.ndarray, " b"]) -> np.ndarray:
        return self.images[rows]


class ImageFolder:
    """Images in files, one folder a class, in the order of their names; read when they are needed.

    Images may lie in folders below that of their class. Files that are no images by their suffix are left out. A file that
    cannot be read is named when its turn comes, or by `damaged` before.

    Args:
        folder: Holds a folder for each class.
        side: Of the images as they are trained on, in pixels.
        labelled: Where not, all images in the folder and below it are of one class, for `pseudo_labels`.

    Attributes:
        classes: The names of the classes' folders.
        files: Of all images.
        labels: The class of each.

    Raises:
        InvalidInput: There is no folder for a class, or no image in one.
        SettingsError: The side is below 1.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (Path(folder) / "cat").mkdir()
        ...     Image.new("RGB", (4, 4)).save(Path(folder) / "cat" / "tom.png")
        ...     ImageFolder(folder, side=2).batch(np.array([0])).shape
        torch.Size([1, 3, 2, 2])
    """

    def __init__(self, folder: Path | str, *, side: int, labelled: bool = True) -> None:
        self.folder, self.side = Path(folder), side
        if side < 1:
            raise SettingsError(f"image folder: expected a side of at least 1 pixel, came {side}")
        folders = {d.name: d for d in _folders_in(self.folder)} if labelled else {_UNLABELLED: self.folder}
        images = {name: _images_in(d) for name, d in folders.items()}
        if not labelled and not images[_UNLABELLED]:
            raise InvalidInput(f"{folder}: expected images in it, or in folders below it; there is none")
        if not images or not all(images.values()):
            empty = [name for name, files in images.items() if not files]
            what = f"the class {empty[0]!r} has no image" if empty else "there is no folder in it"
            raise InvalidInput(f"{folder}: expected one folder a class, with images in it; {what}")
        self.classes = tuple(images)
        self.files = [file for files in images.values() for file in files]
        self.labels = np.repeat(np.arange(len(images)), [len(files) for files in images.values()])

    def fingerprint(self) -> str:
        """A hash of names and sizes of the files, not of what is in them."""
        files = "\0".join(f"{f.relative_to(self.folder).as_posix()} {f.stat().st_size}" for f in self.files)
        return fingerprint_of(self, [f"{self.side} {files}".encode()])

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, rows: Int64[np.ndarray, " b"]) -> Tensor:
        return torch.from_numpy(square_pixels(self.items(rows), self.side))

    def items(self, rows: Int64[np.ndarray, " b"]) -> list[Path]:
        return [self.files[int(row)] for row in rows]

    def damaged(self, *, progress: Progress = silent) -> list[Path]:
        """Read all files.

        Args:
            progress: Called after each file.

        Returns:
            Those that cannot be read.
        """
        damaged = []
        for row, file in enumerate(self.files):
            try:
                square_pixels([file], self.side)
            except InvalidInput:
                damaged.append(file)
            progress(row + 1, len(self.files), "images read")
        return damaged


class HuggingFaceImages:
    """Images of a Hugging Face dataset, decoded when they are needed.

    Needs the extra ``hf-datasets``. An image that cannot be decoded raises `InvalidInput` with its row when its turn comes.

    Args:
        dataset: A ``datasets.Dataset``, of one split.
        side: Of the images as they are trained on, in pixels.
        image: The column of images.
        label: The column of classes: a ``ClassLabel``, or any values, whose texts in order are the classes then. None puts
            all images into one class, for `pseudo_labels`.

    Raises:
        SettingsError: It is no such dataset, or a column is not there or holds no images.
        MissingExtra: datasets is not installed.

    Examples:
        >>> import datasets
        >>> from PIL import Image
        >>> rows = datasets.Dataset.from_dict({"image": [Image.new("RGB", (4, 4))], "label": ["cat"]})
        >>> HuggingFaceImages(rows.cast_column("image", datasets.Image()), side=2).classes
        ('cat',)
    """

    def __init__(self, dataset: Any, *, side: int, image: str = "image", label: str | None = "label") -> None:
        datasets = require("datasets", extra="hf-datasets")
        if not isinstance(dataset, datasets.Dataset):
            raise SettingsError(f"expected a datasets.Dataset (one split), came a {type(dataset).__name__}")
        for column in (image, *([] if label is None else [label])):
            if column not in dataset.column_names:
                raise SettingsError(f"there is no column {column!r}; there are {dataset.column_names}")
        if not isinstance(dataset.features[image], datasets.Image):
            raise SettingsError(f"the column {image!r} holds {dataset.features[image]}; cast it to datasets.Image()")
        self.side, self._image = side, image
        self._rows = dataset.cast_column(image, datasets.Image(decode=False)).with_format(None)
        self.classes, values = _classes_of(dataset, label)
        self.labels = checked_labels(values, len(dataset))

    def fingerprint(self) -> str:
        """A hash of the labels, and of at most 1,000 images, evenly spread, as they are stored."""
        spread = np.unique(np.linspace(0, len(self) - 1, min(len(self), _HASHED_IMAGES)).astype(np.int64))
        stored = (row["bytes"] or str(row["path"]).encode() for row in self._stored(spread))
        return fingerprint_of(self, [f"{self.side}".encode(), *stored])

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Int64[np.ndarray, " b"]) -> Tensor:
        return torch.from_numpy(square_pixels(self.items(rows), self.side))

    def items(self, rows: Int64[np.ndarray, " b"]) -> list[Any]:
        return [self._decoded(int(row), stored) for row, stored in zip(rows, self._stored(rows), strict=True)]

    def _stored(self, rows: np.ndarray) -> Iterator[dict[str, Any]]:
        yield from self._rows[[int(row) for row in rows]][self._image]

    def _decoded(self, row: int, stored: dict[str, Any]) -> Any:
        try:
            picture = require("PIL.Image", extra="hf-datasets").open(
                stored["path"] if stored["bytes"] is None else io.BytesIO(stored["bytes"])
            )
            picture.load()
        except Exception as error:  # a decoder raises almost anything on a damaged file
            raise InvalidInput(f"image {row} of the dataset ({stored['path']}) cannot be read: {error}") from error
        return picture


def _classes_of(dataset: Any, label: str | None) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the classes of a dataset, and the number of each row's."""
    if label is None:
        return (_UNLABELLED,), np.zeros(len(dataset), np.int64)
    feature = dataset.features[label]
    if isinstance(feature, require("datasets", extra="hf-datasets").ClassLabel):
        return tuple(feature.names), np.asarray(dataset.with_format(None)[label][:])
    names, values = np.unique(np.asarray([str(v) for v in dataset[label][:]]), return_inverse=True)
    return tuple(names.tolist()), values


def _folders_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InvalidInput(f"there is no folder {folder}; expected one with a folder a class in it")
    return sorted(d for d in folder.iterdir() if d.is_dir() and not d.name.startswith("."))


def _images_in(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.suffix.lower() in _SUFFIXES and f.is_file())
