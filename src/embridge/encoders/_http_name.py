"""What a model behind HTTP is called, MODEL@URL, and texts from outside with no secret left in them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from embridge.errors import SettingsError

__all__ = ["parsed_name", "without_secrets"]

_NAME = re.compile(r"(?P<model>.+)@(?P<url>https?://\S+)")
_USER = re.compile(r"(?<=://)[^\s/@]*@")
_QUERY = re.compile(r"(\w://[^\s?#'\"]*)[?#][^\s'\"]*")


def parsed_name(name: str) -> tuple[str, str]:
    """Model and URL; a URL that may carry a secret is refused and not repeated, since names are written into upgrades."""
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise SettingsError(
            f"an encoder behind HTTP is named http:MODEL@https://HOST/v1; came {without_secrets(f'http:{name}')!r}"
        )
    url = urlsplit(parts["url"])
    try:
        usual = url.port != 0 and url.hostname
    except ValueError:  # a port that is no number, or too large a one
        usual = False
    if url.username or url.password or url.query or url.fragment or not usual:
        raise SettingsError(
            f"http:{without_secrets(parts['model'])}@…: the URL is a host and a path, without user, password, query or "
            "fragment; a key is read from the environment variable that key_variable names"
        )
    return parts["model"], parts["url"].rstrip("/")


def without_secrets(text: str, key: str | None = None) -> str:
    """One line without the key, and without the users, passwords and queries of URLs."""
    text = " ".join((text if key is None else text.replace(key, "***")).split())
    return _QUERY.sub(r"\1?***", _USER.sub("***@", text))
