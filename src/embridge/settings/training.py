"""One YAML file says what to train, on what, and beside which old model; unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from embridge.backbones import BACKBONES
from embridge.errors import SettingsError
from embridge.settings._columns import Columns, require_column_keys
from embridge.settings._seed import Seed
from embridge.settings.reading import Strict, read_settings, require_files
from embridge.settings.vectors import SpaceSettings, VectorsSettings

__all__ = [
    "BackboneSettings",
    "DataSettings",
    "ObjectiveSettings",
    "OldSettings",
    "RowsSettings",
    "TrainingSettings",
    "VersionSettings",
    "load_training_settings",
]


class RowsSettings(VectorsSettings):
    """A model's vectors of the items, one for each.

    Attributes:
        vectors: A file with them, where no encoder is named.

    Examples:
        >>> RowsSettings(vectors="old.npy").encoder is None
        True
    """

    files = ("vectors",)

    vectors: Path | None = None


class VersionSettings(RowsSettings):
    """A model whose vectors are stored, and what it knew.

    Attributes:
        known: The classes that it was trained on; all where None.
        renormalise: Whether its prototypes are brought to length one.

    Examples:
        >>> VersionSettings(vectors="old.npy", known=("cat", "dog")).known
        ('cat', 'dog')
    """

    known: tuple[str | int, ...] | None = None
    renormalise: bool = False


class OldSettings(VersionSettings):
    """The model that the new one is trained beside.

    Attributes:
        classifier: A file of numpy with its classifier's weights [c, d], for objectives that use them.

    Examples:
        >>> OldSettings.model_validate("trained:models/old").classifier is None
        True
    """

    classifier: Path | None = None


class DataSettings(Strict):
    """Items, each of a class: images, or vectors of a frozen model.

    Attributes:
        images: A folder of folders, each a class, or arrays of numpy (.npz, .npy).
        dataset: A folder that ``save_to_disk`` of the library datasets wrote.
        split: Which of its splits.
        columns: What it calls its columns ``image`` and ``label``, or a table of vectors its columns ``id`` and ``vector``.
        vectors: A file of vectors.
        space: What they are of, where the file does not say.
        cast: Whether vectors that are not float32 are made so.
        labels: A file of numpy with the classes of the items.
        classes: The names of the classes.
        clusters: So many clusters of the old model's vectors stand in the place of classes, where there are none.
        side: Pixels that images are resized to.
        held_out: The share of the items that is not trained on.

    Examples:
        >>> DataSettings(images="photos", clusters=100).side
        32
    """

    renamed: ClassVar[dict[str, str]] = {"cells": "clusters"}

    images: Path | None = None
    dataset: Path | None = None
    split: str | None = None
    columns: Columns = Field(default_factory=dict)
    vectors: Path | None = None
    space: SpaceSettings | None = None
    cast: bool = False
    labels: Path | None = None
    classes: tuple[str | int, ...] = ()
    clusters: int | None = Field(None, ge=2)
    side: int = Field(32, ge=1)
    held_out: float | None = Field(None, gt=0, lt=1)

    @field_validator("columns", mode="before")
    @classmethod
    def _both(cls, value: Any) -> Any:
        """Earlier versions took the two names of a dataset as a list."""
        pair = isinstance(value, (list, tuple)) and len(value) == 2
        return dict(zip(("image", "label"), value, strict=True)) if pair else value

    @model_validator(mode="after")
    def _one_kind(self) -> DataSettings:
        given = [name for name in ("images", "dataset", "vectors") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"say the items by exactly one of images, dataset, vectors; came {given}")
        if self.clusters is not None and (self.labels is not None or self.classes):
            raise ValueError("clusters stand in the place of labels and classes; leave these out")
        lacking = self.vectors is not None and self.labels is None and self.clusters is None
        if lacking or (self.dataset is not None and self.labels is not None):
            raise ValueError(
                "labels is a file with the classes of vectors, or of images in a .npy file; where there are none, say clusters"
            )
        if self.vectors is None and (self.space is not None or self.cast):
            raise ValueError("space and cast are of vectors")
        if self.columns and self.dataset is None and (self.vectors is None or self.vectors.suffix == ".npy"):
            raise ValueError("columns are of a dataset, or of a table of vectors (Parquet, Arrow, Feather)")
        require_column_keys(self.columns, ("id", "vector") if self.vectors is not None else ("image", "label"))
        return self


class ObjectiveSettings(Strict):
    """The loss by name, with its settings; a name alone takes the defaults.

    Attributes:
        name: See `embridge.training.objectives.OBJECTIVES`.
        settings: The objective's own settings.

    Examples:
        >>> ObjectiveSettings.model_validate("bct").settings
        {}
    """

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class BackboneSettings(ObjectiveSettings):
    """What is trained; ``folder`` is of a vision model of transformers, which has no other settings."""

    folder: Path | None = None

    @model_validator(mode="after")
    def _known(self) -> BackboneSettings:
        if self.name not in BACKBONES:
            raise ValueError(f"name is one of {', '.join(BACKBONES)}, came {self.name!r}")
        if BACKBONES[self.name].from_folder == (self.folder is None):
            raise ValueError("folder names the model of vision, and is of no other backbone")
        return self


class TrainingSettings(Strict):
    """The whole settings file of ``embridge train``.

    Paths, those of models' folders too, are relative to its folder.

    Attributes:
        data: What is trained on.
        objective: The loss.
        old: The model that the new one is trained beside.
        ancestors: The versions before the old model, which the new one is held to as well.
        paragon: The same new model trained alone, for objectives that use it.
        backbone: The network.
        training: The settings of `CompatibleTraining`.
        compatibility: Whether the weights of the objective's compatibility terms are those of its settings (``fixed``), or are
            found while training (``auto``).
        control: Whether the same network is trained alone too, where items are held out, to say what a bridge would do.
        seed: Of all that is random.
        cache: Where the old model's vectors and checkpoints are kept.
        model: The folder of the trained model.
        upgrade: The folder of the upgrade.

    Examples:
        >>> TrainingSettings.model_validate({"data": {"images": "photos"}, "objective": "independent"}).seed
        0
    """

    data: DataSettings
    objective: ObjectiveSettings
    old: OldSettings | None = None
    ancestors: tuple[VersionSettings, ...] = ()
    paragon: RowsSettings | None = None
    backbone: BackboneSettings | None = None
    training: dict[str, Any] = Field(default_factory=dict)
    compatibility: Literal["fixed", "auto"] = "fixed"
    control: bool = True
    seed: Seed = 0
    cache: Path | None = None
    model: Path = Path("model")
    upgrade: Path = Path("upgrade")

    @model_validator(mode="after")
    def _one_way_to_weigh(self) -> TrainingSettings:
        if self.compatibility == "auto" and self._weights:
            raise ValueError(
                f"compatibility: auto finds the weights, and objective.settings names {self._weights[0]}; leave that out, or "
                "write compatibility: fixed"
            )
        return self

    @property
    def balanced(self) -> bool:
        """Whether the weights of compatibility terms are found while training."""
        return self.compatibility == "auto"

    @property
    def _weights(self) -> list[str]:
        return [name for name in self.objective.settings if name.rpartition("_")[2] in ("weight", "weights")]


def load_training_settings(path: Path | str) -> TrainingSettings:
    """Read and check a settings file of ``embridge train``.

    Args:
        path: The YAML file.

    Returns:
        The settings, with every path absolute.

    Raises:
        SettingsError: Something in it is wrong, a file is missing, or the model would replace another; the message says which.

    Examples:
        >>> _ = Path("photos").mkdir(), Path("train.yaml").write_text("data: {images: photos}\\nobjective: independent\\n")
        >>> load_training_settings("train.yaml").objective.name
        'independent'
    """
    settings = read_settings(path, TrainingSettings)
    if settings.upgrade == settings.model or settings.upgrade in settings.model.parents:
        raise SettingsError(
            f"{path}: the upgrade's folder {settings.upgrade} would replace the model {settings.model}; keep them apart"
        )
    others = [("old", settings.old), ("paragon", settings.paragon), *(("an ancestor", a) for a in settings.ancestors)]
    for key, other in others:
        if other is not None and other.encoder == f"trained:{settings.model}":
            raise SettingsError(f"{path}: the model would replace {key}, {settings.model}; choose another folder")
    require_files(
        settings,
        *(f"data.{key}" for key in ("images", "dataset", "vectors", "labels")),
        *("old.vectors", "old.classifier", "paragon.vectors", "backbone.folder"),
        *(f"ancestors.{number}.vectors" for number in range(len(settings.ancestors))),
    )
    return settings
