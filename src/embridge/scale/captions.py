"""Captions encoded by workers, each of which loads the encoder once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from embridge.encoders import LazyEncoder, load
from embridge.encoders._caption_shards import CaptionShard, CaptionWriter, ShardRun, WrittenShard
from embridge.scale.engine import Engine
from embridge.space import require_same

__all__ = ["encoded_by"]


def encoded_by(engine: Engine, encoder: LazyEncoder) -> ShardRun:
    """Have an engine's workers encode what a cache lacks.

    Args:
        engine: Whose workers.
        encoder: What encodes; each worker loads the same.

    Returns:
        What `embridge.encoders.caption_cache.encode_by` has shards written by.

    Examples:
        >>> from embridge.datasets import glyph_models
        >>> from embridge.encoders.caption_cache import encode_by
        >>> from embridge.scale import SerialEngine
        >>> encoder = LazyEncoder(f"clip:{glyph_models.folder('old')}")
        >>> len(encode_by(encoded_by(SerialEngine(), encoder), encoder.space, ["a red square"], "cache"))
        1
    """

    def run(writer: CaptionWriter, shards: Iterable[CaptionShard]) -> Iterator[tuple[CaptionShard, WrittenShard]]:
        return engine.run(_Encoding(encoder.name, encoder.options, writer), shards)

    return run


@dataclass(frozen=True, slots=True)
class _Encoding:
    """Loads the encoder, and gives the function of a shard."""

    name: str
    options: dict[str, Any]
    writer: CaptionWriter

    def __call__(self) -> Callable[[CaptionShard], WrittenShard]:
        encoder = load(self.name, **self.options)
        require_same(self.writer.space, encoder.space, what=f"{self.name} as a worker loads it")
        return partial(self.writer.write, encoder)
