"""Applications that know nothing of a rollout change the rows of a table of PostgreSQL while it goes on."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from foreign_shop import ROWS, Shop
from planted_model import PROVIDER

from embridge.encoders import PROVIDERS
from embridge.errors import InvalidInput
from embridge.jobs.rollout import (
    apply_plan,
    change_phase,
    drop_old_rows,
    filling,
    open_rollout,
    plan_rollout,
    rollout_status,
)
from embridge.rollout.plan import read_plan
from embridge.stores.postgres import PostgresStore

pytestmark = pytest.mark.slow


@pytest.fixture
def shop(postgres_server, tmp_path, monkeypatch):
    monkeypatch.setitem(PROVIDERS, "planted", PROVIDER)
    monkeypatch.setattr(filling, "_FOLLOWED_SECONDS", 0.0)
    database = postgres_server.database()
    with postgres_server.connect(database) as connection:
        yield Shop(postgres_server.url(database, table="items"), connection, tmp_path)


def test_what_others_write_during_a_backfill_ends_with_its_newest_content(shop):
    wrote, is_over = threading.Semaphore(0), threading.Event()

    def write():
        for step in range(200):
            if is_over.is_set():
                break
            shop.write(step)
            wrote.release()
        for _ in range(1_000):
            wrote.release()

    writer = threading.Thread(target=write)

    def progress(done, total, what):
        if what.startswith("rows encoded"):
            if writer.ident is None:
                writer.start()
            wrote.acquire()
            wrote.acquire()

    applied = apply_plan(shop.plan, until="1", progress=progress)
    is_over.set()
    writer.join()
    assert applied.result.failed == {}
    assert applied.result.rows > ROWS  # those that were added or changed, too
    assert apply_plan(shop.plan).state.phase == "complete"
    shop.expect_newest()
    shop.write(300)
    assert apply_plan(shop.plan).result.rows > 0
    shop.expect_newest()
    assert shop.made() == 2
    drop_old_rows(shop.settings)
    assert shop.made() == 0
    assert shop.connection.execute(
        "SELECT count(*) FROM pg_class WHERE relname LIKE 'embridge_changes%'"
    ).fetchone() == (0,)


def test_what_others_write_after_a_rollback_is_known_to_the_next_apply(shop):
    assert apply_plan(shop.plan, until="0.5").result.rows == ROWS // 2
    assert change_phase(shop.settings, "rollback").phase == "rolled back"
    shop.write(1)
    shop.change(3, "7 7 7")
    shop.connection.execute("UPDATE items SET embedding = NULL WHERE sku = 9")  # theirs to fill in later
    before = shop.old_rows()
    assert apply_plan(shop.plan, again=True).state.phase == "complete"
    assert shop.old_rows() == before
    shop.connection.execute("UPDATE items SET embedding = %s WHERE sku = 9", (shop.vector(),))
    assert apply_plan(shop.plan).result.rows == 1
    shop.expect_newest()


def test_a_server_that_goes_away_during_a_backfill_is_waited_for(shop, postgres_server):
    is_under_way, is_away = threading.Event(), threading.Event()

    def progress(done, total, what):
        if what.startswith("rows encoded"):
            is_under_way.set()
            assert is_away.wait(60)

    with ThreadPoolExecutor(1) as pool:
        applying = pool.submit(apply_plan, shop.plan, progress=progress)
        assert is_under_way.wait(60)
        postgres_server.stop()
        is_away.set()
        postgres_server.start()
        applied = applying.result()
    assert (applied.state.phase, applied.result.rows) == ("complete", ROWS)
    shop.connection = postgres_server.connect(shop.connection.info.dbname)
    shop.expect_newest()
    shop.connection.close()


def test_a_table_that_was_changed_since_the_plan_is_refused(shop):
    shop.connection.execute("ALTER TABLE items RENAME COLUMN price TO cost")
    with pytest.raises(InvalidInput, match="the table's columns changed since the plan was made"):
        apply_plan(shop.plan)
    assert shop.made() == 0


def test_a_plan_lists_what_the_database_is_told_or_says_why_it_is_not(shop, postgres_server):
    assert shop.planned.foreign_writes.startswith("noted by the database: a trigger and a queue, 7 statements")
    side_table, beside, *noting, end = shop.planned.statements
    assert side_table.startswith('CREATE TABLE IF NOT EXISTS "public"."embridge_documents" (of_table text,')
    assert beside.startswith('CREATE TABLE "public"."embridge_')
    assert beside.endswith(' AS SELECT t."sku" FROM "public"."items" AS t WITH NO DATA')
    assert sum(statement.startswith("CREATE TRIGGER") for statement in noting) == 6
    assert end == '/* embridge complete --drop-old */ ALTER TABLE "public"."items" DROP COLUMN IF EXISTS "embedding"'
    assert read_plan(shop.plan) == shop.planned
    assert shop.made() == 0
    database = shop.connection.info.dbname
    role = postgres_server.role(database=database)
    shop.connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    url = postgres_server.url(database, user=role, table="items")
    lines = shop.settings.read_text().splitlines()
    shop.settings.write_text("\n".join([f"store: '{url}'", *lines[1:]]))
    planned = plan_rollout(shop.settings)
    assert not any("TRIGGER" in statement for statement in planned.statements)
    assert "since this user may make no trigger (GRANT TRIGGER on the table" in planned.foreign_writes
    assert "what others write" in {row[0] for row in planned.table()[1]}


def test_a_kill_between_the_old_vectors_and_their_declaration_is_gone_on_from(shop, monkeypatch):
    apply_plan(shop.plan)
    with monkeypatch.context() as patch:
        patch.setattr(PostgresStore, "_undeclare", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            drop_old_rows(shop.settings)
    assert (rollout_status(shop.settings).rows, rollout_status(shop.settings).encoded) == (ROWS, ROWS)
    assert drop_old_rows(shop.settings).old_dropped
    with closing(open_rollout(shop.settings)) as opened:
        assert opened.store.spaces() == [opened.new]
