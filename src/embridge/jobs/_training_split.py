"""How the items of a training are split: to train on, to look at while training, to judge by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from embridge.errors import SettingsError
from embridge.settings.training import DataSettings, TrainingSettings
from embridge.training.compatible._crossing import watched_rows
from embridge.training.compatible.labelled import Labelled, Rows, hold_out
from embridge.training.compatible.pseudo_labels import Relabelled, cluster_names
from embridge.training.compatible.settings import CompatibleSettings
from embridge.training.objectives import record_of

__all__ = ["TrainingSplit", "stand_in_labels"]


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSplit:
    """The parts of all items.

    Attributes:
        train: What the new model is trained on.
        watched: What the training looks at to weigh the compatibility terms; None where their weights are fixed.
        judged: What is held out, and judges the training.
        alone: What a model without an old one may be trained on: all but the judged.
    """

    train: Labelled
    watched: Rows | None
    judged: Rows | None
    alone: Labelled

    @classmethod
    def of(cls, settings: TrainingSettings, data: Labelled) -> TrainingSplit:
        """Split the items as the settings say; the same settings split them alike."""
        judged: Rows | None = None
        alone: Labelled = data
        if settings.data.held_out is not None:
            alone, judged = hold_out(data, settings.data.held_out, seed=settings.seed)
        chosen = watched_rows(alone.labels, seed=settings.seed) if _asked_for(settings) else np.zeros(0, np.int64)
        if not len(chosen) or len(alone) - len(chosen) < _batch_size(settings.training):
            return cls(alone, None, judged, alone)
        every = alone.rows if isinstance(alone, Rows) else np.arange(len(alone))
        return cls(Rows(data, np.delete(every, chosen)), Rows(data, every[chosen]), judged, alone)


def stand_in_labels(settings: DataSettings, data: Labelled) -> Labelled:
    """Clusters of about one size, by which the other parts are checked before any old vector is there."""
    if settings.clusters is None:
        return data
    if settings.clusters > len(data):
        raise SettingsError(
            f"data.clusters: {settings.clusters} clusters are more than the {len(data)} items there are"
        )
    return Relabelled(data, np.arange(len(data)) % settings.clusters, cluster_names(settings.clusters))


def _asked_for(settings: TrainingSettings) -> bool:
    """Whether weights are to be found; clusters are of the old model's own vectors, so they cannot say how it goes."""
    comparable = "old model" in record_of(settings.objective.name).needs or settings.objective.name == "hoc"
    return settings.balanced and settings.old is not None and settings.data.clusters is None and comparable


def _batch_size(training: dict[str, Any]) -> int:
    size = training.get("batch_size", CompatibleSettings.__dataclass_fields__["batch_size"].default)
    return size if isinstance(size, int) else 1
