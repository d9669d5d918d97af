"""Captions encoded once: float16 unit vectors on disk, written shard by shard, so that an interrupted run goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from embridge.atomic_write import atomic_file
from embridge.embeddings import HalfEmbeddings
from embridge.encoders._caption_shards import CaptionShard, CaptionWriter, ShardRun, WrittenShard, write_in_turn
from embridge.encoders._cut_texts import CutTexts
from embridge.encoders._texts import require_texts
from embridge.encoders.base import Encoder, Role
from embridge.errors import InvalidInput
from embridge.progress import Progress, silent
from embridge.space import Space

__all__ = ["encode_by", "encode_once", "needed_bytes"]

_VERSION = 1
_SHARD_ROWS = 4_096


def encode_once(
    encoder: Encoder,
    captions: Sequence[str],
    folder: Path | str,
    *,
    role: Role = "query",
    shard_rows: int = _SHARD_ROWS,
    progress: Progress = silent,
) -> HalfEmbeddings:
    """Encode captions, or take them from a folder where they were encoded before.

    Each space, role and list of captions has a folder of its own in it: a file of float16 vectors of length one, and a journal
    that names the shards which are whole. Killed at any moment, the next call goes on after the last of these, to the same
    bytes. To clear the cache, delete the folder. A warning says where a twentieth of the captions or more was cut at the
    encoder's limit.

    Args:
        encoder: What encodes them; its weights are not needed where all are there.
        captions: n texts.
        folder: The cache.
        role: Whether captions are encoded as queries or as documents.
        shard_rows: Captions in a shard.
        progress: Hears how many are done.

    Returns:
        The vectors [n, d], a memory map.

    Raises:
        InvalidInput: A caption is no text, the disk has no room for all of it (before anything is encoded), the cache was
            altered, or vectors without a cosine have lengths that vary, since lengths are not stored.

    Examples:
        >>> from embridge.encoders import CachedEncoder
        >>> from embridge import Embeddings
        >>> toy = Embeddings.of(2 * np.eye(2, dtype=np.float32), Space("toy", "1", 2), ["a cat", "a dog"])
        >>> encode_once(CachedEncoder(text=toy), ["a dog", "a cat"], "cache").vectors.tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    _require_captions(captions, shard_rows)
    cache = _Cache.of(Path(folder), encoder.space, role, captions, shard_rows)
    return _filled(cache, captions, partial(write_in_turn, encoder), progress)


def encode_by(
    run: ShardRun,
    space: Space,
    captions: Sequence[str],
    folder: Path | str,
    *,
    role: Role = "query",
    progress: Progress = silent,
) -> HalfEmbeddings:
    """Have captions encoded elsewhere, several shards at once, or take them from a folder, as `encode_once` does.

    The shards are those of `encode_once`, so that each text stands beside the same others.

    Args:
        run: Has shards written, such as `embridge.scale.captions.encoded_by`.
        space: Of what encodes them.
        captions: n texts.
        folder: The cache.
        role: Whether captions are encoded as queries or as documents.
        progress: Hears how many are done.

    Returns:
        The vectors [n, d], a memory map.

    Raises:
        InvalidInput: As `encode_once`.

    Examples:
        >>> from embridge.encoders import CachedEncoder
        >>> from embridge import Embeddings
        >>> toy = CachedEncoder(text=Embeddings.of(np.eye(2, dtype=np.float32), Space("toy", "1", 2), ["a cat", "a dog"]))
        >>> len(encode_by(partial(write_in_turn, toy), toy.space, ["a dog"], "cache"))
        1
    """
    _require_captions(captions, _SHARD_ROWS)
    return _filled(_Cache.of(Path(folder), space, role, captions, _SHARD_ROWS), captions, run, progress)


def _require_captions(captions: Sequence[str], shard_rows: int) -> None:
    if not captions or shard_rows < 1:
        raise InvalidInput(f"nothing to encode: {len(captions)} captions in shards of {shard_rows} came")
    require_texts(captions)


def _filled(cache: _Cache, captions: Sequence[str], run: ShardRun, progress: Progress) -> HalfEmbeddings:
    space = cache.space
    said = f"{space.model}: captions ({needed_bytes(len(captions), space.dim) / 1e9:.2f} GB on disk)"
    for done in cache.fill(captions, run):
        progress(done, len(captions), said)
    cache.journal().cuts.warn(space.model)  # of vectors from the cache too
    return HalfEmbeddings(tuple(map(str, range(len(captions)))), cache.vectors(), space)


def needed_bytes(rows: int, dim: int) -> int:
    """What the vectors of captions take on disk.

    Args:
        rows: How many captions.
        dim: Numbers in a vector.

    Returns:
        Bytes.

    Examples:
        >>> needed_bytes(1_000_000, 768)
        1536000000
    """
    return 2 * rows * dim


