"""One YAML file says what to train, on what, and beside which old model; unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from embridge.backbones import BACKBONES
from embridge.errors import SettingsError
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
    """A model's vectors of the items, one for each."""

    files = ("vectors",)

    vectors: Path | None = None


class VersionSettings(RowsSettings):
    """A model whose vectors are stored, and what it knew."""

    known: tuple[str | int, ...] | None = None
    renormalise: bool = False


class OldSettings(VersionSettings):
    """The model that the new one is trained beside."""

    classifier: Path | None = None


class DataSettings(Strict):
    """Items, each of a class: images, or vectors of a frozen model."""

    renamed: ClassVar[dict[str, str]] = {"cells": "clusters"}

    images: Path | None = None
    dataset: Path | None = None
    split: str | None = None
    columns: tuple[str, str] = ("image", "label")
    vectors: Path | None = None
    space: SpaceSettings | None = None
    cast: bool = False
    labels: Path | None = None
    classes: tuple[str | int, ...] = ()
    clusters: int | None = Field(None, ge=2)
    side: int = Field(32, ge=1)
    held_out: float | None = Field(None, gt=0, lt=1)

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
        return self


class ObjectiveSettings(Strict):
    """The loss by name, with its settings; a name alone takes the defaults."""

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
    """The whole file. Paths, those of models' folders too, are relative to its folder."""

    data: DataSettings
    objective: ObjectiveSettings
    old: OldSettings | None = None
    ancestors: tuple[VersionSettings, ...] = ()
    paragon: RowsSettings | None = None
    backbone: BackboneSettings | None = None
    training: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    cache: Path | None = None
    model: Path = Path("model")
    upgrade: Path = Path("upgrade")


def load_training_settings(path: Path | str) -> TrainingSettings:
    """Read and check a settings file of ``embridge train``; raises `SettingsError` naming every key that is wrong."""
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
