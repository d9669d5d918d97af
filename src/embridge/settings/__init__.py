"""The YAML settings files: what to fit and evaluate, and what to train."""

from embridge.settings.models import ModelSettings, OldModelSettings
from embridge.settings.stored import ItemsSettings, SpaceName, StoredVectors
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
from embridge.settings.upgrade import EvaluateSettings, FitSettings, Settings, load_settings, store_settings
from embridge.settings.vectors import SpaceSettings, VectorsSettings

__all__ = [
    "BackboneSettings",
    "DataSettings",
    "EvaluateSettings",
    "FitSettings",
    "ItemsSettings",
    "ModelSettings",
    "ObjectiveSettings",
    "OldModelSettings",
    "OldSettings",
    "RowsSettings",
    "Settings",
    "SpaceName",
    "SpaceSettings",
    "StoredVectors",
    "TrainingSettings",
    "VectorsSettings",
    "VersionSettings",
    "load_settings",
    "load_training_settings",
    "store_settings",
]
