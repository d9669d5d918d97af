"""What both kinds of settings files say of a model: its encoder, or files with the vectors it made."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from embridge.settings._columns import Columns, columns_of, require_column_keys
from embridge.settings.reading import Strict
from embridge.space import Space

__all__ = ["SpaceSettings", "VectorsSettings"]


class SpaceSettings(Strict):
    """What vectors in files are of, where the files do not say.

    Attributes:
        model: The model's name.
        revision: Which weights.
        dim: Numbers in a vector.
        metric: What vectors are compared by.
        recipe: What else changes vectors: prefix, pooling, preprocessing.

    Examples:
        >>> SpaceSettings(model="mini", dim=384).to_space().dim
        384
    """

    model: str
    revision: str = ""
    dim: int
    metric: Literal["cosine", "dot", "l2"] = "cosine"
    recipe: str = ""

    def to_space(self) -> Space:
        return Space(**self.model_dump())


class VectorsSettings(Strict):
    """Vectors of a model: its encoder by name, or files with the vectors it made.

    An encoder's name alone may stand in the place of a section.

    Attributes:
        files: The keys that name files, of each kind of section.
        column_names: What we call the columns of these files.
        encoder: PROVIDER:MODEL, see `embridge.encoders.load`.
        device: ``auto``, ``cpu``, ``cuda`` …
        batch_size: Items that are encoded at once.
        revision: Which commit of a model on a hub.
        space: What vectors in files are of, where the files do not say.
        cast: Whether vectors that are not float32 are made so.
        columns: What tables of vectors call their columns ``id`` and ``vector``; under the key of a file, for that one.

    Examples:
        >>> from embridge.settings import ModelSettings
        >>> ModelSettings.model_validate("clip:models/old").encoder
        'clip:models/old'
    """

    files: ClassVar[tuple[str, ...]]
    column_names: ClassVar[tuple[str, ...]] = ("id", "vector")

    encoder: str | None = None
    device: str = "auto"
    batch_size: int = Field(64, ge=1)
    revision: str | None = None
    space: SpaceSettings | None = None
    cast: bool = False
    columns: Columns = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"encoder": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_or_the_other(self) -> VectorsSettings:
        self._require_one_kind()
        if self.encoder is None and self.revision is not None:
            raise ValueError("revision is of an encoder; that of vectors in files stands under space")
        require_column_keys(self.columns, self.column_names, files=self.files)
        if self.columns and not self._tables():
            raise ValueError("columns are of tables of vectors (Parquet, Arrow, Feather), and there is none here")
        return self

    def _require_one_kind(self) -> None:
        if (self.encoder is None) == all(getattr(self, key) is None for key in self.files):
            raise ValueError(f"say either encoder, or files with vectors ({', '.join(self.files)}), not both")

    def columns_of(self, key: str) -> dict[str, str]:
        """What the file under a key calls its ids and vectors; an npy has no columns."""
        return {name: column for name, column in self._named(key).items() if name != "text"}

    def text_columns_of(self, key: str) -> dict[str, str]:
        """What it calls its ids and the texts that people read for them; nothing where no column of texts is named."""
        named = self._named(key)
        return {name: named[name] for name in ("id", "text") if name in named} if "text" in named else {}

    def _named(self, key: str) -> dict[str, str]:
        return columns_of(self.columns, key) if key in self._tables() else {}

    def _tables(self) -> list[str]:
        return [key for key in self.files if (file := getattr(self, key)) is not None and file.suffix != ".npy"]