@dataclass(frozen=True, slots=True)
class _Journal:
    """How many rows a shard has, the check sums of those that are whole, and how many of their captions were cut."""

    shard_rows: int
    sums: list[int]
    cuts: CutTexts

    def to_dict(self) -> dict[str, object]:
        cuts = {"cut": self.cuts.cut, "longest_text": self.cuts.limit}
        return {"shard_rows": self.shard_rows, "crc32": self.sums} | cuts


@dataclass(frozen=True, slots=True)
class _Cache:
    """One file of vectors and its journal."""

    folder: Path
    space: Space
    about: dict[str, object]
    rows: int
    shard_rows: int
    role: Role

    @classmethod
    def of(cls, folder: Path, space: Space, role: Role, captions: Sequence[str], shard_rows: int) -> _Cache:
        digest = hashlib.sha256()
        for caption in captions:
            digest.update(f"{len(caption)} {caption}".encode())
        about = {"version": _VERSION, "space": space.to_dict(), "role": role, "captions": digest.hexdigest()}
        own = folder / f"{space.id}-{role}-{digest.hexdigest()[:16]}"
        return cls(own, space, about, len(captions), shard_rows, role)

    def fill(self, captions: Sequence[str], run: ShardRun) -> Iterator[int]:
        """Have encoded what is missing; how many captions are done, after every shard that follows those that are."""
        journal = self.journal()
        done = min(len(journal.sums) * journal.shard_rows, self.rows)
        if done < self.rows:
            self._require_room(done)
        yield done
        starts = range(done, self.rows, journal.shard_rows)
        shards = (CaptionShard(start, tuple(captions[start : start + journal.shard_rows])) for start in starts)
        written: dict[int, WrittenShard] = {}
        for shard, result in run(self.writer(), shards) if starts else ():
            written[shard.start] = result
            before = done
            while done in written:  # a shard that the journal does not name is none, so they are named in their order
                result = written.pop(done)
                journal.sums.append(result.crc32)
                journal.cuts.add(result.cut, 0, result.longest_text)
                done = min(done + journal.shard_rows, self.rows)
            if done > before:
                with atomic_file(self.folder / "shards.json") as file:
                    file.write_text(json.dumps(self.about | journal.to_dict()))
                yield done

    def writer(self) -> CaptionWriter:
        """What encodes and writes shards of this cache."""
        return CaptionWriter(self.folder / "vectors.f16", self.space, self.role)

    def vectors(self) -> np.ndarray:
        """All of them, as a memory map, each shard compared with what was written."""
        journal = self.journal()
        shard_rows = journal.shard_rows
        held: np.ndarray = np.memmap(self.folder / "vectors.f16", np.float16, "r", shape=(self.rows, self.space.dim))
        for number, expected in enumerate(journal.sums):
            if zlib.crc32(held[number * shard_rows : (number + 1) * shard_rows].data) != expected:
                raise InvalidInput(f"{self.folder}: shard {number} is not as it was written; delete that folder")
        return held

    def journal(self) -> _Journal:
        """What is there, as far as it is whole."""
        path = self.folder / "shards.json"
        if not path.exists():
            return _Journal(self.shard_rows, [], CutTexts(0, self.rows))
        try:
            held = json.loads(path.read_text())
            cuts = CutTexts(int(held.get("cut", 0)), self.rows, int(held.get("longest_text", 0)))
            journal = _Journal(held["shard_rows"], list(held["crc32"]), cuts)
            same = {name: held[name] for name in self.about} == self.about
            if not all(type(number) is int and number >= 0 for number in (journal.shard_rows - 1, *journal.sums)):
                raise ValueError("shard_rows and crc32 are whole numbers")
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise InvalidInput(f"{path} is truncated or altered ({error!r}); delete {self.folder}") from error
        file = self.folder / "vectors.f16"
        whole = needed_bytes(min(len(journal.sums) * journal.shard_rows, self.rows), self.space.dim)
        if not same or not file.exists() or file.stat().st_size < whole:
            raise InvalidInput(f"{self.folder} holds other captions, or not all that it names; delete that folder")
        return journal

    def _require_room(self, done: int) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"{self.folder} cannot be made: {error}; choose another cache folder") from error
        needed, free = needed_bytes(self.rows - done, self.space.dim), shutil.disk_usage(self.folder).free
        if needed > free:
            raise InvalidInput(
                f"{self.folder}: {self.rows - done:,} captions need {needed / 1e9:.2f} GB of disk, {free / 1e9:.2f} GB are "
                "free; make room, or choose another cache folder"
            )
