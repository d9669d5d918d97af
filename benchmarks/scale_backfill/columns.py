"""The same work by ``lance_ray.add_columns``: a column more for each fragment of a Lance table, all of them in one commit.

lance-ray and pylance are no part of the library's own environment: ``--lance-ray`` names a folder that they were installed to,
with ``pip install --target FOLDER --no-deps lance-ray pylance lance-namespace lance-namespace-urllib3-client more-itertools``.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embridge.encoders import Encoder, load

__all__ = ["columns_added", "lance_ray_from", "vectors_added"]

_FRAGMENTS = 8


def lance_ray_from(folder: Path) -> None:
    """Have this process and those that Ray starts for it find lance-ray."""
    sys.path.append(str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(folder))))
    import_module("lance_ray")


@cache
def _loaded(model: str) -> Encoder:
    return load(model)


def _encoded(model: str, batch: Any) -> Any:
    return _as_column(_loaded(model).encode(batch.column("title").to_pylist(), modality="text"))


def _mapped(weight: np.ndarray, batch: Any) -> Any:
    return _as_column(batch.column("vector").flatten().to_numpy().reshape(len(batch), -1) @ weight)


def columns_added(folder: Path, texts: Sequence[str], model: str, workers: int, batch: int) -> tuple[float, float]:
    """Seconds of encoding a column of texts; processor seconds are not known of its workers."""
    table = pa.table({"id": [str(number) for number in range(len(texts))], "title": list(texts)})
    return _added(folder, table, partial(_encoded, model), "title", (workers, batch))


def vectors_added(
    folder: Path, vectors: np.ndarray, weight: np.ndarray, workers: int, batch: int
) -> tuple[float, float]:
    """Seconds of mapping a column of vectors."""
    held = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    table = pa.table([pa.array([str(number) for number in range(len(vectors))]), held], ["id", "vector"])
    return _added(folder, table, partial(_mapped, weight), "vector", (workers, batch))


def _added(
    folder: Path, table: Any, transform: Callable[[Any], Any], column: str, sizes: tuple[int, int]
) -> tuple[float, float]:
    """The whole call without that of two rows, which starts the same workers and loads the same model."""
    ray = import_module("ray")
    workers, batch = sizes
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        seconds = []
        for part in (table.slice(0, 2), table):
            path = folder / "columns.lance"
            import_module("lance").write_dataset(part, str(path), max_rows_per_file=max(1, len(part) // _FRAGMENTS))
            began = time.perf_counter()
            import_module("lance_ray").add_columns(
                str(path), transform=transform, read_columns=[column], concurrency=workers, batch_size=batch
            )
            seconds.append(time.perf_counter() - began)
            assert import_module("lance").dataset(str(path)).count_rows() == len(part)
            shutil.rmtree(path)
    finally:
        ray.shutdown()
    return seconds[1] - seconds[0], math.nan


def _as_column(vectors: np.ndarray) -> Any:
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    return pa.RecordBatch.from_arrays([pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])], ["new"])
