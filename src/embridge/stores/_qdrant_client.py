"""Qdrant through its client: a server, Qdrant Cloud, or the client's own local mode."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar, final

import numpy as np

from embridge.errors import SettingsError, StoreError, require
from embridge.space import Metric
from embridge.stores._qdrant_engine import DISTANCES, Collection, Point, PointId, VectorInfo, Where
from embridge.stores._qdrant_errors import is_broken, message, reason
from embridge.stores.places import Place
from embridge.stores.urls import without_passwords

__all__ = ["ClientEngine", "local_engine", "server_engine"]

_T = TypeVar("_T")
_METRICS: dict[str, Metric] = {distance: metric for metric, distance in DISTANCES.items()}
_REQUEST_BYTES = 12_000_000  # servers take 32 MB
_DIGITS, _POINT = 21, 200  # of a number and of the rest of a point, in JSON
_ADDS_VECTORS, _CONDITIONAL = (1, 18), (1, 16)  # servers from these versions on


@final
class ClientEngine:
    """A `QdrantClient`.

    Args:
        client: The client.
        where: What messages call it.
        version: Of the server; None for local mode.
        secret: What no message may show.
    """

    def __init__(self, client: Any, where: str, *, version: tuple[int, ...] | None = None, secret: str = "") -> None:
        self.where, self.remote = where, version is not None
        self.rounded = not self.remote
        self.adds_vectors = version is None or version >= _ADDS_VECTORS
        self.atomic = version is None or version >= _CONDITIONAL
        self.client = client
        self._models = require("qdrant_client.models", extra="qdrant")
        self._secret = secret
        self._lock = None if self.remote else RLock()  # local mode is made for one thread

    def names(self) -> list[str]:
        found = self._ask(self.client.get_collections)
        return sorted(one.name for one in found.collections)

    def aliases(self) -> dict[str, str]:
        found = self._ask(self.client.get_aliases)
        return {one.alias_name: one.collection_name for one in found.aliases}

    def collection(self, name: str) -> Collection | None:
        if not self._ask(self.client.collection_exists, name):
            return None
        found = self._ask(self.client.get_collection, name)
        params, whole = found.config.params, found.config.quantization_config is not None
        dense = params.vectors if isinstance(params.vectors, dict) else {"": params.vectors} if params.vectors else {}
        vectors = {key: _described(one, quantised=whole) for key, one in dense.items()}
        sparse = dict.fromkeys(params.sparse_vectors or {}, VectorInfo(0, None, remark="it is sparse"))
        fields = {key: str(getattr(one.data_type, "value", one.data_type)) for key, one in found.payload_schema.items()}
        return Collection(vectors | sparse, found.indexed_vectors_count or 0, found.points_count or 0, fields)

    def create(self, name: str, vector: str, dim: int, metric: Metric) -> None:
        distance = self._models.Distance(DISTANCES[metric])
        config = {vector: self._models.VectorParams(size=dim, distance=distance)}
        self._change(self.client.create_collection, name, vectors_config=config)

    def drop(self, name: str) -> None:
        self._change(self.client.delete_collection, name)

    def add_vector(self, name: str, vector: str, dim: int, metric: Metric) -> None:
        dense = self._models.DenseVectorConfig(size=dim, distance=self._models.Distance(DISTANCES[metric]))
        config = self._models.DenseVectorNameConfig(dense=dense)
        self._change(self.client.create_vector_name, name, vector, config)

    def drop_vector(self, name: str, vector: str) -> None:
        self._change(self.client.delete_vector_name, name, vector)

    def count(self, name: str, where: Where = None) -> int:
        return int(self._ask(self.client.count, name, count_filter=self._filter(where), exact=True).count)

    def scroll(
        self, name: str, limit: int, *, where: Where = None, start: PointId | None = None, vector: str | None = None,
        payload: bool | list[str] = False,
    ) -> tuple[Sequence[Any], PointId | None]:  # fmt: skip
        found: tuple[Sequence[Any], PointId | None] = self._ask(
            self.client.scroll,
            name,
            scroll_filter=self._filter(where),
            limit=limit,
            offset=start,
            with_payload=payload,
            with_vectors=_names(vector),
        )
        return found

    def retrieve(
        self, name: str, ids: Sequence[PointId], *, vector: str | None = None, payload: bool | list[str] = False
    ) -> Sequence[Any]:
        found: Sequence[Any] = self._ask(
            self.client.retrieve, name, list(ids), with_payload=payload, with_vectors=_names(vector)
        )
        return found

    def search(
        self, place: Place, queries: np.ndarray, *, limit: int, where: Where, payload: list[str], with_vectors: bool
    ) -> Sequence[Sequence[Any]]:  # fmt: skip
        shared = {
            "using": place.vector or None,
            "limit": limit,
            "filter": self._filter(where),
            "with_payload": payload or False,
            "with_vector": _names(place.vector) if with_vectors else False,
        }
        requests = [self._models.QueryRequest(query=query, **shared) for query in queries.tolist()]
        return [answer.points for answer in self._ask(self.client.query_batch_points, place.table, requests)]

    def upsert(self, name: str, vector: str, points: Sequence[Point]) -> None:
        """Write points, so many in a request as a server takes."""
        make = self._models.PointStruct
        for part in _parts(points):
            vectors = np.stack([point.vector for point in part]).tolist()
            rows = [
                make(id=point.id, vector=self._named(vector, one), payload=dict(point.payload))
                for point, one in zip(part, vectors, strict=True)
            ]
            self._write(self.client.upsert, name, rows, wait=True)

    def update_vectors(self, name: str, vector: str, ids: Sequence[PointId], vectors: np.ndarray) -> None:
        make, rows = self._models.PointVectors, max(1, _REQUEST_BYTES // (vectors.shape[1] * _DIGITS + _POINT))
        for start in range(0, len(ids), rows):
            part = zip(ids[start : start + rows], vectors[start : start + rows].tolist(), strict=True)
            self._write(
                self.client.update_vectors,
                name,
                [make(id=one, vector=self._named(vector, values)) for one, values in part],
            )

    def set_payload(self, name: str, payloads: Mapping[PointId, Mapping[str, Any]]) -> None:
        models = self._models
        operations = [
            models.SetPayloadOperation(set_payload=models.SetPayload(payload=dict(payload), points=[one]))
            for one, payload in payloads.items()
        ]
        if operations:
            self._write(self.client.batch_update_points, name, operations)

    def delete(self, name: str, ids: Sequence[PointId]) -> None:
        self._write(self.client.delete, name, self._models.PointIdsList(points=list(ids)))

    def insert_once(self, name: str, point: PointId, payload: Mapping[str, Any]) -> None:
        """Write a point without vectors that is not there; an older server replaces it."""
        row = self._models.PointStruct(id=point, vector={}, payload=dict(payload))
        nothing = self._filter({"must": [{"has_id": []}]})
        self._write(self.client.upsert, name, [row], wait=True, ordering="strong", update_filter=nothing)

    def change_if(self, name: str, where: Where, payload: Mapping[str, Any]) -> None:
        """Change the payload of the points that a filter finds when the change is applied."""
        self._write(
            self.client.set_payload, name, dict(payload), points=self._filter(where), wait=True, ordering="strong"
        )

    def create_bare(self, name: str) -> None:
        """A collection without vectors; nothing happens if it is there."""
        try:
            self._change(self.client.create_collection, name, vectors_config={})
        except StoreError:
            if name not in self.names():
                raise

    def _named(self, vector: str, values: list[float]) -> Any:
        """A point's vector; local mode wants the one without a name called so where there are others."""
        return values if self.remote and not vector else {vector: values}

    def _filter(self, where: Where) -> Any:
        return None if where is None else self._models.Filter.model_validate(where)

    def _ask(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """A read: once again where the connection broke, since a new one may hold."""
        return self._called(call, arguments, options, attempts=2)

    def _write(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """A write that is the same when it is done twice."""
        result = self._called(call, arguments, options, attempts=2)
        if str(getattr(getattr(result, "status", None), "value", "")) == "wait_timeout":
            raise StoreError(
                f"{self.where} has not applied a write in time; raise timeout= in the URL, and write it again"
            )

    def _change(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """A write that may be done once."""
        self._called(call, arguments, options, attempts=1)

    def _called(self, call: Callable[..., Any], arguments: Any, options: Any, *, attempts: int) -> Any:
        try:
            if self._lock is None:
                return call(*arguments, **options)
            with self._lock:
                return call(*arguments, **options)
        except Exception as error:  # the client's, pydantic's, httpx's, sqlite's
            if attempts > 1 and is_broken(error):
                return self._called(call, arguments, options, attempts=attempts - 1)
            raise StoreError(message(error, self.where, remote=self.remote, secret=self._secret)) from error


def server_engine(url: str, *, api_key: str, timeout: int) -> ClientEngine:
    """A server's engine; raises `StoreError` where none answers."""
    where, make = f"Qdrant at {without_passwords(url)}", require("qdrant_client", extra="qdrant").QdrantClient
    headers = {"api-key": api_key} if api_key else None
    try:
        client = make(url=url, timeout=timeout, headers=headers, check_compatibility=False)
    except ValueError as error:
        raise SettingsError(f"{where} is no address of a server: {reason(error)}") from error
    info = ClientEngine(client, where, version=(0,), secret=api_key)._ask(client.info)
    numbers = re.match(r"(\d+)\.(\d+)", str(info.version))
    version = tuple(map(int, numbers.groups())) if numbers else (0,)
    return ClientEngine(client, where, version=version, secret=api_key)


def local_engine(folder: Path) -> ClientEngine:
    """The engine of a folder as `QdrantClient(path=…)` writes it."""
    make = require("qdrant_client", extra="qdrant").QdrantClient
    try:
        client = make(path=str(folder))
    except Exception as error:
        taken = "already accessed" in str(error)
        advice = "close the other program, or use a Qdrant server" if taken else "restore it from a copy"
        raise StoreError(
            f"{folder} cannot be opened as a folder of qdrant-client: {reason(error)}; {advice}"
        ) from error
    return ClientEngine(client, f"Qdrant in {folder}")


def _described(params: Any, *, quantised: bool) -> VectorInfo:
    metric = _METRICS.get(str(getattr(params.distance, "value", params.distance)))
    halves = str(getattr(params.datatype, "value", params.datatype or "float32")) != "float32"
    remark = "" if metric else f"its distance is {getattr(params.distance, 'value', params.distance)}"
    if params.multivector_config is not None:
        remark = "a point has several vectors of it"
    exact = not (quantised or halves or getattr(params, "quantization_config", None) is not None)
    return VectorInfo(params.size, metric, exact, remark)


def _names(vector: str | None) -> bool | list[str]:
    return False if vector is None else [vector]


def _parts(points: Sequence[Point]) -> list[Sequence[Point]]:
    if not points:
        return []
    payload = max(len(json.dumps(point.payload)) for point in points)
    rows = max(1, _REQUEST_BYTES // (len(points[0].vector) * _DIGITS + payload + _POINT))
    return [points[start : start + rows] for start in range(0, len(points), rows)]
