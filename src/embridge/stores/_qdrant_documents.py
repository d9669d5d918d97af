"""Documents in a collection of a Qdrant server, changed by compare and swap."""

from __future__ import annotations

import json
import uuid
from typing import Any, final

from embridge.errors import StoreError
from embridge.stores._qdrant_client import ClientEngine
from embridge.stores.documents import Document

__all__ = ["DOCUMENTS", "ServerDocuments"]

DOCUMENTS = "embridge_documents"
_NAMESPACE = uuid.UUID("8f3d2c1a-5b1e-4e0c-9a67-0d6c3b1f7e42")
_WRITERS = 64


@final
class ServerDocuments:
    """Documents of one collection, each a point without vectors in a collection of its own.

    A swap is one conditional write: the payload of the point whose ``version`` is still the one that was read. The server
    applies the writes to a point one after the other, so of several exactly one finds that version. The names of the last
    writers stand in the payload, so that a writer knows whether it was the one, also if others came right after it. The first
    write of a document needs a server of version 1.16 or later: an older one would let a second writer replace it.

    Args:
        engine: Of the server.
        collection: Whose documents they are.
    """

    def __init__(self, engine: ClientEngine, collection: str) -> None:
        self._engine, self._collection = engine, collection

    def read(self, name: str) -> dict[str, Any] | None:
        return self._read(name)[1]

    def swap(self, name: str, expected: Document | None, new: Document) -> bool:
        payload, document = self._read(name)
        if document != expected:
            return False
        writer, point, text = uuid.uuid4().hex, self._point(name), json.dumps(dict(new))
        writers = [*(payload or {}).get("writers", []), writer][-_WRITERS:]
        version = int((payload or {}).get("version", 0))
        changed = {"version": version + 1, "text": text, "writers": writers}
        if payload is None:
            self._engine.create_bare(DOCUMENTS)
            described = {"collection": self._collection, "document": name}
            self._engine.insert_once(DOCUMENTS, point, described | changed)
        else:
            condition = {"key": "version", "match": {"value": version}}
            self._engine.change_if(DOCUMENTS, {"must": [{"has_id": [point]}, condition]}, changed)
        return writer in (self._payload(name) or {}).get("writers", [])

    def _read(self, name: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        payload = self._payload(name)
        if payload is None:
            return None, None
        try:
            document = json.loads(payload["text"])
            if not isinstance(document, dict):
                raise ValueError("it is no object")
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self._engine.where}: document {name!r} in {DOCUMENTS} is damaged ({error}); restore that collection"
            ) from error
        return payload, document

    def _payload(self, name: str) -> dict[str, Any] | None:
        try:
            found = self._engine.retrieve(DOCUMENTS, [self._point(name)], payload=True)
        except StoreError:
            if DOCUMENTS in self._engine.names():
                raise
            return None
        return dict(found[0].payload or {}) if found else None

    def _point(self, name: str) -> str:
        return str(uuid.uuid5(_NAMESPACE, f"{self._collection}\n{name}"))
