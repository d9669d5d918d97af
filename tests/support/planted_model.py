"""Models that cost nothing: their vectors can be read in a text of numbers, or are the first pixels of an image."""

import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from embridge.encoders import PROVIDERS
from embridge.encoders.providers import Provider
from embridge.space import Space

SPACES = {"old": Space("planted old", "1", 2, "dot"), "new": Space("planted new", "1", 3, "dot")}
PROVIDER = Provider("planted_model", "PlantedModel", "", frozenset({"text", "image"}), "a planted model")


class PlantedModel:
    modalities = frozenset({"text", "image"})

    def __init__(self, model, *, progress=None, batch_size=None, device=None):
        self.space = SPACES[model]

    def encode(self, items, *, modality, role="document"):
        rows = [item.split() if modality == "text" else np.asarray(item).ravel() for item in items]
        return np.array([[float(number) for number in row[: self.space.dim]] for row in rows], np.float32)


@dataclass(frozen=True)
class PlantedWorker:
    """Prepares a worker that knows planted models, too, and notes in a folder who it is and what it begins and ends."""

    prepare: Any
    folder: str = ""
    pause: float = 0.0

    def __call__(self):
        PROVIDERS["planted"] = PROVIDER
        self._mark("worker", "")
        function = self.prepare()
        return partial(self._done, function)

    def _done(self, function, shard):
        self._mark("began", shard)
        time.sleep(self.pause)
        result = function(shard)
        self._mark("done", shard)
        return result

    def _mark(self, what, shard):
        if self.folder:
            with (Path(self.folder) / what).open("a") as file:
                file.write(f"{os.getpid()} {shard}\n")


class PlantedEngine:
    """An engine whose workers know planted models; ``watch`` is told of each batch before it is handed out."""

    def __init__(self, engine, watch=lambda _: None, folder="", pause=0.0):
        self.engine, self.watch, self.folder, self.pause = engine, watch, str(folder), pause

    @property
    def workers(self):
        return self.engine.workers

    def run(self, prepare, shards):
        return self.engine.run(PlantedWorker(prepare, self.folder, self.pause), self._watched(shards))

    def marks(self, what):
        """Pairs of a process and a shard."""
        path = Path(self.folder) / what
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(pid), shard) for pid, _, shard in (line.partition(" ") for line in lines)]

    def _watched(self, shards):
        for shard in shards:
            self.watch(shard)
            yield shard
