"""The parts of a training, put together and run: what `embridge.jobs.train` does once its libraries are there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from embridge.adapters.base import normalized
from embridge.adapters.upgrade import Upgrade
from embridge.errors import InvalidInput, SettingsError
from embridge.jobs._other_models import OtherModel
from embridge.jobs._training_checks import require_fitting, require_free_places
from embridge.jobs._training_control import Control, Part, control_of
from embridge.jobs._training_items import Items, read_array, read_items
from embridge.jobs._training_parts import OtherVectors, backbone_of, objective_of, trainer_of
from embridge.jobs._training_split import TrainingSplit, stand_in_labels
from embridge.jobs.models import Models
from embridge.jobs.trained_result import TrainedResult
from embridge.progress import Progress
from embridge.settings.training import ObjectiveSettings, TrainingSettings
from embridge.training.compatible.held_out_items import HeldOut, right_of_each
from embridge.training.compatible.labelled import Labelled, Rows
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
    found, control = plan.found(trained, upgrade), plan.control(trained)
    return TrainedResult(trained, upgrade, found, settings.objective.name, control, settings.data.clusters)


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
        self._split = TrainingSplit.of(settings, stand_in_labels(settings.data, items.data))
        self._training = trainer_of(settings, self._split)

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
            self._split = TrainingSplit.of(self._settings, relabelled)
        start = self._start(lambda model: model.vectors(self._cache))
        return self._training.train(start, Run(cache=self._cache, progress=self._progress))

    def found(self, trained: Trained, upgrade: Upgrade | None) -> dict[str, np.ndarray]:
        """Whether the nearest other one is of the right class, for each held-out item."""
        judged = self._split.judged
        if judged is None:
            return {}
        labels, new = judged.labels, self._embedded(trained, judged)
        own = {"new/new": right_of_each(new, new, labels)}
        if upgrade is None or self.old is None:
            return own
        old = self.old.vectors(self._cache)[judged.rows]
        bridged = normalized(upgrade.bridge.apply(new))
        return {"old/old": right_of_each(old, old, labels), "new/old": right_of_each(bridged, old, labels)} | own

    def control(self, trained: Trained) -> Control | None:
        """The same network trained alone, with bridges after it, where the settings ask for it and there is what it takes."""
        settings = self._settings
        asked = settings.control and settings.objective.name != "independent" and settings.data.clusters is None
        judged = self._split.judged
        if not asked or self.old is None or judged is None:
            return None
        parts = [part for part in (self._split.alone, judged) if isinstance(part, Rows)]
        if self._paragon is None:
            alone = self._alone(trained.space.dim)
            space, rows = alone.space, [self._embedded(alone, part) for part in parts]
        else:
            paragon = self._paragon.vectors(self._cache)
            space, rows = self._paragon.space, [paragon[part.rows] for part in parts]
        old = self.old.vectors(self._cache)
        trained_on, held_out = (
            Part.of(part.rows, new, space, old[part.rows], self.old.space)
            for part, new in zip(parts, rows, strict=True)
        )
        try:
            return control_of(trained_on, held_out, judged.labels, seed=settings.seed)
        except InvalidInput:  # too few items for a bridge
            return None

    def _alone(self, dim: int) -> Trained:
        """The same network, trained as long on the same items, with nothing that holds it to the old model."""
        settings = self._settings.model_copy(
            update={
                "objective": ObjectiveSettings(name="independent", settings={"dim": dim}),
                "old": None,
                "ancestors": (),
            }
        )
        train, judged = self._split.alone, self._split.judged
        objective = objective_of(settings, train, OtherVectors(None, None, (), None))
        backbone = backbone_of(settings, train, objective.feature_dim)
        start = Start(train, backbone, objective, None if judged is None else HeldOut(judged), settings.seed)
        training = replace(self._training, compatibility="fixed")
        return training.train(start, Run(cache=self._cache, progress=self._progress))

    def _embedded(self, trained: Trained, part: Rows) -> np.ndarray:
        items = part.items(np.arange(len(part)))
        if self._items.source is not None:
            return trained.embed(np.asarray(items))
        return trained.encoder(device=self._training.device).encode(items, modality="image")

    def _start(self, vectors_of: Callable[[OtherModel], np.ndarray]) -> Start:
        """All parts, made of these vectors of the other models: the same seed, the same weights."""
        settings, train = self._settings, self._split.train
        held = self._split.judged if self._split.watched is None else self._split.watched
        old, paragon = (None if m is None else _of(train, vectors_of(m)) for m in (self.old, self._paragon))
        ancestors = tuple(_of(train, vectors_of(model)) for model in self._ancestors)
        others = OtherVectors(old, paragon, ancestors, self._classifier)
        objective = objective_of(settings, train, others, found=self._split.watched is not None)
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
