"""A server's application over planted models: a text is the numbers of its vector, and the old space is the first half."""

import asyncio
import threading
from contextlib import contextmanager

import httpx
import numpy as np
import uvicorn
from numbers_encoder import NumbersEncoder

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Identity, Prefix, Provenance
from embridge.serve._batching import Batcher, InTurn
from embridge.serve._galleries import Galleries
from embridge.serve._keys import Keys
from embridge.serve._models import served_models
from embridge.serve.app import create_app
from embridge.serve.opened import Opened
from embridge.serve.server import _options
from embridge.settings.serve import ServeSettings
from embridge.stores import MemoryStore

NEW, OLD = Space("new", "1", 4), Space("old", "1", 2)
UPGRADE = Upgrade(Identity(NEW, NEW), Prefix(NEW, OLD), Provenance("prefix"))
ROWS = Embeddings.of(np.array([[1, 0], [0, 1], [1, 1]], np.float32), OLD, ["a", "b", "c/../d"])


class Answering:
    """The application, asked without a socket."""

    def __init__(self, app):
        self._app = app

    def __call__(self, method, path, **options):
        headers = {"host": "localhost"} | options.pop("headers", {})

        async def asked():
            transport = httpx.ASGITransport(self._app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, headers=headers, **options)

        return asyncio.run(asked())

    def post(self, path, json, **options):
        return self("POST", path, json=json, **options)


def opened(store=None, *, encoders=None, keys=(), **settings):
    """What is served: both models, and a store with three rows of the old one."""
    encoders = encoders or {"new": NumbersEncoder(NEW), "old": NumbersEncoder(OLD)}
    settings = ServeSettings(upgrade="upgrade", **settings)
    batchers = {
        side: Batcher(encoder.encode, settings.batch_items, settings.limits.waiting, refuse_long=True)
        for side, encoder in encoders.items()
    }
    models = served_models(
        UPGRADE, {"new": "new", "old": "old"}, {side: (encoders[side], batchers[side]) for side in encoders}
    )
    in_turn = {side: InTurn(encoders[side], batchers[side]) for side in encoders}
    galleries = Galleries([store or stocked()], UPGRADE, in_turn)
    return Opened(settings, UPGRADE, models, batchers, galleries, Keys.of(keys), Keys())


def stocked():
    """A store in memory with the rows."""
    store = MemoryStore(OLD)
    store.upsert(ROWS, {"price": [1, 2, 3]})
    return store


def asking(*args, **options):
    """The application of that, to be asked."""
    return Answering(create_app(opened(*args, **options)))


@contextmanager
def listening(app):
    """The application behind a real socket; yields its address."""
    server = uvicorn.Server(uvicorn.Config(app, **_options(ServeSettings(upgrade="upgrade", port=0))))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
