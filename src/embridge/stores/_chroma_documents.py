"""Chroma: documents as metadata of empty collections, one collection a version.

Chroma has no conditional write, but of several clients that make a collection of one name exactly one succeeds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, final

from embridge.errors import StoreError
from embridge.stores._chroma_client import ChromaClient

__all__ = ["ChromaDocuments", "is_document"]

_MARK = "--embridge-doc"
_NAME = re.compile(r".*--embridge-doc\.(?P<name>[A-Za-z0-9_-]+)\.(?P<version>\d+)$", re.DOTALL)
_KEPT = 8  # versions that a slow writer may be behind
_LONGEST = 400


def is_document(name: str) -> bool:
    """Whether a collection is one of these."""
    return _MARK in name


@final
class ChromaDocuments:
    """Documents of the collections that belong to one of a name."""

    def __init__(self, client: ChromaClient, table: str) -> None:
        self._client = client
        short = table if len(table) <= _LONGEST else f"{table[:300]}.{sha256(table.encode()).hexdigest()[:16]}"
        self._prefix = f"{short}{_MARK}."

    def read(self, name: str) -> dict[str, Any] | None:
        versions = self._versions().get(_written(name))
        return None if versions is None else _read(versions[max(versions)])

    def swap(self, name: str, expected: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
        name = _written(name)
        versions = self._versions().get(name, {})
        last = max(versions, default=0)
        if (_read(versions[last]) if versions else None) != expected:
            return False
        own = f"{self._prefix}{name}.{last + 1}"
        if not self._client.make(own, metadata={"document": json.dumps(new)}, again=False):
            return False
        now = self._versions().get(name, {})
        if max(now, default=0) >= last + _KEPT:  # others were so much quicker that this version may have been and gone
            self._client.drop(own)
            return False
        for version in now:
            if version <= last + 1 - _KEPT:
                self._client.drop(f"{self._prefix}{name}.{version}")
        return True

    def _versions(self) -> dict[str, dict[int, Any]]:
        """The collections of all documents, in one request: by name, as it is written there, and version."""
        versions: dict[str, dict[int, Any]] = {}
        for collection in self._client.collections():
            match = _NAME.match(collection.name) if collection.name.startswith(self._prefix) else None
            if match:
                versions.setdefault(match["name"], {})[int(match["version"])] = collection
        return versions


def _written(name: str) -> str:
    """A document's name in the letters that Chroma takes."""
    return re.sub("[^A-Za-z0-9_]", lambda match: "".join(f"-{byte:02x}" for byte in match[0].encode()), name)


def _read(collection: Any) -> dict[str, Any]:
    try:
        document = json.loads((collection.metadata or {})["document"])
        if not isinstance(document, dict):
            raise TypeError("it is no object")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise StoreError(
            f"the collection {collection.name} holds no document of embridge ({error}); delete it"
        ) from error
    return document
