"""AsyncGallery: the same gallery for applications with an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.encoders.base import Modality
from embridge.errors import InvalidInput
from embridge.rollout._sides import Client
from embridge.rollout.gallery import Answer, Gallery
from embridge.rollout.state import RolloutState
from embridge.stores.base import Filter, Payload, Store

__all__ = ["AsyncGallery"]

_T = TypeVar("_T")
_THREADS = 8


class AsyncGallery:
    """A `Gallery` whose calls are awaited; they run in a few threads of their own.

    A call that is cancelled before its turn does nothing. One that has begun goes on to its end, though nobody waits for it:
    so nothing is left half written.

    Args:
        gallery: The gallery.
        threads: How many calls run at once; the others wait.

    Raises:
        InvalidInput: There is no thread.

    Examples:
        >>> asyncio.run(AsyncGallery.open("memory:"))
        Traceback (most recent call last):
        embridge.errors.StoreError: no rollout has begun in this store; ...
    """

    def __init__(self, gallery: Gallery, *, threads: int = _THREADS) -> None:
        _require_threads(threads)
        self.gallery = gallery
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="embridge gallery")

    @classmethod
    async def open(
        cls,
        store: Store | Path | str,
        upgrade: Upgrade | Path | str | None = None,
        *,
        threads: int = _THREADS,
        **options: Any,
    ) -> AsyncGallery:
        """Open a store as `Gallery.open` does.

        Args:
            store: Its URL, its folder, or an open store.
            upgrade: The upgrade, or where its folder is by now.
            threads: How many calls run at once.
            **options: As for `Gallery.open`.

        Returns:
            The gallery.

        Raises:
            StoreError: The store cannot be opened, or no rollout has begun in it.
            InvalidInput: The upgrade cannot be loaded, or is another than the rollout's.
            SpaceMismatch: A model is of another space than the rollout.
        """
        _require_threads(threads)
        opening = asyncio.ensure_future(asyncio.to_thread(partial(Gallery.open, store, upgrade, **options)))
        try:
            return cls(await asyncio.shield(opening), threads=threads)
        except asyncio.CancelledError:
            opening.add_done_callback(_closed)
            raise

    async def state(self, *, fresh: bool = False) -> RolloutState:
        """The rollout's state; see `Gallery.state`."""
        return await self._called(partial(self.gallery.state, fresh=fresh))

    async def search(
        self,
        queries: str | Sequence[Any] | Embeddings,
        k: int,
        *,
        filter: Filter = (),
        client: Client = "new",
        draw: float | None = None,
        modality: Modality = "text",
    ) -> Answer:
        """Find the k best items of every query, as the rollout stands; see `Gallery.search`."""
        search = self.gallery.search
        return await self._called(
            partial(search, queries, k, filter=filter, client=client, draw=draw, modality=modality)
        )

    async def write(
        self,
        ids: Sequence[str],
        items: Sequence[object] | Embeddings,
        payload: Payload | None = None,
        *,
        modality: Modality = "text",
    ) -> None:
        """Write items with the rows that the state asks for; see `Gallery.write`."""
        await self._called(partial(self.gallery.write, ids, items, payload, modality=modality))

    async def delete(self, ids: Sequence[str]) -> None:
        """Delete items, with all their rows; see `Gallery.delete`."""
        await self._called(partial(self.gallery.delete, ids))

    async def opened(self, ids: Sequence[str]) -> None:
        """Say which items somebody opened; see `Gallery.opened`."""
        await self._called(partial(self.gallery.opened, ids))

    async def payload(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        """The payload of some items; see `Gallery.payload`."""
        return await self._called(partial(self.gallery.payload, ids))

    async def close(self) -> None:
        """Wait for calls that have begun, and let go of the store."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)
        await asyncio.to_thread(self.gallery.close)

    async def __aenter__(self) -> AsyncGallery:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _called(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)


def _require_threads(threads: int) -> None:
    if threads < 1:
        raise InvalidInput(f"threads is at least 1, came {threads}")


def _closed(opening: asyncio.Future[Gallery]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
