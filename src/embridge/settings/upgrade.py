"""One YAML file says what to fit and what to evaluate; unknown keys are errors."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from embridge.encoders.local import is_path
from embridge.errors import SettingsError
from embridge.evaluation import MORE_CELLS, Scope
from embridge.evaluation.gates import FLIP_RATES, Gate, parse_gate
from embridge.evaluation.measures import FULL, measure
from embridge.evaluation.report import BACKFILLED, OLD, UPGRADED
from embridge.space import Space

__all__ = [
    "EvaluateSettings",
    "FitSettings",
    "ModelSettings",
    "Settings",
    "SpaceSettings",
    "Strict",
    "VectorsSettings",
    "load_settings",
    "read_settings",
    "require_files",
]


_Read = TypeVar("_Read", bound=BaseModel)


class Strict(BaseModel):
    """A section of a settings file, which has the keys that it says and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SpaceSettings(Strict):
    """What vectors in files are of, where the files do not say."""

    model: str
    revision: str = ""
    dim: int
    metric: Literal["cosine", "dot", "l2"] = "cosine"
    recipe: str = ""

    def to_space(self) -> Space:
        return Space(**self.model_dump())


class VectorsSettings(Strict):
    """Vectors of a model: its encoder by name, or files with the vectors it made, whose keys each kind names as ``files``."""

    files: ClassVar[tuple[str, ...]]

    encoder: str | None = None
    device: str = "auto"
    batch_size: int = Field(64, ge=1)
    revision: str | None = None
    space: SpaceSettings | None = None
    cast: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"encoder": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_or_the_other(self) -> VectorsSettings:
        if (self.encoder is None) == all(getattr(self, key) is None for key in self.files):
            raise ValueError(f"say either encoder, or files with vectors ({', '.join(self.files)}), not both")
        if self.encoder is None and self.revision is not None:
            raise ValueError("revision is of an encoder; that of vectors in files stands under space")
        return self


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
        if (self.key_variable or self.dim) and not (self.encoder or "").startswith("http:"):
            raise ValueError("key_variable and dim are of an encoder behind HTTP (http:MODEL@https://HOST/v1)")
        return self


class FitSettings(Strict):
    """How the bridge is fitted."""

    captions: Path | None = None
    column: str | None = None
    weigh_repeats: bool = False
    cache: Path | None = None
    method: str = "choose"
    settings: dict[str, Any] = Field(default_factory=dict)
    judged: Path | None = None
    metrics: tuple[str, ...] = Field(default=("recall_at_10",), min_length=1)
    validation_pairs: Path | None = None
    pairs: Path | None = None
    finetune: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0


class EvaluateSettings(Strict):
    """What the upgrade is judged by, what is measured, and what must hold."""

    pairs: Path | None = None
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
        given = [n for n in ("pairs", "qrels", "labels", "neighbours") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"say what is right by exactly one of pairs, qrels, labels, neighbours; came {given}")
        if (self.clicks or self.slices) and self.pairs is None and (self.clicks or self.labels is None):
            raise ValueError("clicks names a column of the pairs, and slices name columns of the pairs or the labels")
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

    old: ModelSettings
    new: ModelSettings
    native: ModelSettings | None = None
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


class _OnceEachLoader(yaml.SafeLoader):  # type: ignore[misc, unused-ignore]
    """Refuses a key that stands twice, of which YAML would keep the last and drop the others."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key {key.value!r} stands there twice")
            seen.add(key.value)
        return dict(super().construct_mapping(node, deep=deep))


def load_settings(path: Path | str) -> Settings:
    """Read and check a settings file; raises `SettingsError` naming every key that is wrong."""
    return read_settings(path, Settings)


def read_settings(path: Path | str, kind: type[_Read]) -> _Read:
    """Read a YAML file as settings of this kind, with every path made absolute; see `load_settings`."""
    path = Path(path)
    if not path.exists():
        raise SettingsError(f"{path} does not exist; expected a YAML settings file")
    try:
        read = yaml.load(path.read_text(encoding="utf-8"), _OnceEachLoader)  # noqa: S506, a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(read, dict):
        keys = ", ".join(list(kind.model_fields)[:3])
        raise SettingsError(f"{path}: expected keys such as {keys}; came {type(read).__name__}")
    try:
        made: _Read = _resolve(kind.model_validate(read), path.resolve().parent)
    except ValidationError as error:
        raise SettingsError(f"{path}: {'; '.join(_said(one, kind) for one in error.errors())}") from error
    return made


def _said(error: Any, kind: Any) -> str:
    """One error of pydantic as a person would say it; for a key that is not known, the nearest that is."""
    where = ".".join(map(str, error["loc"])) or "file"
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg'].removeprefix('Value error, ')}"
    section = kind
    for name in (part for part in error["loc"][:-1] if isinstance(part, str)):
        annotation = section.model_fields[name].annotation
        section = next((a for a in (annotation, *get_args(annotation)) if hasattr(a, "model_fields")), None)
    known = list(section.model_fields)
    near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
    return f"{where}: there is no such key; " + (
        f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    )


def require_files(settings: BaseModel, *keys: str) -> None:
    """Raise `SettingsError` for a file that the settings name under one of these keys and that does not exist."""
    for key in keys:
        named: Any = settings
        for part in key.split("."):
            named = named[int(part)] if isinstance(named, tuple) else getattr(named, part, None)
        for path in named.values() if isinstance(named, dict) else [named]:
            if path is not None and not path.exists():
                raise SettingsError(f"{key}: {path} does not exist")


def _with_folder(encoder: str, folder: Path) -> str:
    """The encoder's name with its folder made absolute; raises `SettingsError` for a folder that is not there."""
    provider, _, model = encoder.partition(":")
    if not model or provider == "http":
        return encoder
    if (folder / model).is_dir():
        return f"{provider}:{folder / model}"
    architecture, colon, weights = model.partition(":")
    if provider == "open_clip" and colon:  # a file of weights, else the tag of some: the encoder knows which there are
        return f"{provider}:{architecture}:{folder / weights}" if (folder / weights).is_file() else encoder
    first, slash, _ = model.partition("/")
    if is_path(model) or provider == "trained" or (slash and (folder / first).is_dir()):
        raise SettingsError(f"{encoder}: there is no folder {folder / model}, and that is no id of the hub")
    return encoder


def _resolve(settings: Any, folder: Path) -> Any:
    """The same settings with every path made absolute, that of a model's folder too."""
    if isinstance(settings, BaseModel):
        changed = {name: _resolve(getattr(settings, name), folder) for name in type(settings).model_fields}
        if changed.get("encoder") is not None:
            changed["encoder"] = _with_folder(changed["encoder"], folder)
        return settings.model_copy(update=changed)
    if isinstance(settings, dict):
        return {key: _resolve(value, folder) for key, value in settings.items()}
    if isinstance(settings, tuple):
        return tuple(_resolve(value, folder) for value in settings)
    return folder / settings if isinstance(settings, Path) else settings
