"""What operators watch, for Prometheus: requests, time, items, queues."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from embridge.errors import require

__all__ = ["Metrics"]

_METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"})
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters and times of one server; all its workers together where there are several.

    Names of embeddings are OpenTelemetry's for generative AI, as Prometheus writes them.

    Examples:
        >>> metrics = Metrics()
        >>> metrics.count_request("/search", "POST", 200, 0.01)
        >>> 'embridge_requests_total{method="POST",route="/search",status="200"} 1.0' in metrics.text()[0].decode()
        True
    """

    def __init__(self) -> None:
        self._library: Any = require("prometheus_client", extra="serve")
        self._registry = self._library.CollectorRegistry()
        self._queues: dict[str, Callable[[], int]] = {}
        self._shared = _FOLDER in os.environ
        make, registry = self._library, {"registry": self._registry}
        self._requests = make.Counter(
            "embridge_requests_total", "Requests answered", ["route", "method", "status"], **registry
        )
        self._seconds = make.Histogram(
            "embridge_request_duration_seconds", "Time of a request", ["route"], buckets=_SECONDS, **registry
        )
        self._operation = make.Histogram(
            "gen_ai_server_request_duration_seconds",
            "Time of a request for embeddings",
            ["gen_ai_operation_name", "gen_ai_request_model"],
            buckets=_SECONDS,
            **registry,
        )
        self._items = make.Counter("embridge_items_total", "Items encoded", ["model", "modality"], **registry)
        self._served = make.Counter("embridge_searches_total", "Queries answered, by what", ["served"], **registry)
        self._waiting = make.Gauge(
            "embridge_waiting_items", "Items that wait for a model", ["side"], multiprocess_mode="livesum", **registry
        )

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request, and its time."""
        self._requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if self._shared:  # another worker may be asked for the metrics next
            self._note_waiting()

    def count_embeddings(self, model: str, modality: str, items: int, seconds: float) -> None:
        """Count what a model encoded for a request."""
        self._items.labels(model, modality).inc(items)
        self._operation.labels("embeddings", model).observe(seconds)

    def count_searches(self, served: str, queries: int) -> None:
        """Count queries by what answered them."""
        self._served.labels(served).inc(queries)

    def watch(self, side: str, waiting: Callable[[], int]) -> None:
        """Say by what call it is known how many items wait for a model."""
        self._queues[side] = waiting

    def text(self) -> tuple[bytes, str]:
        """All of it as Prometheus reads it, and its content type."""
        self._note_waiting()
        return self._library.generate_latest(self.registry()), self._library.CONTENT_TYPE_LATEST

    def registry(self) -> Any:
        """The counters and times, of all workers."""
        if _FOLDER not in os.environ:
            return self._registry
        multiprocess: Any = require("prometheus_client.multiprocess", extra="serve")
        _forget_dead(multiprocess, Path(os.environ[_FOLDER]))
        registry = self._library.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return registry

    def _note_waiting(self) -> None:
        for side, waiting in self._queues.items():
            self._waiting.labels(side).set(waiting())


def _forget_dead(library: Any, folder: Path) -> None:
    """Nothing waits in a worker that has ended, whatever it wrote last."""
    for process in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*_*.db")}:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another worker was quicker
                library.mark_process_dead(process, str(folder))
        except PermissionError:
            continue
