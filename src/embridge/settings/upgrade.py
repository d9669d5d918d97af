"""One YAML file says what to fit and what to evaluate; unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from embridge.encoders import provider_of
from embridge.evaluation import MORE_CELLS, Scope
from embridge.evaluation.gates import FLIP_RATES, Gate, parse_gate
from embridge.evaluation.measures import FULL, measure
from embridge.evaluation.report import BACKFILLED, OLD, UPGRADED
from embridge.settings.reading import Strict, read_settings
from embridge.settings.vectors import VectorsSettings

__all__ = ["EvaluateSettings", "FitSettings", "ModelSettings", "Settings", "load_settings"]


class ModelSettings(VectorsSettings):
    """A model by what each use of it needs: captions to fit by, queries and a gallery to judge by."""

    files = ("captions", "queries", "gallery")

    key_variable: str | None = None
    dim: int | None = Field(None, ge=1)
    captions: Path | None = None
    queries: Path | None = None
    gallery: Path | None = None

    @model_validator(mode="after")
    def _behind_http(self) -> ModelSettings:
        over_http = self.encoder is not None and provider_of(self.encoder).over_http
        if (self.key_variable or self.dim) and not over_http:
            raise ValueError("key_variable and dim are of an encoder behind HTTP (http:MODEL@https://HOST/v1)")
        return self


class FitSettings(Strict):
    """How the bridge is fitted."""

    renamed: ClassVar[dict[str, str]] = {"pairs": "finetune_pairs"}

    captions: Path | None = None
    column: str | None = None
    weigh_repeats: bool = False
    cache: Path | None = None
    method: str = "choose"
    settings: dict[str, Any] = Field(default_factory=dict)
    judged: Path | None = None
    metrics: tuple[str, ...] = Field(default=("recall_at_10",), min_length=1)
    validation_pairs: Path | None = None
    finetune_pairs: Path | None = None
    finetune: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0


class EvaluateSettings(Strict):
    """What the upgrade is judged by, what is measured, and what must hold."""

    renamed: ClassVar[dict[str, str]] = {"pairs": "judged"}

    judged: Path | None = None
    qrels: Path | None = None
    labels: Path | None = None
    neighbours: int | None = Field(default=None, ge=1)
    clicks: str | None = None
    slices: tuple[str, ...] = ()
    metrics: tuple[str, ...] = Field(default=("recall_at_1", "recall_at_5", "recall_at_10"), min_length=1)
    cells: tuple[str, ...] | None = None
    cascade_items: int = Field(default=100, ge=1)
    curve: bool = False
    orders: dict[str, Path] = Field(default_factory=dict)
    gates: tuple[str, ...] = ()
    precisions: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.5, 0.75, 0.9)
    thresholds: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = ()
    unjudged: Literal["skip", "zero", "error"] = "skip"
    seed: int = 0

    @model_validator(mode="after")
    def _one_truth(self) -> EvaluateSettings:
        given = [n for n in ("judged", "qrels", "labels", "neighbours") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"say what is right by exactly one of judged, qrels, labels, neighbours; came {given}")
        if (self.clicks or self.slices) and self.judged is None and (self.clicks or self.labels is None):
            raise ValueError(
                "clicks names a column of the judged pairs, and slices name columns of these or of the labels"
            )
        return self

    @model_validator(mode="after")
    def _known(self) -> EvaluateSettings:
        scope = Scope(metrics=self.metrics, cells=self.cells or ())
        cells = (OLD, UPGRADED, BACKFILLED, "naive", *(MORE_CELLS if self.cells is None else self.cells))
        for gate in map(parse_gate, self.gates):
            self._require_measured(gate, scope.deepest, cells)
        return self

    def _require_measured(self, gate: Gate, deepest: int, cells: tuple[str, ...]) -> None:
        """Noticed now, not after hours of encoding."""
        if gate.metric not in FLIP_RATES:
            wanted = measure(gate.metric)
            if wanted.k > deepest or (gate.metric == FULL and FULL not in self.metrics):
                kept = (
                    f"hits are kept down to {deepest}, the largest k of metrics" if wanted.k else "it is not measured"
                )
                raise ValueError(f"gate {gate.text!r}: {kept}; put {gate.metric} into metrics, before the last")
        for cell in (gate.cell, gate.against):
            if cell is not None and cell not in cells:
                raise ValueError(f"gate {gate.text!r}: there is no cell {cell!r}; there are {', '.join(cells)}")


class Settings(Strict):
    """The whole file. Paths, those of models' folders too, are relative to its folder."""

    renamed: ClassVar[dict[str, str]] = {"native": "new_without_lora"}

    old: ModelSettings
    new: ModelSettings
    new_without_lora: ModelSettings | None = None
    fit: FitSettings = FitSettings()
    evaluate: EvaluateSettings | None = None
    upgrade: Path = Path("upgrade")
    report: Path = Path("report.json")

    @field_validator("report")
    @classmethod
    def _json(cls, value: Path) -> Path:
        if value.suffix != ".json":
            raise ValueError(
                f"a report's name ends in .json, for the files beside it are named after it; came {value.name}"
            )
        return value

    def with_fit(self, *, method: str | None = None, finetune_pairs: Path | None = None) -> Settings:
        """The same settings with another method, which has its own defaults, or other image-text pairs to finetune on."""
        changes: dict[str, Any] = {} if finetune_pairs is None else {"finetune_pairs": finetune_pairs.resolve()}
        if method is not None and method != self.fit.method:
            changes |= {"method": method, "settings": {}}
        return self.model_copy(update={"fit": self.fit.model_copy(update=changes)})


def load_settings(path: Path | str) -> Settings:
    """Read and check a settings file; raises `SettingsError` naming every key that is wrong."""
    return read_settings(path, Settings)
