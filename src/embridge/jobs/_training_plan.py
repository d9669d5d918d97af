"""The parts of a training, put together and run: what `embridge.jobs.train` does once its libraries are there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from embridge.adapters.base import normalized
from embridge.adapters.upgrade import Upgrade
from embridge.errors import SettingsError
from embridge.jobs._other_models import OtherModel
from embridge.jobs._training_checks import require_fitting, require_free_places
from embridge.jobs._training_items import Items, read_array, read_items
from embridge.jobs._training_parts import OtherVectors, backbone_of, objective_of, trainer_of
from embridge.jobs.models import Models
from embridge.jobs.trained_result import TrainedResult
from embridge.progress import Progress
from embridge.settings.training import DataSettings, TrainingSettings
from embridge.training.compatible.held_out_items import HeldOut, nearest_is_right
from embridge.training.compatible.labelled import Labelled, Rows, hold_out
from embridge.training.compatible.pseudo_labels import Relabelled, cluster_names, pseudo_labels
from embridge.training.compatible.start import Start
from embridge.training.compatible.trained import Trained
from embridge.training.lightning.run import Run

__all__ = ["run_training"]


def run_training(settings: TrainingSettings, progress: Progress) -> TrainedResult:
    """See `embridge.jobs.train.train_model`."""
    require_free_places(settings)
    require_fitting(settings)
    items = read_items(settings.data)
    plan = _Plan(settings, items, Models(progress))
    trained = plan.run()
    provenance = trained.provenance
    provenance = replace(
        provenance, settings={**provenance.settings, **plan.labels}, encoders=_encoders(settings, items)
    )
    trained = replace(trained, provenance=provenance)
    upgrade = None if plan.old is None else trained.upgrade(plan.old.space, source=items.source)
    trained.save(settings.model)
    if upgrade is not None:
        upgrade.save(settings.upgrade)
    return TrainedResult(trained, upgrade, plan.measured(trained, upgrade), settings.data.clusters)


def _encoders(settings: TrainingSettings, items: Items) -> dict[str, str]:
    """How `embridge.encoders.load` takes both models, where they are encoders."""
    names = {"new": f"trained:{settings.model}"} if items.data.side is not None else {}
    if settings.old is not None and settings.old.encoder is not None:
        names["old"] = settings.old.encoder
    return names


class _Plan:
    """The parts of a training, checked against each other on stand-ins before anything is encoded."""

    def __init__(self, settings: TrainingSettings, items: Items, models: Models) -> None:
        self._settings, self._items, self._progress = settings, items, models.progress
        self._cache = settings.cache or settings.model.parent / ".embridge-cache"
        self._train, self._held = _parts(settings, _stand_in_labels(settings.data, items.data))
        self._training = trainer_of(settings, self._train)

        def other(key: str, model: Any) -> OtherModel | None:
            return None if model is None else OtherModel(key, model, items, models)

        self.old, self._paragon = other("old", settings.old), other("paragon", settings.paragon)
        self._ancestors = [OtherModel(f"ancestors.{n}", one, items, models) for n, one in enumerate(settings.ancestors)]
        _require_different([*self._ancestors, *([] if self.old is None else [self.old])])
        classifier = None if settings.old is None else settings.old.classifier
        self._classifier = None if classifier is None else read_array(classifier, "classifier")
        self._start(OtherModel.stand_in)

    @property
    def labels(self) -> dict[str, Any]:
        """What the provenance says of labels that are clusters."""
        clusters = self._settings.data.clusters
        if clusters is None or self.old is None:
            return {}
        return {"labels": {"clusters": clusters, "of": str(self.old.space)}}

    def run(self) -> Trained:
        clusters = self._settings.data.clusters
        if clusters is not None and self.old is not None:
            labels = pseudo_labels(self.old.vectors(self._cache), clusters, seed=self._settings.seed)
            relabelled = Relabelled(self._items.data, labels, cluster_names(clusters))
            self._train, self._held = _parts(self._settings, relabelled)
        start = self._start(lambda model: model.vectors(self._cache))
        return self._training.train(start, Run(cache=self._cache, progress=self._progress))

    def measured(self, trained: Trained, upgrade: Upgrade | None) -> dict[str, float]:
        """Of the held-out items, the share whose nearest other one is of the right class."""
        if self._held is None:
            return {}
        labels, every = self._held.labels, np.arange(len(self._held))
        items = self._held.items(every)
        if self._items.source is None:
            new = trained.encoder(device=self._training.device).encode(items, modality="image")
        else:
            new = trained.embed(np.asarray(items))
        shares = {"new/new": nearest_is_right(new, new, labels)}
        if upgrade is None or self.old is None:
            return shares
        old = self.old.vectors(self._cache)[self._held.rows]
        bridged = normalized(upgrade.bridge.apply(new))
        pairs = {"old/old": nearest_is_right(old, old, labels), "new/old": nearest_is_right(bridged, old, labels)}
        return pairs | shares

    def _start(self, vectors_of: Callable[[OtherModel], np.ndarray]) -> Start:
        """All parts, made of these vectors of the other models: the same seed, the same weights."""
        settings, train, held = self._settings, self._train, self._held
        old, paragon = (None if m is None else _of(train, vectors_of(m)) for m in (self.old, self._paragon))
        ancestors = tuple(_of(train, vectors_of(model)) for model in self._ancestors)
        objective = objective_of(settings, train, OtherVectors(old, paragon, ancestors, self._classifier))
        backbone = backbone_of(settings, train, objective.feature_dim)
        beside = None if held is None or self.old is None else _of(held, vectors_of(self.old))
        held_out = None if held is None else HeldOut(held, beside)
        return Start(train, backbone, objective, held_out, settings.seed)


def _require_different(versions: list[OtherModel]) -> None:
    spaces = [version.space for version in versions]
    if len(set(spaces)) < len(spaces):
        raise SettingsError(f"ancestors: each is another model, and none is the old one; came {list(map(str, spaces))}")


def _of(part: Labelled, vectors: np.ndarray) -> np.ndarray:
    """The vectors of a part of all items."""
    return vectors[part.rows] if isinstance(part, Rows) else vectors


def _stand_in_labels(settings: DataSettings, data: Labelled) -> Labelled:
    """Clusters of about one size, by which the other parts are checked before any old vector is there."""
    if settings.clusters is None:
        return data
    if settings.clusters > len(data):
        raise SettingsError(
            f"data.clusters: {settings.clusters} clusters are more than the {len(data)} items there are"
        )
    return Relabelled(data, np.arange(len(data)) % settings.clusters, cluster_names(settings.clusters))


def _parts(settings: TrainingSettings, data: Labelled) -> tuple[Labelled, Rows | None]:
    if settings.data.held_out is None:
        return data, None
    return hold_out(data, settings.data.held_out, seed=settings.seed)
