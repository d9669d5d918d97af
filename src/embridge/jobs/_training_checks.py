"""What is wrong with the settings of a training, found before any work."""

from __future__ import annotations

from embridge.adapters.upgrade import MANIFEST
from embridge.atomic_write import refuse_foreign_folder
from embridge.backbones.saved import refuse_foreign_model
from embridge.errors import SettingsError
from embridge.settings.training import TrainingSettings
from embridge.training.objectives import OBJECTIVES, ObjectiveRecord, objective_settings, record_of

__all__ = ["require_fitting", "require_free_places"]


def require_free_places(settings: TrainingSettings) -> None:
    """Raise `InvalidInput` where the model's or the upgrade's folder holds something else."""
    refuse_foreign_model(settings.model)
    refuse_foreign_folder(settings.upgrade, marker=MANIFEST)


def require_fitting(settings: TrainingSettings) -> None:
    """Raise `SettingsError` for an objective that is not there, and for models that it lacks or does not use."""
    name, record = settings.objective.name, record_of(settings.objective.name)
    objective_settings(name, settings.objective.settings)
    if settings.data.clusters is not None:
        if settings.old is None:
            raise SettingsError("data.clusters: the clusters are of an old model's vectors; name it under old")
        if settings.old.known is not None or settings.old.classifier is not None:
            raise SettingsError("old: known and classifier are of classes, and clusters are none; leave them out")
    if settings.old is None and "old model" in record.needs:
        raise SettingsError(f"objective: {name} trains beside an old model; name it under old")
    if settings.ancestors and settings.old is None:
        raise SettingsError("ancestors: these are the versions before the old model; name that under old")
    if settings.data.clusters is not None and any(ancestor.known is not None for ancestor in settings.ancestors):
        raise SettingsError("ancestors: known is of classes, and clusters are none; leave it out")
    _require_asked_for(settings, name, record)


def _require_asked_for(settings: TrainingSettings, name: str, record: ObjectiveRecord) -> None:
    """Raise `SettingsError` unless the objective has all that it asks for, and a use for all that is there."""
    if settings.ancestors and not record.ancestors:
        others = " or ".join(other for other, its in OBJECTIVES.items() if its.ancestors)
        raise SettingsError(
            f"ancestors: {name} holds a new model to the old one alone; leave its ancestors out, or take {others}"
        )
    if ("paragon" in record.needs) != (settings.paragon is not None):
        raise SettingsError(
            f"objective: {name} asks for the vectors of the same model trained alone; name it under paragon"
            if settings.paragon is None
            else f"paragon: {name} has no use for one; leave it out"
        )
    if settings.data.vectors is not None and "vectors" not in record.trained_on:
        raise SettingsError(
            f"objective: {name} on vectors ends in no upgrade; train it on images, or take another objective"
        )
    if "old classifier" in record.needs and (settings.old is None or settings.old.classifier is None):
        raise SettingsError(
            f"objective: {name} uses the weights of the old classifier; name them under old.classifier"
            if settings.data.clusters is None
            else f"objective: {name} uses an old classifier, which is of classes, and clusters are none; take another"
        )
