"""What both kinds of settings files say of a model: its encoder, or files with the vectors it made."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from embridge.settings.reading import Strict
from embridge.space import Space

__all__ = ["SpaceSettings", "VectorsSettings"]


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
