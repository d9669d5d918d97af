"""From a settings file to a trained model and its upgrade: the work of ``embridge train``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embridge.adapters.base import normalized
from embridge.adapters.upgrade import MANIFEST, Upgrade
from embridge.atomic_write import refuse_foreign_folder
from embridge.backbones.saved import CONFIG
from embridge.errors import InvalidInput, SettingsError
from embridge.jobs.models import Models
from embridge.jobs.training_parts import Items, OtherModel, made_backbone, made_objective, made_training, read_items
from embridge.progress import Progress, silent
from embridge.settings.training import DataSettings, TrainingSettings
from embridge.training.compatible.held_out_items import HeldOut, nearest_is_right
from embridge.training.compatible.labelled import Labelled, Rows, hold_out
from embridge.training.compatible.pseudo_labels import Relabelled, cluster_names, pseudo_labels
from embridge.training.compatible.start import Start
from embridge.training.compatible.trained import Trained
from embridge.training.lightning.run import Run
from embridge.training.objectives import OBJECTIVES, ObjectiveRecord, objective_settings, record_of

__all__ = ["TrainedResult", "train_model"]


@dataclass(frozen=True, slots=True, eq=False)
class TrainedResult:
    """What `train_model` made: the model, its upgrade where there is an old model, and the share of held-out items whose
    nearest one is of their class, by pair of query model and gallery model. clusters: how many stand in the place of
    classes, None where there are classes; the shares favour the old model then, whose clusters they are."""

    trained: Trained
    upgrade: Upgrade | None
    nearest: dict[str, float]
    clusters: int | None = None

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The shares, for people."""
        what = "nearest is of its " + ("class" if self.clusters is None else "cluster, as the old model groups them")
        return ["queries/gallery", what], [[k, f"{v:.3f}"] for k, v in self.nearest.items()]

    @property
    def sentence(self) -> str:
        """One line for people."""
        made = self.trained.provenance
        losses = made.figures["losses"]
        fell = f"loss {losses[0]:.3f} at first, {losses[-1]:.3f} in the end" if losses else "no loss"
        best = f"; of step {made.figures['best_step']}, the best" if "best_step" in made.figures else ""
        return f"{made.method} on {made.data}; {made.figures['steps']} steps, {fell}{best}"

    def to_dict(self) -> dict[str, Any]:
        """What ``embridge train --json`` prints."""
        made = self.trained.provenance
        spaces = {"new": self.trained.space} | ({} if self.upgrade is None else {"old": self.upgrade.old_space})
        said: dict[str, Any] = {"schema": "embridge.train/1", "method": made.method, "data": made.data}
        said |= {side: space.to_dict() | {"id": space.id} for side, space in spaces.items()}
        return said | {"figures": dict(made.figures), "nearest": self.nearest, "clusters": self.clusters}


def train_model(settings: TrainingSettings, *, progress: Progress = silent) -> TrainedResult:
    """Train the new model, and write its folder and that of its upgrade; without an old model, the first alone.

    A run that was stopped goes on from what is in the cache: the old model's vectors, and the last checkpoint.

    Raises `SettingsError` for settings that do not fit together, and `InvalidInput` for data that cannot be used or a
    folder of other things in the model's or the upgrade's place, before any work.
    """
    _check_places(settings)
    _check_named(settings)
    items = read_items(settings.data)
    plan = _Plan(settings, items, progress)
    trained = plan.run()
    names = {"new": f"trained:{settings.model}"} if items.data.side is not None else {}
    if settings.old is not None and settings.old.encoder is not None:
        names["old"] = settings.old.encoder
    made = trained.provenance
    trained = replace(trained, provenance=replace(made, settings={**made.settings, **plan.labels}, encoders=names))
    upgrade = None if plan.old is None else trained.upgrade(plan.old.space, source=items.source)
    trained.save(settings.model)
    if upgrade is not None:
        upgrade.save(settings.upgrade)
    return TrainedResult(trained, upgrade, plan.measured(trained, upgrade), settings.data.clusters)


