"""What a training is made of, as the settings say: the trainer, the backbone, the objective."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from embridge.backbones import BACKBONES, default_backbone, make_backbone
from embridge.backbones.base import Backbone, drawn_from
from embridge.backbones.record import Takes
from embridge.errors import SettingsError
from embridge.jobs._training_split import TrainingSplit
from embridge.methods import configured
from embridge.settings.training import BackboneSettings, TrainingSettings, VersionSettings
from embridge.training.compatible.augment import Augment
from embridge.training.compatible.labelled import Labelled
from embridge.training.compatible.old_models import old_model
from embridge.training.compatible.trainer import CompatibleTraining
from embridge.training.lightning.strategies import STRATEGIES
from embridge.training.objectives import make_objective, settings_beside
from embridge.training.objectives.base import Objective, OldModel

__all__ = ["OtherVectors", "backbone_of", "objective_of", "trainer_of"]


@dataclass(frozen=True, slots=True, eq=False)
class OtherVectors:
    """Of the other models, vectors [n, d] of the very items that are trained on; None for models that there are not.

    classifier [c, d]: the weights of the old model's.
    """

    old: np.ndarray | None
    paragon: np.ndarray | None
    ancestors: tuple[np.ndarray, ...]
    classifier: np.ndarray | None


def trainer_of(settings: TrainingSettings, split: TrainingSplit) -> CompatibleTraining:
    """The trainer; raises `SettingsError` for settings that it or these items do not allow."""
    options, data = dict(settings.training), split.train
    if "compatibility" in options:
        raise SettingsError("training: compatibility is no key of training; write it beside training, not in it")
    options["compatibility"] = "fixed" if split.watched is None else "auto"
    if "augment" in options:
        if not isinstance(options["augment"], dict):
            raise SettingsError(
                f"training: augment holds settings (crop_padding, flip, …), came {options['augment']!r}"
            )
        options["augment"] = configured("training.augment", Augment, options["augment"])
    training: CompatibleTraining = configured("training", CompatibleTraining, options)
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


def backbone_of(settings: TrainingSettings, data: Labelled, feature_dim: int) -> Backbone:
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


def objective_of(settings: TrainingSettings, data: Labelled, others: OtherVectors, *, found: bool = False) -> Objective:
    """The loss, its own layers drawn from the seed; ``found`` if its weights are found while training."""
    tensors: dict[str, Any] = {"labels": torch.from_numpy(data.labels)}
    if others.paragon is not None:
        tensors["paragon"] = torch.from_numpy(others.paragon)
    old = None
    if others.old is not None:
        assert settings.old is not None
        versions = zip(settings.ancestors, others.ancestors, strict=True)
        ancestors = [_version(f"ancestors.{n}", version, data, rows) for n, (version, rows) in enumerate(versions)]
        old = _version("old", settings.old, data, others.old, classifier=others.classifier, ancestors=ancestors)
    name, options = settings.objective.name, settings.objective.settings
    if found and old is not None:
        options = {**settings_beside(name, old), **options}
    with drawn_from(settings.seed):
        objective: Objective = make_objective(name, old, len(data.classes), options, **tensors)
    return objective


def _version(key: str, settings: VersionSettings, data: Labelled, rows: np.ndarray, **options: Any) -> OldModel:
    known = None if settings.known is None else _known(key, settings.known, data.classes)
    return old_model(data, rows, known=known, renormalise=settings.renormalise, **options)


def _known(key: str, names: Collection[str | int], classes: Collection[str]) -> list[str]:
    strange = [str(name) for name in names if str(name) not in classes]
    if strange:
        raise SettingsError(f"{key}.known: {strange[0]!r} is no class of the items; these are {list(classes)[:8]} …")
    return [str(name) for name in names]
