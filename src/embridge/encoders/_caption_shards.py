"""Shards of captions: each is encoded for itself, and written in its place, by whoever has the encoder."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embridge.adapters.base import normalized, row_lengths
from embridge.embeddings import require_vectors
from embridge.encoders._cut_texts import counted_cuts
from embridge.encoders.base import Encoder, Role
from embridge.errors import InvalidInput
from embridge.space import Space

__all__ = ["CaptionShard", "CaptionWriter", "ShardRun", "WrittenShard", "write_in_turn"]


@dataclass(frozen=True, slots=True)
class CaptionShard:
    """Some captions, the first of which is number ``start``."""

    start: int
    texts: tuple[str, ...]

    def __str__(self) -> str:
        return f"captions {self.start} to {self.start + len(self.texts) - 1}"


@dataclass(frozen=True, slots=True)
class WrittenShard:
    """What the journal says of a shard: its check sum, how many texts were cut, and where."""

    crc32: int
    cut: int
    longest_text: int


@dataclass(frozen=True, slots=True)
class CaptionWriter:
    """Encodes shards of captions, by an encoder of the space, into their place of a file of float16 vectors."""

    file: Path
    space: Space
    role: Role

    def write(self, encoder: Encoder, shard: CaptionShard) -> WrittenShard:
        """Encode and write a shard; whoever does it again writes the same."""
        with counted_cuts() as cuts:
            vectors = encoder.encode(list(shard.texts), modality="text", role=self.role)
        halves = self._halves(vectors, len(shard.texts))
        _write_at(self.file, 2 * shard.start * self.space.dim, halves)
        return WrittenShard(zlib.crc32(halves.data), cuts.cut, cuts.limit)

    def _halves(self, vectors: np.ndarray, count: int) -> np.ndarray:
        require_vectors(vectors, dim=self.space.dim, what=f"captions by {self.space.model}")
        if len(vectors) != count:
            raise InvalidInput(f"{self.space.model} made {len(vectors)} vectors of {count} captions")
        lengths = row_lengths(vectors)
        if self.space.metric != "cosine" and np.abs(lengths - 1).max() > 1e-3:
            raise InvalidInput(
                f"{self.space} compares by {self.space.metric} vectors whose lengths vary ({lengths.min():.3g} to "
                f"{lengths.max():.3g}); a cache keeps directions alone. State metric: cosine, if the model is good by it, or "
                "give files of vectors"
            )
        return np.ascontiguousarray(normalized(vectors).astype(np.float16))


ShardRun = Callable[[CaptionWriter, Iterable[CaptionShard]], Iterator[tuple[CaptionShard, WrittenShard]]]
"""Has shards written, in any order."""


def write_in_turn(
    encoder: Encoder, writer: CaptionWriter, shards: Iterable[CaptionShard]
) -> Iterator[tuple[CaptionShard, WrittenShard]]:
    """One after the other, in this process."""
    return ((shard, writer.write(encoder, shard)) for shard in shards)


def _write_at(path: Path, offset: int, halves: np.ndarray) -> None:
    """Write a shard at its place, safely on disk; whatever an interrupted run left there is overwritten."""
    path.touch()
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(halves.data)
        file.flush()
        os.fsync(file.fileno())
