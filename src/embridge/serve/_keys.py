"""Keys that clients bring: kept as hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from embridge.errors import SettingsError

__all__ = ["Keys", "read_keys"]

_SHORTEST = 16


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of which a request has to bring one; none where there are none.

    Attributes:
        digests: SHA-256 of each.

    Examples:
        >>> keys = Keys.of(["correct horse battery"])
        >>> keys.admit("Bearer correct horse battery"), keys.admit("Bearer wrong"), keys.admit(None)
        (True, False, False)
    """

    digests: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, keys: Iterable[str]) -> Keys:
        """Keys as they are written."""
        return cls(tuple(_digest(key) for key in keys))

    def admit(self, authorization: str | None) -> bool:
        """Whether a header ``Authorization: Bearer KEY`` has one of the keys; always where there are none."""
        if not self.digests:
            return True
        scheme, _, key = (authorization or "").partition(" ")
        return self.number(key.strip()) > 0 and scheme.lower() == "bearer"

    def number(self, key: str) -> int:
        """Which of them a key is, from 1 on; 0 for none."""
        digest = _digest(key)
        equal = [hmac.compare_digest(digest, one) for one in self.digests]  # all of them, whichever fits
        return equal.index(True) + 1 if any(equal) else 0


def read_keys(file: Path | None, variable: str | None = None) -> Keys:
    """The keys of a file and of an environment variable.

    Args:
        file: A key a line; empty lines and lines that begin with # are passed over.
        variable: The variable's name; keys in it stand with commas between.

    Returns:
        The keys; none where neither is given.

    Raises:
        SettingsError: There is no key where one is said to be, or one is shorter than 16 characters.

    Examples:
        >>> _ = Path("keys.txt").write_text("# of the shop\\n0123456789abcdef\\n")
        >>> len(read_keys(Path("keys.txt")).digests)
        1
    """
    keys: list[str] = []
    for where, words in _written(file, variable):
        found = [word.strip() for word in words if word.strip() and not word.strip().startswith("#")]
        if not found:
            raise SettingsError(f"{where}: expected keys, came none")
        if any(len(key) < _SHORTEST or not key.isascii() or not key.isprintable() or " " in key for key in found):
            raise SettingsError(f"{where}: a key has at least {_SHORTEST} ASCII characters and no space")
        keys += found
    return Keys.of(keys)


def _written(file: Path | None, variable: str | None) -> Iterable[tuple[str, list[str]]]:
    if file is not None:
        try:
            yield str(file), file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file}: cannot be read as keys: {error}") from error
    if variable is not None:
        yield f"the variable {variable}", os.environ.get(variable, "").split(",")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