class _Plan:
    """The parts of a training, checked against each other on stand-ins before anything is encoded."""

    def __init__(self, settings: TrainingSettings, items: Items, progress: Progress) -> None:
        self._settings, self._items, self._progress = settings, items, progress
        self._cache = settings.cache or settings.model.parent / ".embridge-cache"
        self._train, self._held = _parts(settings, _stand_in_labels(settings.data, items.data))
        self._training = made_training(settings, self._train)
        models = Models(progress)
        self.old = None if settings.old is None else OtherModel("old", settings.old, items, models)
        self._ancestors = [
            OtherModel(f"ancestors.{number}", version, items, models)
            for number, version in enumerate(settings.ancestors)
        ]
        spaces = [model.space for model in (*self._ancestors, self.old) if model is not None]
        if len(set(spaces)) < len(spaces):
            raise SettingsError(
                f"ancestors: each is another model, and none is the old one; came {list(map(str, spaces))}"
            )
        given = settings.paragon
        self._paragon = None if given is None else OtherModel("paragon", given, items, models)
        self._start(OtherModel.stand_in)

    @property
    def labels(self) -> dict[str, Any]:
        """What the provenance says of labels that are clusters."""
        clusters = self._settings.data.clusters
        return (
            {}
            if clusters is None or self.old is None
            else {"labels": {"clusters": clusters, "of": str(self.old.space)}}
        )

    def run(self) -> Trained:
        clusters = self._settings.data.clusters
        if clusters is not None and self.old is not None:
            found = pseudo_labels(self.old.vectors(self._cache), clusters, seed=self._settings.seed)
            self._train, self._held = _parts(
                self._settings, Relabelled(self._items.data, found, cluster_names(clusters))
            )
        start = self._start(lambda model: model.vectors(self._cache))
        return self._training.fit(
            start.data,
            start.network,
            start.objective,
            held_out=start.held_out,
            seed=start.seed,
            run=Run(cache=self._cache, progress=self._progress),
        )

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
        found = {"new/new": nearest_is_right(new, new, labels)}
        if upgrade is None or self.old is None:
            return found
        old = self.old.vectors(self._cache)[self._held.rows]
        bridged = normalized(upgrade.bridge.apply(new))
        pairs = {"old/old": nearest_is_right(old, old, labels), "new/old": nearest_is_right(bridged, old, labels)}
        return pairs | found

    def _start(self, vectors_of: Callable[[OtherModel], np.ndarray]) -> Start:
        """All parts, made of these vectors of the other models: the same seed, the same weights."""
        settings, train, held = self._settings, self._train, self._held
        old, paragon = (None if m is None else _of(train, vectors_of(m)) for m in (self.old, self._paragon))
        ancestors = [_of(train, vectors_of(model)) for model in self._ancestors]
        objective = made_objective(settings, train, old, paragon, ancestors)
        backbone = made_backbone(settings, train, objective.feature_dim)
        beside = None if held is None or self.old is None else _of(held, vectors_of(self.old))
        held_out = None if held is None else HeldOut(held, beside)
        return Start(train, backbone, objective, held_out, settings.seed)


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


def _check_places(settings: TrainingSettings) -> None:
    """Raise `InvalidInput` where the model's or the upgrade's folder holds something else."""
    refuse_foreign_folder(settings.model, marker=CONFIG)
    refuse_foreign_folder(settings.upgrade, marker=MANIFEST)
    file = settings.model / CONFIG  # other libraries' models have a file of that name too
    if file.exists():
        try:
            ours = str(json.loads(file.read_text(encoding="utf-8"))["format"]).startswith("embridge trained model")
        except (ValueError, KeyError, TypeError):
            ours = False
        if not ours:
            raise InvalidInput(f"{settings.model} holds another model and is not overwritten; choose another folder")


def _check_named(settings: TrainingSettings) -> None:
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
    _check_asked_for(settings, name, record)


def _check_asked_for(settings: TrainingSettings, name: str, record: ObjectiveRecord) -> None:
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
