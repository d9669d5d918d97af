"""A store on disk is taken along a plan with real models, and back."""

import json
import shutil
from contextlib import closing

import numpy as np
import pytest
from postgres_server import SECRET
from typer.testing import CliRunner

from embridge.cli import app
from embridge.datasets import glyph_models
from embridge.embeddings import Embeddings
from embridge.encoders import load
from embridge.errors import GateRefused, InvalidInput, SettingsError, SpaceMismatch, StoreError
from embridge.jobs.rollout import apply_plan, change_phase, drop_old_rows, open_rollout, plan_rollout, rollout_status
from embridge.jobs.rollout.moving import move_canary
from embridge.methods import Pairs, make
from embridge.provenance import Provenance
from embridge.rollout.gallery import Gallery
from embridge.rollout.journal import entries
from embridge.rollout.lease import Lease, this_process
from embridge.rollout.plan import read_plan, write_plan
from embridge.stores import Declaration, Place, open_store

pytestmark = pytest.mark.slow
TEXTS = [f"latin small letter {chr(97 + i % 26)} number {i // 26}" for i in range(240)]
NAMES = TEXTS[:120]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of old rows, the upgrade, and the settings of a rollout."""
    folder = tmp_path_factory.mktemp("rollout")
    old, new = (load(f"clip:{glyph_models.folder(side)}") for side in ("old", "new"))
    sides = [Embeddings.of(each.encode(TEXTS, modality="text"), each.space, TEXTS) for each in (new, old)]
    fitted = make("procrustes").fit(Pairs(*sides))
    names = {"old": f"clip:{glyph_models.folder('old')}", "new": f"clip:{glyph_models.folder('new')}"}
    provenance = Provenance(fitted.provenance.method, encoders=names)
    type(fitted)(fitted.head, fitted.bridge, provenance).save(folder / "upgrade")
    store = open_store(folder / "shop", create=True)
    store.add_space(old.space)
    store.upsert(sides[1].take(range(120)), {"title": NAMES})
    (folder / "rollout.yaml").write_text(
        "store: lancedb:shop\nupgrade: upgrade\nitems: {text: title}\nbatch_rows: 16\nsample: 8\nprice: 0.5\n"
    )
    return folder


@pytest.fixture
def project(made, tmp_path):
    shutil.copytree(made, tmp_path / "project")
    return tmp_path / "project"


def planned(project, **options):
    plan = plan_rollout(project / "rollout.yaml")
    write_plan(plan, project / "plan.json")
    return plan


def old_bytes(project):
    opened = open_rollout(project / "rollout.yaml")
    return opened.store.fetch(opened.old, NAMES).vectors.tobytes()


def test_a_plan_says_what_will_be_done_and_changes_nothing(project):
    before = sorted(path for path in (project / "shop").rglob("*"))
    plan = planned(project)
    assert (plan.phase, plan.rows, plan.missing, plan.sampled, plan.unreadable) == ("prepared", 120, 120, 8, {})
    assert plan.cost == 60
    assert plan.seconds == pytest.approx(120 / plan.rows_per_second)
    old, new = plan.old.dim * 480, plan.new.dim * 480
    assert plan.vector_bytes == {"now": old, "at most": old + new, "after": new}
    assert sorted(path for path in (project / "shop").rglob("*")) == before
    assert read_plan(project / "plan.json") == plan


def test_a_store_goes_along_a_plan_and_back(project):
    planned(project)
    before, settings = old_bytes(project), project / "rollout.yaml"
    assert apply_plan(project / "plan.json", until="bridged").state.phase == "bridged"
    opened = open_rollout(settings)
    gallery = Gallery.open(project / "shop", follow_seconds=0)
    assert gallery.search([NAMES[7]], 1).served == "bridge"
    applied = apply_plan(project / "plan.json", until="0.3")
    assert (applied.state.phase, applied.result.rows, applied.result.ended) == ("backfilling", 36, "limit")
    status = rollout_status(settings)
    assert (status.rows, status.encoded, status.share) == (120, 36, 0.3)
    mixed = gallery.search(NAMES[:20], 3)
    assert mixed.served == "mixed"
    assert np.mean([NAMES[i] in ids for i, ids in enumerate(mixed.hits.ids)]) > 0.5
    assert change_phase(settings, "rollback").phase == "rolled back"
    assert old_bytes(project) == before
    with pytest.raises(InvalidInput, match="was rolled back; embridge apply --again begins anew"):
        apply_plan(project / "plan.json", until="complete")
    assert gallery.search(NAMES[:1], 1).served == "old"
    again = apply_plan(project / "plan.json", until="complete", again=True)
    assert (again.state.phase, again.result.rows) == ("complete", 84)
    assert old_bytes(project) == before
    whole = gallery.search(NAMES[:20], 1)
    assert (whole.served, [ids[0] for ids in whole.hits.ids]) == ("new", NAMES[:20])
    late = opened.store.fetch(opened.old, NAMES[:1])
    opened.store.upsert(Embeddings(("late",), late.vectors, late.space), {"title": NAMES[:1]})
    with pytest.raises(InvalidInput, match="row 'late' and perhaps others have no new vector of their newest"):
        drop_old_rows(settings)
    assert apply_plan(project / "plan.json").result.rows == 1
    killed = {"holder": f"{this_process().rpartition(':')[0]}:{2**30}", "ids": NAMES[1:2], "at_seconds": 0.0}
    assert opened.store.documents.swap("open writes", None, {"encoded": {}, "of": {"a": killed}})
    with pytest.raises(InvalidInput, match=f"row '{NAMES[1]}' and perhaps others"):
        drop_old_rows(settings)
    assert apply_plan(project / "plan.json").result.encoded == 1
    assert drop_old_rows(settings).old_dropped
    assert drop_old_rows(settings).old_dropped
    moves = [one.move for one in entries(opened.store.documents)]
    assert moves[:3] == ["prepare", "bridge", "backfill"]
    assert moves[-2:] == ["complete", "drop the old rows"]


def test_a_plan_whose_world_has_changed_is_refused(project):
    planned(project)
    settings = project / "rollout.yaml"
    settings.write_text(settings.read_text().replace("0.5", "0.6"))
    with pytest.raises(InvalidInput, match="the settings changed since the plan was made; make a new one"):
        apply_plan(project / "plan.json")
    settings.write_text(settings.read_text().replace("0.6", "0.5"))
    plan = read_plan(project / "plan.json")
    for name, value, message in (
        ("upgrade_id", "other", "the upgrade changed"),
        ("layout", {**plan.layout, "columns": {}}, "the table's columns changed"),
    ):
        document = json.loads((project / "plan.json").read_text()) | {name: value}
        (project / "other.json").write_text(json.dumps(document))
        with pytest.raises(InvalidInput, match=message):
            apply_plan(project / "other.json")


def test_rows_that_others_add_all_the_while_do_not_keep_a_rollout_from_its_end(project, monkeypatch):
    planned(project)
    opened, late = open_rollout(project / "rollout.yaml"), iter(range(12))
    (first,), missing = opened.store.fetch(opened.old, NAMES[:1]).vectors, type(opened.store).missing

    def missing_and_one_more(store, space, of, **options):
        names = missing(store, space, of, **options)
        if of == opened.old and not names and (number := next(late, None)) is not None:
            row = Embeddings((f"late {number}",), first[None], of)
            opened.store.upsert(row, {"title": NAMES[:1]})
        return names

    monkeypatch.setattr(type(opened.store), "missing", missing_and_one_more)
    assert apply_plan(project / "plan.json").state.phase == "complete"
    assert (added := next(late)) >= 2
    monkeypatch.undo()
    assert apply_plan(project / "plan.json").state.phase == "complete"  # which takes what came after the last look
    assert missing(opened.store, opened.new, opened.old, limit=9) == []
    assert opened.store.count(opened.new) == opened.store.count(opened.old) == 120 + added


def test_two_controllers_do_not_run_at_once(project):
    planned(project)
    opened = open_rollout(project / "rollout.yaml")
    with Lease(opened.store.documents, "elsewhere:1"), pytest.raises(StoreError, match="elsewhere:1 runs this rollout"):
        apply_plan(project / "plan.json")
    assert opened.state is None


def test_a_pause_holds_until_it_is_applied_again(project):
    planned(project)
    apply_plan(project / "plan.json", until="0.1")
    assert change_phase(project / "rollout.yaml", "pause").paused
    assert change_phase(project / "rollout.yaml", "resume").paused is False
    settings = project / "rollout.yaml"
    settings.write_text(settings.read_text() + "canary: 0.2\n")
    planned(project)
    applied = apply_plan(project / "plan.json", until="0.1")
    assert (applied.state.phase, applied.state.canary) == ("backfilling", 0.2)
    with pytest.raises(SettingsError, match="--until is shadow, bridged, complete, or a share"):
        apply_plan(project / "plan.json", until="half")


def test_a_canary_that_others_lower_at_that_moment_rises_by_gates_alone(project):
    planned(project)
    apply_plan(project / "plan.json", until="bridged")
    settings = project / "rollout.yaml"
    settings.write_text(settings.read_text() + "gates: [shadow_queries >= 5]\n")
    with closing(open_rollout(settings)) as opened, closing(open_rollout(settings)) as other:
        documents, swap = opened.store.documents, opened.store.documents.swap

        def after_another(*values):
            documents.swap = swap
            move_canary(other, 0.1)
            return swap(*values)

        documents.swap = after_another
        with pytest.raises(GateRefused, match="shadow_queries >= 5"):
            move_canary(opened, 0.5)
        assert opened.state.canary == 0.1


def test_a_spend_cap_stops_with_what_was_written(project):
    settings = project / "rollout.yaml"
    settings.write_text(settings.read_text() + "spend_cap: 20\n")
    planned(project)
    with pytest.raises(GateRefused, match="spend cap of 20"):
        apply_plan(project / "plan.json")
    assert rollout_status(settings).encoded == 32
    settings.write_text(settings.read_text().replace("spend_cap: 20", "spend_cap: 0.1\nbackfill_on_read: 4"))
    planned(project)
    with pytest.raises(GateRefused, match=r"spend cap of 0\.1"):  # below the price of one item
        apply_plan(project / "plan.json")
    assert rollout_status(settings).state.on_read == 0


def test_items_that_cannot_be_had_are_found_through_the_bridge_for_ever(project):
    settings = project / "rollout.yaml"
    opened = open_rollout(settings)
    before, written = old_bytes(project), settings.read_text()
    opened.store.upsert(opened.store.fetch(opened.old, NAMES[:2]), {"title": [" ", None]})
    settings.write_text(written + "most_failed: 0.01\n")
    planned(project)
    with pytest.raises(
        GateRefused, match=r"2 of 120 items could not be had, more than most_failed: 0.01 .* its text is"
    ):
        apply_plan(project / "plan.json")
    status = rollout_status(settings)
    assert (status.state.phase, status.failures, set(status.reasons)) == ("backfilling", 2, set(NAMES[:2]))
    settings.write_text(written)
    planned(project)
    applied = apply_plan(project / "plan.json")
    assert applied.sentence.endswith(" rows encoded, 2 items could not be had and are found through the bridge")
    status = rollout_status(settings)
    assert (status.state.phase, status.encoded, status.failures, status.state.bridged_rows) == ("complete", 118, 2, 2)
    gallery = Gallery.open(project / "shop", follow_seconds=0)
    answer = gallery.search(NAMES[:9], 3)
    assert answer.served == "mixed"
    assert all(name in ids for name, ids in zip(NAMES[:9], answer.hits.ids, strict=True))
    assert gallery.payload([NAMES[2], NAMES[1], "nobody"]) == {"title": [NAMES[2], None, None]}
    with pytest.raises(InvalidInput, match=r"2 items could not be read, such as .* or say --drop-unreadable"):
        drop_old_rows(settings)
    assert old_bytes(project) == before
    opened.store.upsert(opened.store.fetch(opened.old, NAMES[:1]), {"title": NAMES[:1]})
    assert apply_plan(project / "plan.json").state.bridged_rows == 1
    assert rollout_status(settings).failures == 1
    assert drop_old_rows(settings, drop_unreadable=True).old_dropped
    assert gallery.search(NAMES[:9], 1).served == "new"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("store: mysql://a/b\nupgrade: upgrade\n", SettingsError, "is no store's URL"),
        ("store: lancedb:shop\nupgrade: nowhere\n", SettingsError, "upgrade: .*nowhere does not exist"),
        (
            "store: lancedb:shop\nupgrade: upgrade\nspend_cap: .inf\n",
            SettingsError,
            "spend_cap: Input should be a finite",
        ),
        ("store: lancedb:shop\nupgrade: upgrade\norder: popularity\n", SettingsError, "name it in log"),
        ("store: lancedb:shop\nupgrade: upgrade\nitems: {texts: title}\n", SettingsError, "items are written with"),
        ("store: lancedb:shop\nupgrade: upgrade\nold: abc\n", SpaceMismatch, "the store holds: none"),
        ("store: lancedb:shop\nupgrade: upgrade\n", SettingsError, "nothing says where the items are"),
    ],
)
def test_settings_that_do_not_fit_end_in_one_line(project, text, error, message):
    (project / "rollout.yaml").write_text(text)
    with pytest.raises(error, match=message) as refusal:
        plan_rollout(project / "rollout.yaml")
    assert "\n" not in str(refusal.value)


def test_orders_begin_with_what_pays(project):
    (project / "log.txt").write_text("\n".join([NAMES[5], NAMES[9], NAMES[5], "nobody", ""]))
    settings = project / "rollout.yaml"
    written = settings.read_text()
    settings.write_text(written + "order: popularity\nlog: log.txt\n")
    assert open_rollout(settings).order() == [NAMES[5], NAMES[9], "nobody"]
    settings.write_text(written + "order: random\nseed: 3\n")
    order = open_rollout(settings).order()
    assert sorted(order) == sorted(NAMES)
    assert order != sorted(NAMES)
    assert order == open_rollout(settings).order()


def test_the_commands_say_what_they_do(project, monkeypatch):
    monkeypatch.chdir(project)
    runner = CliRunner()

    def run(*words, code=0):
        outcome = runner.invoke(app, list(words))
        assert outcome.exit_code == code, outcome.output
        return outcome.stdout if "--json" in words else outcome.output

    assert "next  embridge apply plan.json --until bridged" in run("plan", "rollout.yaml")
    assert "bridged" in run("apply", "plan.json", "--until", "bridged")
    assert json.loads(run("search", "shop", NAMES[3], "--json"))["served"] == "bridge"
    assert "backfilling: 12 rows encoded" in run("apply", "plan.json", "--until", "0.1")
    shown = json.loads(run("status", "rollout.yaml", "--json"))
    assert (shown["schema"], shown["encoded"]) == ("embridge.status/1", 12)
    assert "backfilling, paused" in run("pause", "rollout.yaml")
    assert "paused" in run("status", "rollout.yaml")
    assert "rolled back" in run("rollback", "rollout.yaml")
    assert json.loads(run("apply", "plan.json", "--again", "--json"))["state"]["phase"] == "complete"
    assert "say so with --drop-old" in run("complete", "rollout.yaml", code=2)
    assert "There is no way back" in runner.invoke(app, ["complete", "rollout.yaml", "--drop-old"], input="n\n").output
    assert "complete, old rows dropped" in run("complete", "rollout.yaml", "--drop-old", "--yes")
    assert "the old rows are dropped" in run("status", "rollout.yaml")
    shown = json.loads(run("search", "shop", NAMES[3], "-k", "1", "--json"))
    assert (shown["served"], [hit["payload"]["title"] for hit in shown["hits"]]) == ("new", [NAMES[3]])
    assert "the old rows were dropped" in run("rollback", "rollout.yaml", code=1)
    assert "the old rows were dropped" in run("plan", "rollout.yaml", code=1)
    assert "the old rows were dropped" in run("apply", "plan.json", code=1)


def test_a_table_of_others_in_postgresql_goes_along_and_back(made, tmp_path, postgres_server):
    database = postgres_server.database()
    with postgres_server.connect(database) as connection:
        _goes_along_and_back(made, tmp_path, postgres_server.url(database, table="items"), connection)


def _goes_along_and_back(made, tmp_path, url, connection):
    connection.execute("CREATE TABLE items (sku int PRIMARY KEY, title text NOT NULL, embedding vector(64))")
    source = open_store(made / "shop")
    (space,) = source.spaces()
    vectors = source.fetch(space, NAMES).vectors
    for number, (title, vector) in enumerate(zip(NAMES, vectors, strict=True)):
        connection.execute("INSERT INTO items VALUES (%s, %s, %s)", (number, title, str(vector.tolist())))
    rows = "SELECT md5(string_agg(t::text, '' ORDER BY sku)) FROM (SELECT sku, title, embedding FROM items) t"
    before = connection.execute(rows).fetchone()
    with closing(open_store(url)) as store:
        store.adopt(Declaration(space, Place("items", "embedding", "sku"), items={"text": "title"}))
    settings = tmp_path / "rollout.yaml"
    settings.write_text(f"store: '{url}'\nupgrade: {made / 'upgrade'}\nbatch_rows: 50\nsample: 8\n")
    write_plan(plan_rollout(settings), tmp_path / "plan.json")
    assert SECRET not in (tmp_path / "plan.json").read_text()
    assert apply_plan(tmp_path / "plan.json", until="0.4").result.rows == 48
    with closing(open_rollout(settings)) as opened:
        gallery = Gallery(opened.store, opened.upgrade, new=opened.encoder(), follow_seconds=0)
        assert gallery.search([NAMES[3]], 1).hits.ids == (("3",),)
        gallery.write(["999"], ["digit nine"], {"title": ["digit nine"]})
        connection.execute("DELETE FROM items WHERE sku = 5")
        connection.execute("INSERT INTO items SELECT 5, title, embedding FROM items WHERE sku = 6")
        connection.execute("DELETE FROM items WHERE sku = 999")
        connection.execute("UPDATE items SET title = %s WHERE sku = 5", (NAMES[5],))
        connection.execute("UPDATE items SET embedding = %s WHERE sku = 5", (str(vectors[5].tolist()),))
        assert change_phase(settings, "rollback").phase == "rolled back"
        assert connection.execute(rows).fetchone() == before
        assert apply_plan(tmp_path / "plan.json", again=True).state.phase == "complete"
        assert connection.execute(rows).fetchone() == before
        assert [ids[0] for ids in gallery.search(NAMES[:9], 1).hits.ids] == [str(number) for number in range(9)]
