"""Where a store is, in one line: the kind of database, where it is, and which table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from embridge.errors import SettingsError

__all__ = ["StoreUrl", "absolute_url", "parse_url", "without_passwords"]

_KINDS = ("lancedb", "postgresql", "qdrant", "chroma", "faiss", "memory")
_ALSO = {"postgres": "postgresql"}
_FORMS = (
    "lancedb:FOLDER[#TABLE], postgresql://USER@HOST/DATABASE?table=TABLE, qdrant:http://HOST:6333/COLLECTION, "
    "qdrant:FOLDER/COLLECTION[?engine=edge], chroma:http://HOST:8000/COLLECTION, chroma:FOLDER/COLLECTION, "
    "faiss:FILE[?ids=FILE], memory:"
)
_FILES = ("ids", "vectors")  # options that name files
_SECRETS = ("password", "passwd", "pwd", "api_key", "apikey", "api-key", "key", "token", "secret", "sslpassword")
_LOGIN = re.compile(r"://[^/:@?#]*:")
_PAIR = re.compile(rf"\b(?P<name>{'|'.join(_SECRETS)})(?P<sign>\s*[=:]\s*)('[^']*'|[^\s&'\",;]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, repr=False)
class StoreUrl:
    """A store's place.

    Attributes:
        kind: A name in `embridge.stores.STORES`.
        location: A folder, a file, a server's address, or a connection string without ``table`` and the other options.
        table: The table or collection; empty where the URL names none.
        options: What else the URL says after its question mark, for the store.

    Examples:
        >>> parse_url("postgresql://me@db.example/shop?table=items").table
        'items'
    """

    kind: str
    location: str
    table: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_remote(self) -> bool:
        """Whether a server is asked, rather than a folder or file."""
        return "://" in self.location

    def __str__(self) -> str:
        """As it was written, without passwords."""
        return without_passwords(_written(self))

    def __repr__(self) -> str:
        return f"StoreUrl({str(self)!r})"


def parse_url(text: Path | str) -> StoreUrl:
    """Read a store's URL.

    Args:
        text: The URL. A path alone is a folder of LanceDB.

    Returns:
        Its parts.

    Raises:
        SettingsError: It is no such URL; the message lists the forms, and holds no password.

    Examples:
        >>> parse_url("lancedb:shop#items")
        StoreUrl('lancedb:shop#items')
        >>> parse_url("qdrant:http://localhost:6333/items").location
        'http://localhost:6333'
        >>> print(parse_url("postgresql://me:secret@db/shop?table=items"))
        postgresql://me:***@db/shop?table=items
    """
    text = str(text)
    head, colon, rest = text.partition(":")
    kind = _ALSO.get(head.lower(), head.lower()) if colon else "lancedb"
    if not colon or (len(head) == 1 and head.isalpha()):  # a path; C:\shop too
        return StoreUrl("lancedb", text)
    if kind not in _KINDS:
        if Path(text).exists():
            return StoreUrl("lancedb", text)
        raise SettingsError(f"{without_passwords(text)} is no store's URL; the forms are {_FORMS}")
    if kind == "memory":
        return StoreUrl("memory", "")
    if not rest.strip("/"):
        raise SettingsError(f"{text} does not say where the store is; the forms are {_FORMS}")
    if kind == "postgresql":
        return _postgresql(text)
    if kind == "lancedb":
        folder, _, table = rest.rpartition("#") if "#" in rest else (rest, "", "")
        return StoreUrl("lancedb", folder, table)
    if kind == "faiss":
        file, options = _split_options(rest)
        return StoreUrl("faiss", file, options=options)
    return _collection(kind, rest, text)


def absolute_url(text: str, folder: Path) -> str:
    """The URL, whose folder or files are named as they are from elsewhere.

    Args:
        text: The URL.
        folder: What its relative paths count from.

    Returns:
        The URL; the same where it names a server.

    Raises:
        SettingsError: It is no such URL.

    Examples:
        >>> absolute_url("lancedb:shop#items", Path("/home/me"))
        'lancedb:/home/me/shop#items'
    """
    url = parse_url(text)
    if url.is_remote or url.kind == "memory":
        return text
    files = {name: str(folder / value) for name, value in url.options.items() if name in _FILES}
    return _written(replace(url, location=str(folder / url.location), options={**url.options, **files}))


def without_passwords(text: str) -> str:
    """A message or a URL in which passwords and keys are three stars.

    Args:
        text: Anything, such as the error of a database's client.

    Returns:
        The text without them.

    Examples:
        >>> without_passwords("cannot reach postgresql://me:pa:ss@db/shop, password=secret")
        'cannot reach postgresql://me:***@db/shop, password=***'
    """
    return _PAIR.sub(r"\g<name>\g<sign>***", re.sub(r"\S+", _without_login, text))


def _without_login(word: re.Match[str]) -> str:
    """The word without a URL's password, which ends at the last @: too much is hidden, if at all."""
    end = word[0].rfind("@")
    login = None if end < 0 else _LOGIN.search(word[0], 0, end)
    return word[0] if login is None else f"{word[0][: login.end()]}***{word[0][end:]}"


def _postgresql(text: str) -> StoreUrl:
    authority, path = re.fullmatch(r"[^:]*:(?://)?([^/?#]*)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    port = authority.rpartition(":")[2] if ":" in authority and "@" not in authority and authority[-1] != "]" else ""
    if "@" in path.partition("?")[0] or ("#" in path and "@" in path) or (port and not port.isdigit()):
        raise SettingsError(
            "the password or another part of this PostgreSQL URL has characters that a URL writes otherwise: / as %2F, ? as "
            "%3F, # as %23, @ as %40; or leave the password out and set PGPASSWORD"
        )
    parts = urlsplit(path)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    options = {name: value for name, value in pairs if name in ("table", "schema")}
    others = urlencode([(name, value) for name, value in pairs if name not in options], quote_via=quote)
    location = f"postgresql://{_quoted_account(authority)}{parts.path}" + (f"?{others}" if others else "")
    return StoreUrl("postgresql", location, options.pop("table", ""), options)


def _quoted_account(authority: str) -> str:
    """User and password as a URL writes them, however they were written."""
    account, at, host = authority.rpartition("@")
    return ":".join(quote(unquote(part), safe="") for part in account.split(":", 1)) + at + host


def _collection(kind: str, rest: str, text: str) -> StoreUrl:
    place, options = _split_options(rest)
    location, slash, table = place.rstrip("/").rpartition("/")
    server = re.match(r"[a-z]+://[^/]+$", place.rstrip("/"))
    if server or not slash or not location:
        raise SettingsError(f"{without_passwords(text)} names no collection; the forms are {_FORMS}")
    return StoreUrl(kind, location, unquote(table) if "://" in location else table, options)


def _split_options(rest: str) -> tuple[str, dict[str, str]]:
    place, question, query = rest.rpartition("?")
    if not question or "=" not in query:
        return rest, {}
    return place, dict(parse_qsl(query, keep_blank_values=True))


def _written(url: StoreUrl) -> str:
    if url.kind == "memory":
        return "memory:"
    if url.kind == "postgresql":
        joint = "&" if "?" in url.location else "?"
        options = ([("table", url.table)] if url.table else []) + list(url.options.items())
        return url.location + (joint + urlencode(options) if options else "")
    query = "?" + urlencode(url.options, safe="/:.") if url.options else ""
    table = "" if not url.table else f"#{url.table}" if url.kind == "lancedb" else f"/{url.table}"
    return f"{url.kind}:{url.location}{table}{query}"
