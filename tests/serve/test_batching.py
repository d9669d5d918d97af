"""Requests that wait for a model are encoded together."""

import asyncio
import threading

import numpy as np
import pytest

from embridge.serve._batching import Batcher, Busy


class Model:
    """Says how many items each call had; the first call waits until it is let go."""

    def __init__(self):
        self.calls, self.free = [], threading.Event()

    def __call__(self, items, *, modality, role):
        self.calls.append((len(items), role))
        if len(self.calls) == 1:
            assert self.free.wait(30)
        if "bad" in items:
            raise ValueError("bad item")
        return np.array([[float(item)] for item in items], np.float32)


async def busy_with(batcher, model, requests):
    """The outcomes of requests that come while the model is at another."""
    first = asyncio.create_task(batcher.vectors(["0"], "text", "query"))
    while not model.calls:
        await asyncio.sleep(0)
    tasks = [asyncio.create_task(batcher.vectors(*request)) for request in requests]
    await asyncio.sleep(0)
    return first, tasks


def test_requests_of_one_kind_go_together_and_each_gets_its_own_rows():
    async def run():
        model = Model()
        batcher = Batcher(model, batch_items=5)
        requests = [
            (["1", "2"], "text", "query"),
            (["3"], "text", "document"),
            (["4", "5", "6"], "text", "query"),
            (["7"], "text", "query"),
        ]
        first, tasks = await busy_with(batcher, model, requests)
        assert batcher.depth == 7
        model.free.set()
        rows = await asyncio.gather(*tasks)
        await first
        batcher.close()
        return model.calls, [row.ravel().tolist() for row in rows]

    calls, rows = asyncio.run(run())
    assert rows == [[1, 2], [3], [4, 5, 6], [7]]
    assert calls == [(1, "query"), (5, "query"), (1, "document"), (1, "query")]


def test_an_item_that_cannot_be_encoded_fails_its_own_request_alone():
    async def run():
        model = Model()
        batcher = Batcher(model)
        first, tasks = await busy_with(batcher, model, [([name], "text", "query") for name in ("1", "bad", "2")])
        model.free.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await first
        batcher.close()
        return outcomes

    good, bad, other = asyncio.run(run())
    assert good.tolist() == [[1]]
    assert other.tolist() == [[2]]
    with pytest.raises(ValueError, match="bad item"):
        raise bad


def test_more_than_may_wait_is_refused_and_whoever_has_gone_is_not_encoded():
    async def run():
        model = Model()
        batcher = Batcher(model, waiting=3)
        first, (waits, goes) = await busy_with(
            batcher, model, [(["1", "2"], "text", "query"), (["3"], "text", "query")]
        )
        with pytest.raises(Busy, match="3 items wait for the model, and 3 may"):
            await batcher.vectors(["4"], "text", "query")
        goes.cancel()
        await asyncio.sleep(0)
        model.free.set()
        await asyncio.gather(first, waits)
        assert batcher.depth == 0
        batcher.close()
        return model.calls

    assert asyncio.run(run()) == [(1, "query"), (2, "query")]
