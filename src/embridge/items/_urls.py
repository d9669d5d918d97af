"""Addresses of items, none of them on another host than the one that was named."""

from __future__ import annotations

from urllib.parse import quote, unquote, urljoin, urlsplit

from embridge.items.missing import MissingItem

__all__ = ["same_host", "url_of_id", "url_of_path"]

_PORTS = {"http": 80, "https": 443}


def url_of_id(template: str, name: str) -> str:
    """The address of an id; raises `MissingItem` for an id that would lead elsewhere."""
    if name in (".", ".."):
        raise MissingItem(f"{name!r} is no name that can stand in an address")
    try:
        return template.replace("{id}", quote(name, safe=""))
    except UnicodeEncodeError as error:
        raise MissingItem(f"{name!r:.200} cannot stand in an address: {error.reason}") from error


def url_of_path(base: str, path: str) -> str:
    """The address of a path that counts from another, or of one that is whole; below the other in either case."""
    base = base.rstrip("/") + "/"
    try:
        url = path if urlsplit(path).scheme in _PORTS else urljoin(base, quote(path, safe="/%"))
        inside = same_host(base, url) and urlsplit(url).path.startswith(urlsplit(base).path)
        climbs = ".." in unquote(urlsplit(url).path).split("/")
    except ValueError as error:
        raise MissingItem(f"{path!r:.200} is no address: {error}") from error
    if not inside or climbs:
        raise MissingItem(f"its address {path!r:.200} leads elsewhere than {base}")
    return url


def same_host(one: str, other: str) -> bool:
    """Whether two addresses are of one host; http may become https."""
    a, b = urlsplit(one), urlsplit(other)
    ports = [parts.port or _PORTS.get(parts.scheme) for parts in (a, b)]
    safer = [parts.scheme for parts in (a, b)] == ["http", "https"] and ports == [80, 443]
    return a.hostname == b.hostname and ((a.scheme, ports[0]) == (b.scheme, ports[1]) or safer)
