"""A gallery whose calls are awaited; the gallery itself is tested in test_gallery.py."""

import asyncio
from threading import Event

import numpy as np
import pytest
from numbers_encoder import NumbersEncoder

from embridge.adapters import Identity, Prefix, Provenance
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, StoreError
from embridge.rollout.async_gallery import AsyncGallery
from embridge.rollout.gallery import Gallery
from embridge.rollout.journal import record_move
from embridge.rollout.state import RolloutState
from embridge.space import Space
from embridge.stores import MemoryStore

OLD, NEW = Space("mini", "1", 2, "dot"), Space("maxi", "1", 3, "dot")
UPGRADE = Upgrade(Identity(NEW, NEW), Prefix(NEW, OLD), Provenance("prefix"))


@pytest.fixture
def store():
    store = MemoryStore(OLD, NEW)
    store.upsert(Embeddings(("a", "b"), np.eye(2, dtype=np.float32), OLD), {"kind": ["x", "y"]})
    state = RolloutState(OLD, NEW, "upgrade", "a1", phase="bridged", canary=1.0)
    assert record_move(store.documents, None, state, entry={"move": "m", "by": "me", "at_seconds": 0.0, "why": {}})
    return store


def test_it_does_what_the_gallery_does(store):
    async def used():
        async with await AsyncGallery.open(store, UPGRADE, new=NumbersEncoder(NEW), threads=2) as opened:
            assert (await opened.state(fresh=True)).phase == "bridged"
            await opened.write(["c"], ["1 1 9"], {"kind": ["x"]})
            answers = await asyncio.gather(*(opened.search("1 1 0", 1) for _ in range(8)))
            assert {answer.hits.ids for answer in answers} == {(("c",),)}
            assert await opened.payload(["c"]) == {"kind": ["x"]}
            await opened.delete(["c"])
            assert (await opened.search(["0 1 0"], 1)).hits.ids == (("b",),)

    asyncio.run(used())


def test_a_write_that_is_cancelled_is_whole_or_did_not_begin(store):
    begun, go_on = Event(), Event()

    class Slow(NumbersEncoder):
        def encode(self, *items, **how):
            begun.set()
            assert go_on.wait(60)
            return super().encode(*items, **how)

    async def used():
        opened = AsyncGallery(Gallery(store, UPGRADE, new=Slow(NEW)), threads=1)
        first = asyncio.ensure_future(opened.write(["c"], ["0 2 3"], {"kind": ["x"]}))
        second = asyncio.ensure_future(opened.write(["d"], ["4 5 6"], {"kind": ["x"]}))
        await asyncio.to_thread(begun.wait, 60)
        for task in (first, second):
            task.cancel()
        for task in (first, second):
            with pytest.raises(asyncio.CancelledError):
                await task
        go_on.set()
        await opened.close()

    asyncio.run(used())
    assert store.fetch(NEW, ["c", "d"]).ids == store.fetch(OLD, ["c", "d"]).ids == ("c",)
    assert store.fetch(OLD, ["c"]).vectors.tolist() == [[0, 1]]


def test_what_cannot_be_opened_is_refused_as_by_the_gallery(store):
    with pytest.raises(StoreError, match="no rollout has begun in this store"):
        asyncio.run(AsyncGallery.open(MemoryStore(OLD), UPGRADE))
    with pytest.raises(InvalidInput, match="threads is at least 1, came 0"):
        AsyncGallery(Gallery(store, UPGRADE), threads=0)
    with pytest.raises(InvalidInput, match="threads is at least 1, came 0"):  # before anything is opened
        asyncio.run(AsyncGallery.open("memory:", threads=0))
