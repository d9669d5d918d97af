"""What a settings file says of an old model whose vectors are in a store: which rows, and where their items come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from embridge.items import ItemSource
from embridge.settings.reading import Strict
from embridge.settings.vectors import SpaceSettings
from embridge.stores import parse_url

__all__ = ["ItemsSettings", "SpaceName", "StoredVectors"]

SAMPLE = 20_000


class SpaceName(SpaceSettings):
    """A space that a store holds, by its id or by its model; the store knows the rest.

    Examples:
        >>> SpaceName(model="clip-b32").model
        'clip-b32'
    """

    dim: int = 0


class ItemsSettings(Strict):
    """Where the items of a store's rows come from, where its declaration does not say; see `embridge.items.ItemSource`.

    Attributes:
        text: The column of the texts.
        image: The column of the images, as paths or bytes.
        folder: The folder that paths count from; without a column, files are called by ids.
        url: ``https://HOST/{id}.jpg``, or the address that paths count from.

    Examples:
        >>> ItemsSettings(text="title").to_source()
        ItemSource(modality='text', column='title', folder='', url='', function=None)
    """

    text: str = ""
    image: str = ""
    folder: Path | None = None
    url: str = ""

    @model_validator(mode="after")
    def _one_place(self) -> ItemsSettings:
        self.to_source()
        return self

    def to_source(self) -> ItemSource:
        """The source; raises `SettingsError` where no place, or more than one, is named."""
        folder = "" if self.folder is None else str(self.folder)
        fields = {"text": self.text, "image": self.image, "folder": folder, "url": self.url}
        return ItemSource.from_dict({name: value for name, value in fields.items() if value})


class StoredVectors(Strict):
    """Vectors in a store, of a section that may name a store in place of files.

    Attributes:
        store: Its URL, see `embridge.stores.open_store`.
        declarations: A file that declares of which spaces its vectors are, where the store does not hold that itself.
        items: Where the items of its rows come from, where the declaration does not say.
        sample: So many rows at most are fitted on, and so many are searched in an evaluation.

    Examples:
        >>> StoredVectors(store="lancedb:shop#items").sample
        20000
    """

    store: str | None = Field(None, repr=False)  # it may hold a password
    declarations: Path | None = None
    items: ItemsSettings | None = None
    sample: int = Field(SAMPLE, ge=1)

    @field_validator("store")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None:
            parse_url(value)
        return value

    @model_validator(mode="after")
    def _of_a_store(self) -> StoredVectors:
        given: list[Any] = [key for key in ("declarations", "items", "sample") if key in self.model_fields_set]
        if self.store is None and given:
            raise ValueError(f"{given[0]} is of a store; name it with store: URL")
        return self
