"""Compatible training on CIFAR-100 in steps: versions of 25, 50, 75 and 100 classes, each trained beside the one before.

Images, backbone and recipe are those of ``cifar100_training``; a version sees the images of its own classes alone, and each
starts from weights of its own. All are judged on test images of all classes, which are both the queries and the gallery (no
image finds itself). A run is one method and seed: queries of each version on the galleries of all before it, where the bridges
between are put one after the other, and on its own; with the share of cross-tests above the self-test of the gallery's version
(average compatibility, a tie fails) and the mean of all tests (average accuracy). The first version is the same for all methods.
The independent versions are compared with no bridge. OCA and BT² match the whole vector of the version before and add 16 dims
to it each time. Cross-tests are also told apart by the class of the query: one that both versions were trained on, one that only
the later was, or one that neither was. A version that is done is kept in the cache, and read again from there. For the options,
see ``protocols/training.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.data.cifar100 import load
from benchmarks.data.labelled import Seen, first_classes
from benchmarks.protocols.training import Bench, digest, main, rows_of
from embridge import Embeddings, Upgrade
from embridge.adapters import Identity, Prefix, Provenance
from embridge.adapters.chain import Chain
from embridge.adapters.upgrade import MANIFEST
from embridge.backbones.saved import TrainedModel
from embridge.evaluation import LabelRelevance, Report, Scope, Side, average_accuracy, average_compatibility
from embridge.evaluation.chains import chain_reports, compatibility_matrices
from embridge.training.compatible.old_models import old_model
from embridge.training.lightning.run import Run
from embridge.training.objectives import OBJECTIVES
from embridge.training.objectives.base import Objective, OldModel

Rows = list[dict[str, Any]]
Reports = Sequence[tuple[int, int, Report]]
KNOWN_TO = ("both", "the later", "neither")


@dataclass(frozen=True)
class Version(Bench):
    """One step: a new model beside the version before it, the last of those before; the first has none."""

    models: tuple[TrainedModel, ...] = ()

    @property
    def before(self) -> TrainedModel | None:
        return self.models[-1] if self.models else None

    def model(self, how: Mapping[str, Any], seed: int) -> TrainedModel:
        """The version before, where the old model is asked for."""
        return self.before if self.before is not None and how["name"] == "old" else super().model(how, seed)

    def old_model(self, method: Mapping[str, Any], seed: int) -> OldModel:
        """With the versions before it, where the method is held to all of them."""
        old, data = super().old_model(method, seed), self.old.train
        if not method.get("held_to_all"):
            return old
        before = [
            old_model(data, rows_of(model, data), known=list(data.classes)[: self.config["steps"][number]])
            for number, model in enumerate(self.models[:-1])
        ]
        return replace(old, ancestors=before)

    def objective(self, method: Mapping[str, Any], seed: int) -> Objective:
        if (
            OBJECTIVES[method["make"]].length == "paragon + extra" and self.before is not None
        ):  # not the old one and extra
            longer = self.before.dim + method["settings"]["extra"] - self.config["dim"]
            method = {**method, "settings": method["settings"] | {"extra": longer}}
        return super().objective(method, seed)

    def version(self, method: Mapping[str, Any], seed: int) -> tuple[TrainedModel, Upgrade | None]:
        """The model, and its upgrade on the version before; trained where it is not kept yet."""
        if self.before is None:
            return self.independent(seed), None
        if method["make"] == "independent":
            model = self.independent(seed)
            bridge = Prefix(model.space, self.before.space)
            return model, Upgrade(Identity(model.space, model.space), bridge, Provenance("independent"))
        folder = self.kept / f"{method['name']}-{digest(method)}-{seed}"
        if not (folder / "upgrade" / MANIFEST).exists():
            objective = self.objective(method, seed)
            backbone = self.backbone(self.new.train, objective.feature_dim, seed)
            training, run = self.training(method["name"]), folder.with_suffix(".run")
            trained = training.fit(self.new.train, backbone, objective, seed=seed, run=Run(folder=run))
            trained.save(folder, old=self.before.space)
        return TrainedModel.load(folder)[0].eval(), Upgrade.load(folder / "upgrade")


class Steps(Bench):
    """All versions of a method, one after the other, and every one of them on the galleries up to its own."""

    def run(self, method: Mapping[str, Any], seed: int) -> Rows:
        models, links = self.versions(method, seed)
        labels = [self.new.judged.classes[label] for label in self.new.judged.labels]
        names = [f"item {i}" for i in range(len(labels))]
        named = dict(zip(names, labels, strict=True))
        seen = [Embeddings.of(rows_of(model, self.new.judged), model.space, names) for model in models]
        scope = Scope(metrics=self.config["metrics"], directions=[""], seed=seed, unjudged="skip")
        sides = [Side(rows, rows) for rows in seen]
        reports = list(chain_reports(Chain(links), sides, LabelRelevance(named, named), scope=scope))
        about = {"method": method["name"], "seed": seed, "direction": ""}
        dims = [{"setting": {"queries": t}, "cell": "", **_exactly("dim", m.dim)} for t, m in enumerate(models, 1)]
        groups = self.groups(reports)
        return [about | row for row in (*_tests(reports), *groups, *_figures(reports), *dims)]

    def groups(self, reports: Reports) -> Rows:
        """Cross-tests and the older version's own search by the first metric, apart by who was trained on the query's class."""
        metric, steps, rows = self.config["metrics"][0], self.config["steps"], []
        for t, s, report in reports:
            for classes, (low, high) in zip(KNOWN_TO, pairwise([0, steps[s], steps[t], steps[-1]]), strict=True):
                among = (self.new.judged.labels >= low) & (self.new.judged.labels < high)
                setting = {"queries": t + 1, "gallery": s + 1, "classes": classes}
                for cell in ("old/old", "new/old") if among.any() else ():
                    interval = report.interval("", cell, metric, among=among)
                    figure = {"value": interval.value, "low": interval.low, "high": interval.high}
                    rows.append({"setting": setting, "cell": cell, "metric": metric} | figure)
        return rows

    def versions(self, method: Mapping[str, Any], seed: int) -> tuple[list[TrainedModel], list[Upgrade]]:
        """The models, and the upgrade of each but the first on the one before it."""
        models: list[TrainedModel] = []
        links: list[Upgrade] = []
        for number, (known, count) in enumerate(pairwise([0, *self.config["steps"]])):
            seen = Seen(first_classes(self.new.train, count), self.new.judged)
            config, kept = {**self.config, "old_classes": known}, self.kept / f"{count} classes"
            step = Version(config, seen, seen, kept, tuple(models))
            model, link = step.version(method, 100 * seed + number)
            models.append(model)
            links += [] if link is None else [link]
        return models, links


def _tests(reports: Reports) -> Rows:
    """Self-tests and cross-tests; versions are counted from 1."""
    rows = []
    for t, s, report in reports:
        cells = [("new/old", t, s)] + ([("new/new", t, t)] if s == t - 1 else []) + [("old/old", 0, 0)] * (t == 1)
        for cell, queries, gallery in cells:
            for metric in report.metrics:
                interval = report.interval("", cell, metric)
                row = {"setting": {"queries": queries + 1, "gallery": gallery + 1}, "metric": metric}
                row |= {"cell": "new/old" if cell == "new/old" else "new/new"}
                row |= {"value": interval.value, "low": interval.low, "high": interval.high}
                if cell == "new/old":
                    row["compatible"] = report.compatible("", metric).answer
                rows.append(row)
    return rows


def _figures(reports: Reports) -> Rows:
    """What sums up a matrix."""
    rows = []
    for metric, matrix in compatibility_matrices(reports)[""].items():
        figures = {
            "average_compatibility": average_compatibility(matrix, ties="fail"),
            "average_accuracy": average_accuracy(matrix),
        }
        rows += [{"setting": {}, "cell": "", **_exactly(f"{name}:{metric}", v)} for name, v in figures.items()]
    return rows


def _exactly(metric: str, value: float) -> dict[str, Any]:
    return {"metric": metric, "value": value, "low": value, "high": value}


if __name__ == "__main__":
    main(Path(__file__).parent.name, load, description=__doc__, kind=Steps)
