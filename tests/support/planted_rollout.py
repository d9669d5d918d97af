"""A small store of planted vectors in each engine, and the rollout of it."""

import shutil
from contextlib import closing

import numpy as np
from PIL import Image
from planted_model import SPACES, PlantedModel

from embridge.adapters import Linear
from embridge.adapters.linear import Identity
from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.jobs.rollout import open_rollout, plan_rollout, rollout_status
from embridge.provenance import Provenance
from embridge.rollout.journal import entries
from embridge.rollout.plan import write_plan
from embridge.stores import open_store

ROWS = 10
OLD, NEW = SPACES["old"], SPACES["new"]
URLS = {
    "chroma": "chroma:shop/items",
    "faiss": "faiss:shop.faiss",
    "lancedb": "lancedb:shop",
    "postgresql": "",
    "qdrant edge": "qdrant:shop/items?engine=edge",
    "qdrant local": "qdrant:shop/items?engine=local",
}
NAMES = [f"item {number}" for number in range(ROWS)]
TEXTS = [f"{number} {number * 7 % 10} 1" for number in range(ROWS)]


def save_upgrade(folder):
    """Whose bridge leaves the last number out."""
    names = {"old": "planted:old", "new": "planted:new"}
    bridge = Linear(NEW, OLD, np.eye(3, 2, dtype=np.float32))
    Upgrade(Identity(NEW, NEW), bridge, Provenance("planted", encoders=names)).save(folder)


def plan(folder):
    write_plan(plan_rollout(folder / "rollout.yaml"), folder / "plan.json")


class Project:
    """A folder with a store and the settings of its rollout, and copies of it as it was before each command."""

    def __init__(self, folder, engine, server):
        self.folder, self.copies, self.engine, self.server = folder / "project", folder / "copies", engine, server
        self.database = server.database() if engine == "postgresql" else ""
        self.url = server.url(self.database, table="items") if self.database else URLS[engine]

    def make(self):
        """The store before the rollout, and what the commands need."""
        save_upgrade(self.folder / "upgrade")
        of_images = self.engine == "faiss"  # which holds no texts
        if of_images:
            (self.folder / "images").mkdir()
            for name, text in zip(NAMES, TEXTS, strict=True):
                pixels = np.array([[int(number) for number in text.split()]], np.uint8)
                Image.fromarray(pixels).save(self.folder / "images" / f"{name}.png")
        items = "{folder: images}" if of_images else "{text: title}"
        (self.folder / "rollout.yaml").write_text(
            f"store: '{self.url}'\nupgrade: upgrade\nitems: {items}\nbatch_rows: 4\nsample: 2\n"
        )
        rows = Embeddings(tuple(NAMES), PlantedModel("old").encode(TEXTS, modality="text"), OLD)
        with closing(open_store(self.located(), create=True)) as store:
            store.add_space(OLD)
            store.upsert(rows, None if of_images else {"title": TEXTS})

    def located(self):
        kind, _, place = self.url.partition(":")
        return self.url if self.database else f"{kind}:{self.folder / place}"

    def keep(self, number):
        """A copy of what is there now."""
        shutil.copytree(self.folder, self.copies / str(number))
        if self.database:
            self._clone(self.database, f"{self.database} {number}")

    def restore(self, number):
        shutil.rmtree(self.folder)
        shutil.copytree(self.copies / str(number), self.folder)
        if self.database:
            self._clone(f"{self.database} {number}", self.database)

    def _clone(self, one, other):
        with self.server.connect("postgres") as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{other}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{other}" TEMPLATE "{one}"')

    def seen(self):
        """What a reader sees, which raises where that is no one state: rows of both spaces, and where the rollout stands."""
        with closing(open_rollout(self.folder / "rollout.yaml")) as opened:
            store, state, moves = opened.store, opened.state, list(entries(opened.store.documents))
            assert (state is None) == (not moves)
            assert state is None or state == moves[-1].state
            rows = {}
            ended = (
                state is not None and state.old_dropped
            )  # nobody reads old rows from then on; a kill may leave half of them
            for space in (OLD, NEW):
                parts = list(store.scan(space)) if space in store.spaces() and not (ended and space == OLD) else []
                pairs = [
                    (name, row.tolist()) for part in parts for name, row in zip(part.ids, part.vectors, strict=True)
                ]
                rows[space.model] = dict(sorted(pairs))
                assert len(pairs) == len(rows[space.model])
        rollout_status(self.folder / "rollout.yaml")
        self._expect_right(rows, state)
        standing = None if state is None else [state.phase, state.canary, state.paused, state.old_dropped]
        return {"rows": rows, "standing": standing}

    @staticmethod
    def _expect_right(rows, state):
        for side, model in (("old", OLD.model), ("new", NEW.model)):
            vectors = PlantedModel(side).encode(TEXTS, modality="text").tolist()
            expected = dict(zip(NAMES, vectors, strict=True))
            for name, row in rows[model].items():
                assert row == expected[name], (model, name)
        if state is None or not state.old_dropped:
            assert sorted(rows[OLD.model]) == sorted(NAMES)
        else:
            assert sorted(rows[NEW.model]) == sorted(NAMES)
