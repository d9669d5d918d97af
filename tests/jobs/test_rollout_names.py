"""New vectors take the name of the old ones over, beside applications that ask PostgreSQL for them by it."""

import numpy as np
import pytest
from foreign_shop import MODEL, ROWS, Shop
from planted_model import PROVIDER
from planted_rollout import Project, plan

from embridge.encoders import PROVIDERS
from embridge.errors import InvalidInput
from embridge.jobs.rollout import apply_plan, drop_old_rows, filling, open_rollout, take_over_name
from embridge.stores import _postgres_names
from embridge.stores._postgres_names import PostgresTakeOver

pytestmark = pytest.mark.slow
STEPS = ("prepare", "begin", "swap", "clean", "_make", "_fill", "_copy_changes", "_swap")


class Killed(Exception):
    pass


@pytest.fixture
def shop(postgres_server, tmp_path, monkeypatch):
    monkeypatch.setitem(PROVIDERS, "planted", PROVIDER)
    monkeypatch.setattr(filling, "_FOLLOWED_SECONDS", 0.0)
    monkeypatch.setattr(_postgres_names, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(_postgres_names, "_ROWS", 10)
    database = postgres_server.database()
    with postgres_server.connect(database) as connection:
        shop = Shop(postgres_server.url(database, table="items"), connection, tmp_path)
        assert apply_plan(shop.plan).state.phase == "complete"
        yield shop


def expect_taken_over(shop):
    """The bare column holds the new vectors, the store finds them there, and nothing of ours is left but documents."""
    rows = shop.connection.execute("SELECT sku::text, title, embedding::text FROM items ORDER BY sku").fetchall()
    found = [[float(number) for number in vector[1:-1].split(",")] for _, _, vector in rows]
    expected = MODEL.encode([title for _, title, _ in rows], modality="text")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    opened = open_rollout(shop.settings)
    assert opened.state.old_dropped
    assert opened.store.spaces() == [opened.new]
    assert opened.store.declaration(opened.new).place.vector == "embedding"
    assert opened.store.fetch(opened.new, [row[0] for row in rows]).ids == tuple(row[0] for row in rows)
    left = "SELECT relname FROM pg_class WHERE relname LIKE 'embridge%' AND relkind = 'r'"
    assert shop.connection.execute(left).fetchall() == [("embridge_documents",)]
    made = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal"
    assert shop.connection.execute(made).fetchone() == (0,)
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'items' ORDER BY 1"
    names = [name for (name,) in shop.connection.execute(columns).fetchall()]
    assert names == ["embedding", "price", "sku", "title"]


def test_the_old_column_holds_the_new_vectors(shop):
    before = shop.old_rows()
    state, place = take_over_name(shop.settings, dry_run=True)
    assert (state.old_dropped, place) == (False, "column embedding of items")
    assert shop.old_rows() == before
    state, _ = take_over_name(shop.settings)
    assert state.old_dropped
    expect_taken_over(shop)
    take_over_name(shop.settings)  # once more: nothing is left to do
    expect_taken_over(shop)


def test_what_changes_while_rows_are_copied_is_copied_again(shop, monkeypatch):
    fill = PostgresTakeOver._fill

    def changed(taking, connection, names):
        fill(taking, connection, names)
        if "3" in names:
            opened = open_rollout(shop.settings)
            rows = opened.store.fetch(opened.new, ["20", "21"])
            opened.store.upsert(rows.with_vectors(rows.vectors[::-1].copy(), opened.new))
            shop.swapped = rows.vectors[::-1].tolist()
            opened.close()

    monkeypatch.setattr(PostgresTakeOver, "_fill", changed)
    take_over_name(shop.settings)
    read = "SELECT embedding::text FROM items WHERE sku IN (20, 21) ORDER BY sku"
    found = [[float(x) for x in v[1:-1].split(",")] for (v,) in shop.connection.execute(read).fetchall()]
    np.testing.assert_allclose(found, shop.swapped, atol=1e-5)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_goes_on(shop, monkeypatch, step, late):
    whole = getattr(PostgresTakeOver, step)

    def killed(*given):
        if late:
            whole(*given)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(PostgresTakeOver, step, killed)
        with pytest.raises(Killed):
            take_over_name(shop.settings)
    rows = open_rollout(shop.settings).store
    assert rows.count(open_rollout(shop.settings).new) == ROWS
    take_over_name(shop.settings)
    expect_taken_over(shop)


def test_what_cannot_be_taken_over_is_refused_before_anything_is_done(shop):
    shop.connection.execute("CREATE VIEW shown AS SELECT sku, embedding FROM items")
    with pytest.raises(InvalidInput, match="view shown needs column embedding of items"):
        take_over_name(shop.settings)
    shop.connection.execute("DROP VIEW shown")
    shop.insert(5_000)
    with pytest.raises(InvalidInput, match="row '5000' and perhaps others have no new vector"):
        take_over_name(shop.settings)
    apply_plan(shop.plan)
    drop_old_rows(shop.settings)
    with pytest.raises(Exception, match="nobody knows their name any more"):
        take_over_name(shop.settings)


def test_another_engine_refuses(tmp_path, monkeypatch):
    monkeypatch.setitem(PROVIDERS, "planted", PROVIDER)
    monkeypatch.setattr(filling, "_FOLLOWED_SECONDS", 0.0)
    project = Project(tmp_path, "lancedb", None)
    project.folder.mkdir()
    project.make()
    plan(project.folder)
    apply_plan(project.folder / "plan.json")
    with pytest.raises(InvalidInput, match="lancedb cannot give vectors another name in one step"):
        take_over_name(project.folder / "rollout.yaml")
