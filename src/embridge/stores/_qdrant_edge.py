"""Qdrant's own engine in this process (`qdrant-edge-py`): a folder with one shard a collection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from threading import RLock
from typing import Any, final

import numpy as np

from embridge.errors import StoreError, require
from embridge.space import Metric
from embridge.stores._qdrant_engine import DISTANCES, Collection, Point, PointId, VectorInfo, Where
from embridge.stores._qdrant_repair import CONFIG, finish_drop
from embridge.stores.places import Place

__all__ = ["CONFIG", "EdgeEngine"]

_METRICS: dict[str, Metric] = {distance: metric for metric, distance in DISTANCES.items()}


@final
class EdgeEngine:
    """Shards in a folder, each opened when it is first asked for, and let go of with this object.

    Args:
        folder: Whose folders are the shards.
    """

    remote, adds_vectors, atomic, rounded = False, True, True, False

    def __init__(self, folder: Path) -> None:
        self.folder, self.where = folder, f"Qdrant Edge in {folder}"
        self._edge = require("qdrant_edge", extra="qdrant-edge")
        self._shards: dict[str, Any] = {}
        self._lock = RLock()

    def names(self) -> list[str]:
        return sorted(path.parent.name for path in self.folder.glob(f"*/{CONFIG}"))

    def aliases(self) -> dict[str, str]:
        return {}

    def collection(self, name: str) -> Collection | None:
        if not (self.folder / name / CONFIG).is_file():
            return None
        info = self._called(self._shard(name).info)
        try:
            config = json.loads((self.folder / name / CONFIG).read_text(encoding="utf-8"))
            whole = bool(config.get("quantization_config"))
            vectors = {key: _described(one, quantised=whole) for key, one in config["vectors"].items()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.folder / name / CONFIG} cannot be read: {error}; restore it from a copy"
            ) from error
        sparse = dict.fromkeys(config.get("sparse_vectors", {}), VectorInfo(0, None, remark="it is sparse"))
        fields = {key: str(one.data_type).rpartition(".")[2].lower() for key, one in info.payload_schema.items()}
        return Collection(vectors | sparse, info.indexed_vectors_count, info.points_count, fields)

    def create(self, name: str, vector: str, dim: int, metric: Metric) -> None:
        params = self._edge.EdgeVectorParams(size=dim, distance=self._distance(metric))
        config = self._edge.EdgeConfig(vectors={vector: params})
        with self._lock:
            self._shards[name] = self._called(self._edge.EdgeShard.create, str(self.folder / name), config)

    def drop(self, name: str) -> None:
        with self._lock:
            self._shards.pop(name).close()
            rmtree(self.folder / name)

    def add_vector(self, name: str, vector: str, dim: int, metric: Metric) -> None:
        self._update(name, self._edge.UpdateOperation.create_dense_vector(vector, dim, self._distance(metric)))

    def drop_vector(self, name: str, vector: str) -> None:
        self._update(name, self._edge.UpdateOperation.delete_vector_name(vector))

    def count(self, name: str, where: Where = None) -> int:
        request = self._edge.CountRequest(exact=True, filter=self._filter(where))
        return int(self._called(self._shard(name).count, request))

    def scroll(
        self, name: str, limit: int, *, where: Where = None, start: PointId | None = None, vector: str | None = None,
        payload: bool | list[str] = False,
    ) -> tuple[Sequence[Any], PointId | None]:  # fmt: skip
        request = self._edge.ScrollRequest(
            offset=start,
            limit=limit,
            filter=self._filter(where),
            with_payload=payload,
            with_vector=False if vector is None else [vector],
        )
        records, after = self._called(self._shard(name).scroll, request)
        return records, after if after is None or isinstance(after, int) else str(after)

    def retrieve(
        self, name: str, ids: Sequence[PointId], *, vector: str | None = None, payload: bool | list[str] = False
    ) -> Sequence[Any]:
        names = False if vector is None else [vector]
        found: Sequence[Any] = self._called(self._shard(name).retrieve, list(ids), payload, names)
        return found

    def search(
        self, place: Place, queries: np.ndarray, *, limit: int, where: Where, payload: list[str], with_vectors: bool
    ) -> Sequence[Sequence[Any]]:  # fmt: skip
        filter, nearest = self._filter(where), self._edge.Query.Nearest
        requests = [
            self._edge.QueryRequest(
                limit=limit,
                query=nearest(query, using=place.vector),
                filter=filter,
                with_payload=payload or False,
                with_vector=[place.vector] if with_vectors else False,
            )
            for query in queries.tolist()
        ]
        found: Sequence[Sequence[Any]] = self._called(
            self._shard(place.table).query_batch, self._edge.QueryBatchRequest(requests)
        )
        return found

    def upsert(self, name: str, vector: str, points: Sequence[Point]) -> None:
        lists = np.stack([one.vector for one in points]).tolist()  # which it reads more quickly than arrays
        rows = [
            self._edge.Point(one.id, {vector: values}, dict(one.payload))
            for one, values in zip(points, lists, strict=True)
        ]
        self._update(name, self._edge.UpdateOperation.upsert_points(rows))

    def update_vectors(self, name: str, vector: str, ids: Sequence[PointId], vectors: np.ndarray) -> None:
        make = self._edge.PointVectors
        rows = [make(one, {vector: values}) for one, values in zip(ids, vectors.tolist(), strict=True)]
        self._update(name, self._edge.UpdateOperation.update_vectors(rows))

    def set_payload(self, name: str, payloads: Mapping[PointId, Mapping[str, Any]]) -> None:
        for one, payload in payloads.items():
            self._update(name, self._edge.UpdateOperation.set_payload([one], dict(payload)))

    def delete(self, name: str, ids: Sequence[PointId]) -> None:
        self._update(name, self._edge.UpdateOperation.delete_points(list(ids)))

    def _update(self, name: str, operation: Any) -> None:
        self._called(self._shard(name).update, operation)

    def _distance(self, metric: Metric) -> Any:
        return getattr(self._edge.Distance, DISTANCES[metric])

    def _shard(self, name: str) -> Any:
        with self._lock:
            if name not in self._shards:
                self._shards[name] = self._loaded(self.folder / name)
            return self._shards[name]

    def _loaded(self, folder: Path) -> Any:
        try:
            return self._called(self._edge.EdgeShard.load, str(folder))
        except StoreError as error:
            if "incompatible with existing segments" not in str(error) or not finish_drop(folder):
                raise
        return self._called(self._edge.EdgeShard.load, str(folder))

    def _called(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except BaseException as error:  # the engine raises no narrower one, and of a damaged file one of its own
            panic = type(error).__name__ == "PanicException"
            if not panic and not isinstance(error, Exception):
                raise
            reason = " ".join(str(error).split())
            if panic:
                reason = f"the engine gave up ({reason}); its files may be damaged: restore the folder from a copy"
            if "WouldBlock" in reason:
                reason = "another process has it open, and the engine lets one in; end that, or use a Qdrant server"
            raise StoreError(f"{self.where}: {reason}") from error

    def _filter(self, where: Where) -> Any:
        if where is None:
            return None
        parts = {part: [self._condition(one) for one in conditions] for part, conditions in where.items()}
        return self._edge.Filter(**parts)

    def _condition(self, one: Mapping[str, Any]) -> Any:
        edge = self._edge
        if "has_id" in one:
            return edge.HasIdCondition(set(one["has_id"]))
        if "has_vector" in one:
            return edge.HasVectorCondition(one["has_vector"])
        if "is_empty" in one:
            return edge.IsEmptyCondition(one["is_empty"]["key"])
        if "match" in one:
            match = one["match"]
            if isinstance(match.get("value"), bool):  # this client takes it for a number: whatever has a value
                return edge.Filter(must_not=[edge.IsEmptyCondition(one["key"])])
            return edge.FieldCondition(
                key=one["key"], match=edge.MatchAny(match["any"]) if "any" in match else edge.MatchValue(match["value"])
            )
        return (
            edge.FieldCondition(key=one["key"], range=edge.RangeFloat(**one["range"]))
            if "range" in one
            else self._filter(one)
        )


def _described(params: Mapping[str, Any], *, quantised: bool) -> VectorInfo:
    metric = _METRICS.get(params["distance"])
    remark = "" if metric else f"its distance is {params['distance']}"
    if params.get("multivector_config"):
        remark = "a point has several vectors of it"
    exact = not (quantised or params.get("quantization_config")) and params.get("datatype") in (None, "float32")
    return VectorInfo(int(params["size"]), metric, exact, remark)
