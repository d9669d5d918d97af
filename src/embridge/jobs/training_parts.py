"""What the settings of a training name: items, the old model's vectors of them, the backbone, the objective."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embridge.backbones import BACKBONES, default_backbone, make_backbone
from embridge.backbones.base import Backbone, drawn_from
from embridge.backbones.record import Takes
from embridge.embeddings import Embeddings
from embridge.encoders import LazyEncoder
from embridge.errors import InvalidInput, SettingsError, require
from embridge.jobs.models import Models
from embridge.methods import configured
from embridge.methods.base import require_directions
from embridge.progress import silent
from embridge.settings.training import BackboneSettings, DataSettings, RowsSettings, TrainingSettings, VersionSettings
from embridge.space import Space
from embridge.training.compatible.augment import Augment
from embridge.training.compatible.image_data import HuggingFaceImages, ImageArrays, ImageFolder
from embridge.training.compatible.labelled import Labelled, LabelledVectors, Rows
from embridge.training.compatible.old_models import old_model, old_vectors
from embridge.training.compatible.trainer import CompatibleTraining
from embridge.training.lightning.strategies import STRATEGIES
from embridge.training.objectives import make_objective
from embridge.training.objectives.base import Objective, OldModel
from embridge.vector_files import read, write

__all__ = ["Items", "OtherModel", "made_backbone", "made_objective", "made_training", "read_items"]

PART_ROWS = 16_384


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
        rows = read(settings.vectors, space=space, cast=settings.cast)
        labels = _labels(settings, settings.labels, len(rows))
        return Items(LabelledVectors(rows.vectors, labels, _names(settings)), _own_ids(rows.ids), rows.space)
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


class OtherModel:
    """The old model, or a paragon: an encoder, or a file with its vectors of all items.

    what: how messages call it. Raises `SettingsError` for an encoder that does not take these items, `InvalidInput` for a
    file of other items.
    """

    def __init__(self, what: str, settings: RowsSettings, items: Items, models: Models) -> None:
        self._items, self._models = items, models
        self._encoder: LazyEncoder | None = None
        if settings.vectors is not None:
            space = None if settings.space is None else settings.space.to_space()
            rows = read(settings.vectors, space=space, cast=settings.cast)
            require_directions(rows, "compatible training")
            self._rows: np.ndarray | None = _arranged(what, rows, items, settings.vectors)
            self.space = rows.space
            return
        if items.data.side is None:
            raise SettingsError(f"{what}: the items are vectors, which no encoder takes; name a file (vectors:)")
        self._encoder = models.encoder(settings)
        if "image" not in self._encoder.modalities:
            raise SettingsError(f"{what}: {settings.encoder} takes no images, and the items are images")
        self._rows, self.space = None, self._encoder.space

    def vectors(self, cache: Path) -> np.ndarray:
        """Unit vectors [n, d] of all items; those of an encoder are kept in the cache, a part at a time, for the next time."""
        if self._rows is None:
            data = self._items.data
            name = hashlib.sha256(f"{self.space.id} {data.fingerprint()} {PART_ROWS}".encode()).hexdigest()[:16]
            starts = range(0, len(data), PART_ROWS)
            self._rows = np.concatenate([self._part(start, cache / f"items-{name}-{start}.npy") for start in starts])
        return old_vectors(self._items.data, self._rows)

    def _part(self, start: int, file: Path) -> np.ndarray:
        """The vectors of some items, from the file if it is there."""
        data, encoder = self._items.data, self._encoder
        assert encoder is not None
        rows = np.arange(start, min(start + PART_ROWS, len(data)))

        def heard(done: int, total: int, what: str) -> None:
            self._models.progress(start + done, total + len(data) - len(rows), what)  # total: of this part

        if not file.exists():
            with self._models.heard_by(silent):
                vectors = old_vectors(Rows(data, rows), encoder, progress=heard)
            write(Embeddings.of(vectors, self.space), file)
        return read(file, space=self.space).vectors

    def stand_in(self) -> np.ndarray:
        """Vectors of that shape, by which the other parts are checked before any is encoded."""
        return np.ones((len(self._items.data), self.space.dim), np.float32)


def made_training(settings: TrainingSettings, data: Labelled) -> CompatibleTraining:
    """The trainer; raises `SettingsError` for settings that it or these items do not allow."""
    said = dict(settings.training)
    if "augment" in said:
        if not isinstance(said["augment"], dict):
            raise SettingsError(f"training: augment holds settings (crop_padding, flip, …), came {said['augment']!r}")
        said["augment"] = configured("training.augment", Augment, said["augment"])
    training: CompatibleTraining = configured("training", CompatibleTraining, said)
    if training.keep == "best" and settings.data.held_out is None:
        raise SettingsError("training: keep: best needs items that are not trained on; set data.held_out")
    if training.batch_size > len(data):
        raise SettingsError(
            f"training: batch_size {training.batch_size} is more than the {len(data)} items there are to train on"
        )
    if training.devices > 1 and STRATEGIES[training.strategy].runs_script_again:
        raise SettingsError(
            f"training: strategy {training.strategy} would run the whole command once for each device; with several devices "
            f"it is one of {', '.join(sorted(n for n, s in STRATEGIES.items() if not s.runs_script_again))}"
        )
    if data.side is not None:
        training.augment.make(data.side)  # kornia may not be there
    return training


def made_backbone(settings: TrainingSettings, data: Labelled, feature_dim: int) -> Backbone:
    """The network, its weights drawn from the seed; for vectors, a head.

    Raises `SettingsError` for settings that it does not have, and for one that does not take these items.
    """
    takes: Takes = "vectors" if data.side is None else "images"
    backbone = settings.backbone or BackboneSettings(name=default_backbone(takes))
    if BACKBONES[backbone.name].takes != takes:
        raise SettingsError(f"backbone: the items are {takes}, which {backbone.name} does not take")
    return make_backbone(
        backbone.name,
        feature_dim,
        settings=backbone.settings,
        folder=backbone.folder,
        source_dim=data.batch(np.arange(1)).shape[1] if takes == "vectors" else None,
        seed=settings.seed,
    )


def made_objective(
    settings: TrainingSettings,
    data: Labelled,
    old: np.ndarray | None,
    paragon: np.ndarray | None,
    ancestors: Sequence[np.ndarray] = (),
) -> Objective:
    """The loss, its own layers drawn from the seed; of the other models, vectors of the very items that are trained on."""
    given: dict[str, Any] = {"labels": torch.from_numpy(data.labels)}
    if paragon is not None:
        given["paragon"] = torch.from_numpy(paragon)
    kept = None
    if old is not None:
        assert settings.old is not None
        file, named = settings.old.classifier, enumerate(zip(settings.ancestors, ancestors, strict=True))
        before = [_kept(f"ancestors.{number}", said, data, rows) for number, (said, rows) in named]
        classifier = None if file is None else _array(file, "classifier")
        kept = _kept("old", settings.old, data, old, classifier=classifier, ancestors=before)
    with drawn_from(settings.seed):
        made: Objective = make_objective(
            settings.objective.name, kept, len(data.classes), settings.objective.settings, **given
        )
    return made


def _kept(key: str, said: VersionSettings, data: Labelled, rows: np.ndarray, **more: Any) -> OldModel:
    known = None if said.known is None else _known(key, said.known, data.classes)
    return old_model(data, rows, known=known, renormalise=said.renormalise, **more)


def _known(key: str, names: Collection[str | int], classes: Collection[str]) -> list[str]:
    strange = [str(name) for name in names if str(name) not in classes]
    if strange:
        raise SettingsError(f"{key}.known: {strange[0]!r} is no class of the items; these are {list(classes)[:8]} …")
    return [str(name) for name in names]


def _image_arrays(settings: DataSettings, file: Path) -> ImageArrays:
    if settings.clusters is None and (file.suffix == ".npy") != (settings.labels is not None):
        raise SettingsError(
            f"data: {file.name}: a .npy file of images has its labels in a file of its own, a .npz has both"
        )
    images = _array(file, "images")
    return ImageArrays(images, _labels(settings, settings.labels or file, len(images)), _names(settings), settings.side)


def _labels(settings: DataSettings, file: Path | None, rows: int) -> np.ndarray:
    """What is in the file; where clusters are to be the classes, all are of one until the old model's vectors are there."""
    return _array(file, "labels") if settings.clusters is None else np.zeros(rows, np.int64)


