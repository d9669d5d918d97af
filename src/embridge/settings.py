"""One YAML file says what to fit and what to evaluate; unknown keys are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from embridge.errors import SettingsError
from embridge.space import Space

__all__ = ["EvaluateSettings", "FitSettings", "ModelSettings", "Settings", "SpaceSettings", "load_settings"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpaceSettings(_Strict):
    """What vectors in files are of, where the files do not say."""

    model: str
    revision: str = ""
    dim: int
    metric: Literal["cosine", "dot", "l2"] = "cosine"
    recipe: str = ""

    def to_space(self) -> Space:
        return Space(**self.model_dump())


class ModelSettings(_Strict):
    """A model: an encoder by name, or files with the vectors it made."""

    encoder: str | None = None
    device: str = "auto"
    batch_size: int = Field(64, ge=1)
    captions: Path | None = None
    queries: Path | None = None
    gallery: Path | None = None
    space: SpaceSettings | None = None
    cast: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"encoder": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_or_the_other(self) -> ModelSettings:
        files = (self.captions, self.queries, self.gallery)
        if (self.encoder is None) == all(file is None for file in files):
            raise ValueError("say either encoder, or files with vectors (captions, queries, gallery), not both")
        return self


class FitSettings(_Strict):
    """How the bridge is fitted."""

    captions: Path | None = None
    method: str = "xbt"
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0


class EvaluateSettings(_Strict):
    """What the upgrade is judged by."""

    pairs: Path
    ks: tuple[Annotated[int, Field(ge=1)], ...] = Field((1, 5, 10), min_length=1)
    seed: int = 0


class Settings(_Strict):
    """The whole file. Paths, those of models' folders too, are relative to its folder."""

    old: ModelSettings
    new: ModelSettings
    fit: FitSettings = FitSettings()
    evaluate: EvaluateSettings | None = None
    upgrade: Path = Path("upgrade")
    report: Path = Path("report.json")


def load_settings(path: Path | str) -> Settings:
    """Read and check a settings file; raises `SettingsError` naming every key that is wrong."""
    path = Path(path)
    if not path.exists():
        raise SettingsError(f"{path} does not exist; expected a YAML settings file")
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(read, dict):
        raise SettingsError(f"{path}: expected keys such as old, new and fit; came {type(read).__name__}")
    try:
        return _resolve(Settings.model_validate(read), path.resolve().parent)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"{path}: {wrong}") from error


def _resolve(settings: Any, folder: Path) -> Any:
    """The same settings with every path made absolute, that of a model's folder too."""
    if isinstance(settings, BaseModel):
        changed = {name: _resolve(getattr(settings, name), folder) for name in type(settings).model_fields}
        if isinstance(settings, ModelSettings) and settings.encoder is not None:
            provider, _, model = settings.encoder.partition(":")
            changed["encoder"] = (
                f"{provider}:{folder / model}" if model and (folder / model).is_dir() else settings.encoder
            )
        return settings.model_copy(update=changed)
    return folder / settings if isinstance(settings, Path) else settings
