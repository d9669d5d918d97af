"""The servers that are compared, each in a process of its own: ours, and bare routes of FastAPI that do the same."""

from __future__ import annotations

import base64
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Identity, Prefix, Provenance
from embridge.encoders import CachedEncoder, Encoder, load
from embridge.serve.app import create_app
from embridge.serve.opened import open_served
from embridge.serve.server import _keep_memory_together, _options
from embridge.settings.serve import ServeSettings

__all__ = ["Served", "serving", "stored_vectors"]


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs: its port and its process."""

    port: int
    process: int


class _Body(BaseModel):
    model: str
    input: list[str]
    encoding_format: str = "float"


def stored_vectors(config: Mapping[str, Any], name: str = "stored", dim: int | None = None) -> CachedEncoder:
    """Random vectors of texts, looked up."""
    size = config["batch"], dim or config["dim"]
    rows = np.random.default_rng(config["seed"]).normal(size=size).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    names = [f"the text number {number}" for number in range(len(rows))]
    return CachedEncoder(text=Embeddings.of(rows, Space(name, "1", size[1]), names))


def _bare(config: Mapping[str, Any]) -> FastAPI:
    """The same answers by routes as one would write them."""
    app, encoder = FastAPI(), stored_vectors(config)

    @app.post("/v1/embeddings")
    def embeddings(body: _Body) -> dict[str, Any]:
        rows = encoder.encode(body.input, modality="text")
        texts = (base64.b64encode(row.tobytes()).decode() for row in rows)
        data = [{"object": "embedding", "index": number, "embedding": text} for number, text in enumerate(texts)]
        return {"object": "list", "data": data, "model": body.model, "usage": {"prompt_tokens": 0, "total_tokens": 0}}

    @app.post("/raw")
    def raw(body: _Body) -> Response:
        return Response(encoder.encode(body.input, modality="text").tobytes(), media_type="application/octet-stream")

    return app


def _ours(config: Mapping[str, Any], folder: Path, **settings: Any) -> Any:
    encoder: Encoder = load(config["encoder"]) if "encoder" in config else stored_vectors(config)
    new, old = encoder.space, Space("old", "1", min(config["gallery_dim"], encoder.space.dim))
    return _app({"new": encoder}, Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix")), folder, settings)


def _both(config: Mapping[str, Any], folder: Path, **settings: Any) -> Any:
    """Both models, for a store whose rollout moves."""
    encoders = {"new": stored_vectors(config), "old": stored_vectors(config, "old", config["gallery_dim"])}
    new, old = encoders["new"].space, encoders["old"].space
    return _app(encoders, Upgrade(Identity(new, new), Prefix(new, old), Provenance("prefix")), folder, settings)


def _app(encoders: Mapping[str, Encoder], upgrade: Upgrade, folder: Path, settings: Mapping[str, Any]) -> Any:
    upgrade.save(folder / "upgrade")
    named = ServeSettings(upgrade=folder / "upgrade", new_name="new", old_name="old", port=0, **settings)
    return create_app(open_served(named, encoders))


def _run(kind: str, config: Mapping[str, Any], folder: Path, settings: Mapping[str, Any], pipe: Connection) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    if kind != "bare":
        _keep_memory_together()
    made = {"embridge": _ours, "rollout": _both}
    app = _bare(config) if kind == "bare" else made[kind](config, folder, **settings)

    class Telling(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            pipe.send(self.servers[0].sockets[0].getsockname()[1])

    options = {} if kind == "bare" else _options(ServeSettings.model_validate({"upgrade": folder, "port": 0}))
    Telling(uvicorn.Config(app, **{"port": 0, "log_level": "warning", "access_log": False, **options})).run()


@contextmanager
def serving(kind: str, config: Mapping[str, Any], folder: Path, **settings: Any) -> Iterator[Served]:
    """A server in a process of its own; yields where it is."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(kind, config, folder, settings, theirs), daemon=True)
    process.start()
    try:
        if not ours.poll(120):
            raise TimeoutError(f"the {kind} server did not start")
        assert process.pid is not None
        yield Served(ours.recv(), process.pid)
    finally:
        process.terminate()
        process.join(30)
