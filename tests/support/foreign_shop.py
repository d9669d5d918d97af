"""A table of PostgreSQL that is somebody else's, the rollout of it, and an application that knows nothing of that."""

from contextlib import closing

import numpy as np
from planted_model import SPACES, PlantedModel
from planted_rollout import save_upgrade

from embridge.jobs.rollout import open_rollout, plan_rollout
from embridge.rollout.plan import write_plan
from embridge.stores import Declaration, Place, open_store

ROWS = 48
DRAW = np.random.default_rng(3)
MODEL = PlantedModel("new")


class Shop:
    """A table of others, the rollout of it, and an application that writes to the table."""

    def __init__(self, url, connection, folder):
        self.connection, self.plan = connection, folder / "plan.json"
        self.settings = folder / "rollout.yaml"
        save_upgrade(folder / "upgrade")
        connection.execute(
            "CREATE TABLE items (sku int PRIMARY KEY, title text NOT NULL, embedding vector(2), price int)"
        )
        for number in range(ROWS):
            self.insert(number)
        with closing(open_store(url)) as store:
            store.adopt(Declaration(SPACES["old"], Place("items", "embedding", "sku"), items={"text": "title"}))
        self.settings.write_text(f"store: '{url}'\nupgrade: upgrade\nbatch_rows: 8\nsample: 2\n")
        self.planned = plan_rollout(self.settings)
        write_plan(self.planned, self.plan)

    def insert(self, number):
        values = (number, f"{number} 1 2", self.vector(), 1)
        self.connection.execute("INSERT INTO items VALUES (%s, %s, %s, %s)", values)

    def change(self, number, text):
        self.connection.execute(
            "UPDATE items SET title = %s, embedding = %s WHERE sku = %s", (text, self.vector(), number)
        )

    def write(self, step):
        """One of what applications do."""
        self.change(step % ROWS, f"{step} 5 5")
        self.insert(1_000 + step)
        self.connection.execute("UPDATE items SET title = title || ' s', price = 2 WHERE sku = %s", (7 * step % ROWS,))
        self.connection.execute("UPDATE items SET price = 3 WHERE sku = %s", (11 * step % ROWS,))
        self.connection.execute("DELETE FROM items WHERE sku = %s", (5 * step % ROWS,))

    @staticmethod
    def vector():
        return str(DRAW.normal(size=2).round(3).tolist())

    def old_rows(self):
        return self.connection.execute("SELECT sku, title, embedding::text, price FROM items ORDER BY sku").fetchall()

    def expect_newest(self):
        """Every row has the new model's vector of what it holds now, and nobody's row is gone or back."""
        rows = self.old_rows()
        with closing(open_rollout(self.settings)) as opened:
            found = opened.store.fetch(opened.new, [str(row[0]) for row in rows])
            assert found.ids == tuple(str(row[0]) for row in rows)
            expected = MODEL.encode([row[1] for row in rows], modality="text")
            np.testing.assert_allclose(found.vectors, expected, atol=1e-5)
            assert opened.queue().read(limit=9) == []

    def made(self):
        query = "SELECT count(*) FROM pg_trigger WHERE tgname IN ('zz_embridge_insert', 'zz_embridge_update')"
        return self.connection.execute(query).fetchone()[0]