def _dataset(settings: DataSettings, folder: Path) -> HuggingFaceImages:
    datasets = require("datasets", extra="hf-datasets")
    try:
        held = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(f"{folder} holds no dataset that save_to_disk wrote: {error}") from error
    if isinstance(held, datasets.DatasetDict) != (settings.split is not None) or settings.split not in (None, *held):
        splits = list(held) if isinstance(held, datasets.DatasetDict) else "none"
        raise SettingsError(f"data.split: {folder} has the splits {splits}, came {settings.split!r}")
    image, label = settings.columns
    return HuggingFaceImages(
        held if settings.split is None else held[settings.split],
        side=settings.side,
        image=image,
        label=label if settings.clusters is None else None,
    )


def _names(settings: DataSettings) -> list[str]:
    return [str(name) for name in settings.classes]


def _array(path: Path | None, key: str) -> np.ndarray:
    """The array of a .npy file, or that of a .npz file under the key."""
    try:
        held = np.load(str(path), allow_pickle=False)
        return np.asarray(held if isinstance(held, np.ndarray) else held[key])
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise InvalidInput(f"{path}: expected numpy's {key}: {error}") from error


def _own_ids(ids: tuple[str, ...]) -> tuple[str, ...] | None:
    """The ids of a file, None where they are the numbers of the rows, as of a file without any."""
    return None if ids == tuple(map(str, range(len(ids)))) else ids


def _arranged(what: str, rows: Embeddings, items: Items, path: Path) -> np.ndarray:
    """The vectors in the order of the items: by name where both sides have names, as they stand otherwise."""
    if _own_ids(rows.ids) is not None and items.names is not None:
        row_of = {name: row for row, name in enumerate(rows.ids)}
        missing = [name for name in items.names if name not in row_of]
        if missing:
            raise InvalidInput(
                f"{what}: {path} lacks {len(missing)} of {len(items.names)} items, first {missing[0]!r}; its ids are the "
                "names of the items"
            )
        return rows.vectors[[row_of[name] for name in items.names]]
    if len(rows) != len(items.data):
        raise InvalidInput(f"{what}: {path} holds {len(rows)} vectors, and there are {len(items.data)} items")
    return rows.vectors
