"""The YAML settings files: what to fit and evaluate, and what to train."""

from embridge.settings.training import (
    BackboneSettings,
    DataSettings,
    ObjectiveSettings,
    OldSettings,
    RowsSettings,
    TrainingSettings,
    VersionSettings,
    load_training_settings,
)
from embridge.settings.upgrade import EvaluateSettings, FitSettings, ModelSettings, Settings, load_settings
from embridge.settings.vectors import SpaceSettings, VectorsSettings

__all__ = [
    "BackboneSettings",
    "DataSettings",
    "EvaluateSettings",
    "FitSettings",
    "ModelSettings",
    "ObjectiveSettings",
    "OldSettings",
    "RowsSettings",
    "Settings",
    "SpaceSettings",
    "TrainingSettings",
    "VectorsSettings",
    "VersionSettings",
    "load_settings",
    "load_training_settings",
]
