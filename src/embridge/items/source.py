"""Where items come from: a column, a folder, a URL or a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from embridge.errors import SettingsError

__all__ = ["ItemSource"]

_KEYS = ("text", "image", "folder", "url")
_FORMS = (
    "a text column; an image column of paths or bytes, whose paths count from a folder or a URL; a folder with a file named by "
    "each id; a URL with {id} in it; or a function"
)


@dataclass(frozen=True, slots=True)
class ItemSource:
    """Where the text or the image of a row comes from, by the row's id.

    Attributes:
        modality: ``text`` or ``image``.
        column: A column of the table: texts, bytes of images, or paths of images.
        folder: The folder that paths count from and may not leave; without a column, files are called by ids, with or
            without the suffix of an image.
        url: ``https://HOST/{id}.jpg``; with a column, the address that its paths count from, such as ``https://HOST/images/``.
        function: Gives the item of an id: a text; or bytes, a path, a PIL image or an array of uint8; None where there is none.

    Raises:
        SettingsError: These do not say where one kind of item comes from.

    Examples:
        >>> ItemSource("text", column="title").to_dict()
        {'text': 'title'}
        >>> ItemSource.from_dict({"url": "https://shop.example/{id}.jpg"}).modality
        'image'
    """

    modality: Literal["text", "image"]
    column: str = ""
    folder: str = ""
    url: str = ""
    function: Callable[[str], Any] | None = None

    def __post_init__(self) -> None:
        places = (self.column, self.folder, self.url)
        of_text = self.modality == "text" and (self.folder or self.url)
        if self.modality not in ("text", "image") or of_text or (self.folder and self.url):
            raise SettingsError(f"items come from {_FORMS}; came {self!r}")
        if any(places) == (self.function is not None):
            raise SettingsError(f"items come from one place, which is {_FORMS}; came {self!r}")
        if self.url:
            _require_usable(self.url, named_by_id=not self.column)

    @staticmethod
    def of(*, text: str = "", image: str = "", folder: Path | str = "", url: str = "") -> ItemSource | None:
        """The source that options name, with the folder as an absolute path; None where they name none.

        Args:
            text: The column of the texts.
            image: The column of the images, as paths or bytes.
            folder: The folder of the images.
            url: Where the images are.

        Returns:
            The source.

        Raises:
            SettingsError: They name texts and images, or do not fit.

        Examples:
            >>> ItemSource.of(text="title")
            ItemSource(modality='text', column='title', folder='', url='', function=None)
            >>> ItemSource.of() is None
            True
        """
        root = str(Path(folder).expanduser().absolute()) if str(folder) else ""
        if text and (image or root or url):
            raise SettingsError("a vector is of a text or of an image: name a column of texts, or where the images are")
        if not (text or image or root or url):
            return None
        return ItemSource("text" if text else "image", text or image, root, url)

    def to_dict(self) -> dict[str, str]:
        """As `embridge.stores.Declaration.items` holds it; raises `SettingsError` for a function, which cannot be written."""
        if self.function is not None:
            raise SettingsError("a function that gives items cannot be written down; pass it again each time")
        written = {self.modality: self.column, "folder": self.folder, "url": self.url}
        return {name: value for name, value in written.items() if value}

    @staticmethod
    def from_dict(fields: Mapping[str, str]) -> ItemSource:
        """The inverse of `to_dict`; raises `SettingsError` for anything else."""
        if not fields.keys() <= set(_KEYS) or not all(isinstance(value, str) for value in fields.values()):
            raise SettingsError(f"items are written with {', '.join(_KEYS)} and texts; came {dict(fields)!r:.200}")
        source = ItemSource.of(
            text=fields.get("text", ""),
            image=fields.get("image", ""),
            url=fields.get("url", ""),
            folder=fields.get("folder", ""),
        )
        if source is None:
            raise SettingsError(f"items come from {_FORMS}; came nothing")
        return source

    def __str__(self) -> str:
        if self.function is not None:
            return f"{self.modality}s from a function"
        place = self.folder or self.url
        if not self.column:
            return f"images {'in' if self.folder else 'at'} {place}"
        return f"{self.modality}s in the column {self.column}" + (f", at {place}" if place else "")


def _require_usable(url: str, *, named_by_id: bool) -> None:
    try:
        parts = urlsplit(url)
        usual = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, brackets that do not close
        usual = False
    if not usual or parts.username or parts.password or parts.fragment or "{" in parts.netloc or url.split() != [url]:
        raise SettingsError(
            "the address of items is http:// or https://, a host and a path, without user, password and fragment; the id may "
            "stand in the path or the query as {id}"
        )
    if named_by_id != ("{id}" in url):
        raise SettingsError(
            f"{url} {'does not say where the id stands' if named_by_id else 'names items by ids, and so does the column'}: "
            "write https://HOST/{id}.jpg, or a column and the address that its paths count from"
        )
