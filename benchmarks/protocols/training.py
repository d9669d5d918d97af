"""Train an old model, a free new one and compatible ones with one recipe, and judge them: what benchmarks of training share.

Each run is one method and seed with a JSON of its own under ``results/NAME``. Runs that are there already are skipped, and
one that was stopped goes on: old models, free ones and checkpoints are kept under ``EMBRIDGE_CACHE``. ``--part validation``
measures on other training items instead, and writes under the cache: settings are chosen there. ``--only METHOD`` runs
one method; ``--seeds N`` so many seeds at most; ``--quick`` is a smoke with small sizes, which writes to the cache alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.data.labelled import Items, Seen, first_classes
from benchmarks.protocols.cells import report_rows
from benchmarks.record import FOLDER, read_config, write_result
from embridge import Embeddings, Upgrade
from embridge.adapters import Adapter, Identity, Prefix, Provenance
from embridge.backbones.base import Backbone
from embridge.backbones.resnet import SmallResNet
from embridge.backbones.saved import TrainedModel
from embridge.backbones.vectors import VectorHead
from embridge.encoders.trained import TrainedEncoder
from embridge.evaluation import LabelRelevance, Report, Scope, Side, bootstrap_mean, evaluate
from embridge.space import Space
from embridge.training.compatible.image_data import ImageArrays
from embridge.training.compatible.labelled import LabelledVectors
from embridge.training.compatible.old_models import old_model
from embridge.training.compatible.trained import Trained
from embridge.training.compatible.trainer import CompatibleTraining
from embridge.training.lightning.run import Run
from embridge.training.objectives import OBJECTIVES, make_objective
from embridge.training.objectives.base import Objective, OldModel

__all__ = ["Bench", "digest", "kept_of", "main", "quick_sized", "rows_of"]

_ROWS = 4_096
_OF_NO_MODEL = ("methods", "quick", "seeds", "metrics", "flips", "validation_per_class", "test_per_class")


@dataclass(frozen=True)
class Bench:
    """The items as the old model and as the new one sees them (images: the same), and where models are kept.

    The old model is trained on the first ``old_classes`` of the classes.
    """

    config: Mapping[str, Any]
    old: Seen
    new: Seen
    kept: Path

    @property
    def known(self) -> list[str]:
        return list(self.old.train.classes)[: self.config["old_classes"]]

    def training(self, name: str) -> CompatibleTraining:
        return CompatibleTraining(**self.config["training"], name=name)

    def backbone(self, data: Items, feature_dim: int, seed: int, *, old: bool = False) -> Backbone:
        settings = self.config["backbone"] | (self.config.get("old_backbone", {}) if old else {})
        if isinstance(data, LabelledVectors):
            return VectorHead(data.vectors.shape[1], feature_dim, **settings, seed=seed)
        return SmallResNet(feature_dim, **settings, seed=seed)

    def old_of(self, method: Mapping[str, Any]) -> dict[str, Any]:
        """How the old model of a method is made: as the independent one, unless the method asks for another (``old``)."""
        return self._alone("old") | method.get("old", {})

    def drawn(self, seed: int) -> int:
        """The seed of new models, so that these are not drawn as the old one is: a classifier that starts at the same numbers
        makes models alike."""
        return seed + int(self.config.get("new_seeds_from", 0))

    def _alone(self, name: str) -> dict[str, Any]:
        settings = {"dim": self.config["dim"], **self.config["independent"]}
        return {"name": name, "make": "independent", "settings": settings}

    def fitted_alone(self, how: Mapping[str, Any], seed: int) -> tuple[Trained, Objective]:
        """A model without an old one, with its objective; read again where it was trained. All but ``independent`` are old."""
        old = how["name"] != "independent"
        data = first_classes(self.old.train, self.config["old_classes"]) if old else self.new.train
        drawn, folder = seed if old else self.drawn(seed), self.kept / f"{how['name']}-{seed}.run"
        torch.manual_seed(drawn)
        objective = make_objective(how["make"], None, len(data.classes), how["settings"])
        backbone = self.backbone(data, objective.feature_dim, drawn, old=old)
        return self.training(how["name"]).fit(data, backbone, objective, seed=drawn, run=Run(folder=folder)), objective

    def model(self, how: Mapping[str, Any], seed: int) -> TrainedModel:
        """The same, trained when it is first asked for."""
        folder = self.kept / f"{how['name']}-{seed}"
        if not (folder / "config.json").exists():
            self.fitted_alone(how, seed)[0].save(folder)
        return TrainedModel.load(folder)[0].eval()

    def independent(self, seed: int) -> TrainedModel:
        return self.model(self._alone("independent"), seed)

    def old_model(self, method: Mapping[str, Any], seed: int) -> OldModel:
        """What objectives ask of the old model; its own classifier only for the one that wants it."""
        weights, how = None, self.old_of(method)
        rows = rows_of(self.model(how, seed), self.old.train)
        if "old classifier" in OBJECTIVES[method["make"]].needs:
            weights = np.zeros((len(self.old.train.classes), rows.shape[1]), np.float32)
            learnt = self.fitted_alone(how, seed)[1].get_parameter("classifier.weight")
            weights[: len(learnt)] = learnt.detach().numpy()
        return old_model(self.old.train, rows, known=self.known, classifier=weights)

    def objective(self, method: Mapping[str, Any], seed: int) -> Objective:
        extra: dict[str, Any] = {"labels": torch.from_numpy(self.new.train.labels)}
        if "paragon" in OBJECTIVES[method["make"]].needs:
            extra["paragon"] = torch.from_numpy(rows_of(self.independent(seed), self.new.train))
        old = self.old_model(method, seed)
        torch.manual_seed(self.drawn(seed))
        return make_objective(method["make"], old, len(self.new.train.classes), method.get("settings", {}), **extra)

    def run(self, method: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
        """Train, then measure against the old model."""
        old = self.model(self.old_of(method), seed)
        if method["make"] == "independent":
            new = self.independent(seed)
            return self.measured(method, seed, (old, new), Prefix(new.space, old.space))
        objective = self.objective(method, seed)
        drawn, folder = self.drawn(seed), self.kept / f"{method['name']}-{seed}.run"
        backbone = self.backbone(self.new.train, objective.feature_dim, drawn)
        trained = self.training(method["name"]).fit(
            self.new.train, backbone, objective, seed=drawn, run=Run(folder=folder)
        )
        return self.measured(method, seed, (old, trained.model.eval()), trained.make_bridge(trained.space, old.space))

    def measured(
        self, method: Mapping[str, Any], seed: int, models: tuple[TrainedModel, TrainedModel], bridge: Adapter
    ) -> list[dict[str, Any]]:
        """Self-test, cross-test and status quo, what flipped, and how many numbers each model holds."""
        old, new = (_side(m, seen.judged) for m, seen in zip(models, (self.old, self.new), strict=True))
        labels = [self.new.judged.classes[label] for label in self.new.judged.labels]
        named = dict(zip(old.queries.ids, labels, strict=True))
        space: Space = models[1].space
        upgrade = Upgrade(Identity(space, space), bridge, Provenance(method["make"]))
        scope = Scope(metrics=self.config["metrics"], directions=[""], seed=seed, unjudged="skip")
        report = evaluate(old, new, upgrade, LabelRelevance(named, named), scope=scope)
        rows = report_rows(report, {"name": method["name"]}, seed=seed, seconds=0, controls=True)
        for row in rows:
            row.pop("seconds", None)  # of a run that may have been stopped and taken up again
            row["method"] = method["name"] if row["cell"] == "new/new" else row["method"]
        about = {"seed": seed, "setting": {}, "direction": ""}
        rows += [about | {"method": method["name"]} | row for row in _flips(report, self.config["flips"])]
        for name, model in zip(("old", method["name"]), models, strict=True):
            count = sum(p.numel() for p in model.parameters())
            figure = {"metric": "parameters", "value": count, "low": count, "high": count}
            rows.append(about | {"method": name, "cell": "", **figure})
        return rows


def rows_of(model: TrainedModel, data: Items) -> np.ndarray:
    """Unit vectors of the items, not augmented."""
    if isinstance(data, ImageArrays):
        return TrainedEncoder(model, device="cpu").encode(data.images, modality="image")
    parts = torch.from_numpy(data.vectors).split(_ROWS)
    with torch.inference_mode():
        return torch.cat([model(part) for part in parts]).numpy()


def _side(model: TrainedModel, data: Items) -> Side:
    rows = Embeddings.of(rows_of(model, data), model.space, [f"item {i}" for i in range(len(data))])
    return Side(rows, rows)


def _flips(report: Report, metric: str) -> list[dict[str, Any]]:
    """Shares of queries that were right and are now wrong on the old gallery, and the reverse."""
    was, now = (report.right("", cell, metric) for cell in ("old/old", "new/old"))
    rows = []
    for name, changed in (("negative", was > now), ("positive", now > was)):
        interval = bootstrap_mean(changed.astype(np.float64), seed=report.seed)
        figure = {"value": interval.value, "low": interval.low, "high": interval.high}
        rows.append({"cell": "new/old", "metric": f"{name}_flip_rate:{metric}", **figure})
    return rows


def main(
    name: str,
    load: Callable[[Mapping[str, Any], str], tuple[Seen, Seen]],
    *,
    description: str | None,
    kind: Callable[..., Bench] = Bench,
) -> None:
    """Every run of ``NAME/settings.toml`` that is not there yet. ``load`` gives what the old model sees and what the new one
    does; ``kind`` makes what runs of it."""
    options = _options(description)
    torch.set_num_threads(1)
    config = read_config(name)
    config = quick_sized(config) if options.quick else config
    kept = kept_of(name, config, quick=options.quick)
    if options.quick:
        shutil.rmtree(kept, ignore_errors=True)
    own = options.part == "test" and not options.quick
    results = FOLDER / "results" / name if own else kept / options.part
    bench = kind(config, *load(config, options.part), kept)
    most = max(method.get("seeds", config["seeds"]) for method in config["methods"])
    for seed in range(most if options.seeds is None else options.seeds):
        for method in config["methods"]:
            path = results / f"{method['name']}-{seed}.json"
            due = options.only in (None, method["name"]) and seed < method.get("seeds", config["seeds"])
            described = {key: value for key, value in config.items() if key not in ("methods", "quick")}
            described |= {"method": method, "part": options.part}
            if due and path.exists():
                _require_same(path, described)
            elif due:
                path.parent.mkdir(parents=True, exist_ok=True)
                rows = bench.run(method, seed)
                write_result(name, described, rows, path=path)
                print(path.stem, json.dumps(_short(rows)), file=sys.stderr)


def kept_of(name: str, config: Mapping[str, Any], *, quick: bool = False) -> Path:
    """Where the models of a benchmark are kept, which all that were made with one recipe share."""
    cache = Path(os.environ.get("EMBRIDGE_CACHE") or Path.home() / ".cache" / "embridge-benchmarks") / name
    recipe = {key: value for key, value in config.items() if key not in _OF_NO_MODEL}
    return cache / ("quick" if quick else f"full-{digest(recipe)}")


def digest(of: Mapping[str, Any]) -> str:
    """A name for settings, so that models made with others are not taken for theirs."""
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:12]


def _require_same(path: Path, config: Mapping[str, Any]) -> None:
    """Stop at a finished run with other settings."""
    earlier = json.loads(path.read_text())["config"]
    differ = sorted(key for key in (earlier.keys() | config.keys()) - {"seeds"} if earlier.get(key) != config.get(key))
    if differ:
        raise SystemExit(f"{path}: measured with other settings ({', '.join(differ)}); remove it, or set them back")


def _options(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--part", choices=("test", "validation"), default="test")
    parser.add_argument("--only", help="the name of one method")
    parser.add_argument("--seeds", type=int)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to see that it runs; writes to the cache alone"
    )
    return parser.parse_args()


def quick_sized(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same with few items, one epoch and one seed."""
    return {**config, **config["quick"], "training": config["training"] | config["quick"]["training"], "seeds": 1}


def _short(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {f"{r['cell']} {r['metric']}": round(r["value"], 4) for r in rows if r["cell"] in ("new/old", "new/new")}
