"""The items that are trained on: images or vectors, with labels where they have some."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embridge.errors import InvalidInput, SettingsError, require
from embridge.settings.training import DataSettings
from embridge.space import Space
from embridge.training.compatible.image_data import HuggingFaceImages, ImageArrays, ImageFolder
from embridge.training.compatible.labelled import Labelled, LabelledVectors
from embridge.vector_files import read_vectors

__all__ = ["Items", "own_ids", "read_array", "read_items"]


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """What is trained on: the items, their names where they have some, and the space of what are vectors."""

    data: Labelled
    names: tuple[str, ...] | None = None
    source: Space | None = None


def read_items(settings: DataSettings) -> Items:
    """The items; images are only found now, and read when they are needed.

    Raises `InvalidInput` for files that hold something else, `SettingsError` for columns that are not there.
    """
    if settings.vectors is not None:
        space = None if settings.space is None else settings.space.to_space()
        rows = read_vectors(settings.vectors, space=space, cast=settings.cast, columns=settings.columns)
        labels = _labels(settings, settings.labels, len(rows))
        return Items(LabelledVectors(rows.vectors, labels, _names(settings)), own_ids(rows.ids), rows.space)
    if settings.dataset is not None:
        return Items(_dataset(settings, settings.dataset))
    assert settings.images is not None
    if settings.images.suffix in (".npz", ".npy"):
        return Items(_image_arrays(settings, settings.images))
    if settings.labels is not None or settings.classes:
        raise SettingsError(
            f"data: {settings.images} is a folder of folders, which name the classes; leave out the rest"
        )
    folder = ImageFolder(settings.images, side=settings.side, labelled=settings.clusters is None)
    return Items(folder, tuple(file.relative_to(folder.folder).as_posix() for file in folder.files))


def own_ids(ids: tuple[str, ...]) -> tuple[str, ...] | None:
    """The ids of a file, None where they are the numbers of the rows, as of a file without any."""
    return None if ids == tuple(map(str, range(len(ids)))) else ids


def read_array(path: Path | None, key: str) -> np.ndarray:
    """The array of a .npy file, or that of a .npz file under the key."""
    try:
        loaded = np.load(str(path), allow_pickle=False)
        return np.asarray(loaded if isinstance(loaded, np.ndarray) else loaded[key])
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise InvalidInput(f"{path}: expected numpy's {key}: {error}") from error


def _image_arrays(settings: DataSettings, file: Path) -> ImageArrays:
    if settings.clusters is None and (file.suffix == ".npy") != (settings.labels is not None):
        raise SettingsError(
            f"data: {file.name}: a .npy file of images has its labels in a file of its own, a .npz has both"
        )
    images = read_array(file, "images")
    return ImageArrays(images, _labels(settings, settings.labels or file, len(images)), _names(settings), settings.side)


def _labels(settings: DataSettings, file: Path | None, rows: int) -> np.ndarray:
    """What is in the file; where clusters are to be the classes, all are of one until the old model's vectors are there."""
    return read_array(file, "labels") if settings.clusters is None else np.zeros(rows, np.int64)


def _dataset(settings: DataSettings, folder: Path) -> HuggingFaceImages:
    datasets = require("datasets", extra="hf-datasets")
    try:
        loaded = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(f"{folder} holds no dataset that save_to_disk wrote: {error}") from error
    if isinstance(loaded, datasets.DatasetDict) != (settings.split is not None) or settings.split not in (
        None,
        *loaded,
    ):
        splits = list(loaded) if isinstance(loaded, datasets.DatasetDict) else "none"
        raise SettingsError(f"data.split: {folder} has the splits {splits}, came {settings.split!r}")
    columns = {"image": "image", "label": "label"} | settings.columns
    return HuggingFaceImages(
        loaded if settings.split is None else loaded[settings.split],
        side=settings.side,
        image=columns["image"],
        label=columns["label"] if settings.clusters is None else None,
    )


def _names(settings: DataSettings) -> list[str]:
    return [str(name) for name in settings.classes]
