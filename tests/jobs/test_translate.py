"""A gallery mapped through a bridge: the same to the bit whoever works, and whoever is killed."""

import json
import os
import signal
from contextlib import closing

import numpy as np
import pytest
from planted_model import PROVIDER, SPACES, PlantedEngine
from planted_rollout import save_upgrade
from typer.testing import CliRunner

from embridge.adapters import Identity, Linear
from embridge.adapters.upgrade import Upgrade
from embridge.cli import app
from embridge.embeddings import Embeddings
from embridge.encoders import PROVIDERS
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch
from embridge.items import ItemSource
from embridge.jobs import translate
from embridge.jobs.translate import encode_table, translate_file, translate_store
from embridge.provenance import Provenance
from embridge.scale import SerialEngine
from embridge.scale.local import LocalEngine
from embridge.space import Space
from embridge.stores import open_store
from embridge.vector_files import _ranges, read_rows, read_vectors, write_rows, write_vectors

OLD, NEW = Space("mini", "1", 24), Space("maxi", "1", 17)
ROWS = 700


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Many ranges and batches of few rows."""
    monkeypatch.setattr(_ranges, "_RANGE_BYTES", 100 * 4 * OLD.dim)
    monkeypatch.setattr(translate, "_BATCH_ROWS", 64)


@pytest.fixture
def rows():
    vectors = np.random.default_rng(0).normal(size=(ROWS, OLD.dim)).astype(np.float32)
    return Embeddings(tuple(f"item {n}" for n in range(ROWS)), vectors, OLD)


@pytest.fixture
def upgrade(tmp_path):
    weight = np.random.default_rng(1).normal(size=(OLD.dim, NEW.dim)).astype(np.float32)
    bridge = Linear(OLD, NEW, weight, np.ones(NEW.dim, np.float32))
    Upgrade(Identity(NEW, NEW), bridge, Provenance("ridge"), direction="forward").save(tmp_path / "upgrade")
    return tmp_path / "upgrade"


class Stopped(Exception):
    pass


class Stopping(SerialEngine):
    """Stops after so many shards."""

    def __init__(self, count):
        super().__init__()
        self.count, self.done = count, []

    def run(self, prepare, shards):
        for shard, result in super().run(prepare, shards):
            self.done.append(shard)
            yield shard, result
            if len(self.done) == self.count:
                raise Stopped


@pytest.fixture(scope="module")
def workers():
    with LocalEngine(2) as engine:
        yield engine


def test_an_npy_is_the_same_whoever_works(rows, upgrade, workers, tmp_path):
    write_vectors(rows, tmp_path / "old.npy")
    seen = []
    done = translate_file(
        tmp_path / "old.npy", tmp_path / "one.npy", upgrade, progress=lambda *step: seen.append(step[:2])
    )
    assert (done.rows, done.new, seen[-1], len(seen)) == (ROWS, NEW, (ROWS, ROWS), 7)
    one = read_vectors(tmp_path / "one.npy")
    assert (one.ids, one.space) == (rows.ids, NEW)
    np.testing.assert_allclose(one.vectors, Upgrade.load(upgrade).bridge.apply(rows.vectors), rtol=1e-4, atol=1e-5)
    translate_file(tmp_path / "old.npy", tmp_path / "two.npy", upgrade, engine=workers)
    for name in ("", ".json"):
        assert (tmp_path / f"two.npy{name}").read_bytes() == (tmp_path / f"one.npy{name}").read_bytes()
    assert not list(tmp_path.glob(".*translating"))


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_what_was_done_before_a_kill_is_not_done_again(suffix, rows, upgrade, tmp_path):
    source, to = tmp_path / f"old{suffix}", tmp_path / f"new{suffix}"
    parts = [rows.take(range(start, start + 100)) for start in range(0, ROWS, 100)]
    titles = [{"title": [f"{name}!" for name in part.ids]} for part in parts]
    if suffix == ".npy":
        write_vectors(rows, source)
    else:
        write_rows(lambda: zip(parts, titles, strict=True), source, OLD)
    with pytest.raises(Stopped):
        translate_file(source, to, upgrade, engine=Stopping(3))
    assert not to.exists()
    work = tmp_path / f".new{suffix}.translating"
    before = {path.name: path.stat().st_mtime_ns for path in work.iterdir() if path.name != "what.json"}
    done = sorted(name for name in before if name != "vectors")
    assert len(done) == 3
    again = Stopping(100)
    translate_file(source, to, upgrade, engine=again)
    if suffix == ".parquet":
        assert {path.name: path.stat().st_mtime_ns for path in to.iterdir() if path.name in before} == before
        assert [c for _, columns in read_rows(to, payload=["title"]) for c in columns["title"]] == [
            f"{name}!" for name in rows.ids
        ]
    new = read_vectors(to)
    assert (new.ids, new.space) == (rows.ids, NEW)
    other = tmp_path / f"other{suffix}"
    translate_file(source, other, upgrade)
    np.testing.assert_array_equal(new.vectors, read_vectors(other).vectors)


def test_what_was_done_of_another_file_counts_for_nothing(rows, upgrade, tmp_path):
    write_vectors(rows, tmp_path / "old.npy")
    with pytest.raises(Stopped):
        translate_file(tmp_path / "old.npy", tmp_path / "new.npy", upgrade, engine=Stopping(3))
    changed = Embeddings(rows.ids, -rows.vectors, OLD)
    write_vectors(changed, tmp_path / "old.npy")
    translate_file(tmp_path / "old.npy", tmp_path / "new.npy", upgrade)
    new = read_vectors(tmp_path / "new.npy").vectors
    np.testing.assert_allclose(new, Upgrade.load(upgrade).bridge.apply(-rows.vectors), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_mapped_is_refused(rows, upgrade, tmp_path):
    vectors = rows.vectors.copy()
    write_vectors(Embeddings(rows.ids, vectors, Space("other", "1", OLD.dim)), tmp_path / "other.npy")
    with pytest.raises(SpaceMismatch, match=r"upgrade maps vectors of mini@1 .* these are of other@1"):
        translate_file(tmp_path / "other.npy", tmp_path / "new.npy", upgrade)
    with pytest.raises(SettingsError, match="an npy is translated into an npy"):
        translate_file(tmp_path / "other.npy", tmp_path / "new.parquet", upgrade)
    write_vectors(rows, tmp_path / "old.npy")
    with (tmp_path / "old.npy").open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\x00\x00\xc0\x7f")
    with pytest.raises(InvalidInput, match=r"old.npy is not the file that"):
        translate_file(tmp_path / "old.npy", tmp_path / "new.npy", upgrade)
    assert not (tmp_path / "new.npy").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lancedb", "postgresql"])
def test_a_store_gets_a_space_beside_its_writers(kind, rows, upgrade, workers, tmp_path, request):
    server = request.getfixturevalue("postgres_server") if kind == "postgresql" else None
    url = server.url(server.database(), table="items") if server else f"lancedb:{tmp_path / 'shop'}"
    with closing(open_store(url, create=True)) as store:
        store.add_space(OLD)
        store.upsert(rows, {"title": list(rows.ids)})
        late = Embeddings(("late",), np.ones((1, OLD.dim), np.float32), OLD)
        killed = []

        def heard(done, total, what):
            if not killed:
                store.upsert(late, {"title": ["late"]})
                tasks_of = workers._held[1]._tasks
                worker = max(tasks_of, key=lambda worker: len(tasks_of[worker]))
                os.kill(worker.process.pid, signal.SIGKILL)
                killed.append(done)

        assert translate_store(url, upgrade, engine=workers, progress=heard).rows == ROWS + 1
        with pytest.raises(SettingsError, match="say which by its id with --space"):
            translate_store(url, upgrade)
        assert translate_store(url, upgrade, space="mini").rows == 0
        new = store.fetch(NEW, [*rows.ids, "late"])
        assert new.ids == (*rows.ids, "late")
        bridge = Upgrade.load(upgrade).bridge
        expected = bridge.apply(np.concatenate([rows.vectors, late.vectors]))
        np.testing.assert_allclose(new.vectors, expected, rtol=1e-4, atol=1e-5)
        store.drop_space(NEW)
        assert translate_store(url, upgrade).rows == ROWS + 1
        again = store.fetch(NEW, new.ids)
        np.testing.assert_array_equal(again.vectors[:-61], new.vectors[:-61])  # the last batch has one row more


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """A table of texts and old vectors by row groups, and the upgrade to a planted model."""
    monkeypatch.setitem(PROVIDERS, "planted", PROVIDER)
    space, target = SPACES["old"], SPACES["new"]
    save_upgrade(tmp_path / "planted")
    groups = [range(start, start + 40) for start in range(0, 200, 40)]
    names = [[f"item {number}" for number in group] for group in groups]
    vectors = [Embeddings(tuple(part), np.ones((40, 2), np.float32), space) for part in names]
    columns = [{"title": [f"{number} {number % 7} 1" for number in group]} for group in groups]
    write_rows(lambda: zip(vectors, columns, strict=True), tmp_path / "old.parquet", space)
    return tmp_path / "old.parquet", tmp_path / "planted", target


@pytest.mark.parametrize("engine", [None, "pool"])
def test_a_table_is_encoded_again_by_the_new_model(engine, texts, workers, tmp_path):
    source, upgrade, target = texts
    engine = None if engine is None else PlantedEngine(workers, folder=tmp_path)
    done = encode_table(source, tmp_path / "new.parquet", upgrade, ItemSource("text", "title"), engine=engine)
    assert (done.rows, done.new) == (200, target)
    new = read_vectors(tmp_path / "new.parquet")
    assert (new.ids, new.space) == (tuple(f"item {number}" for number in range(200)), target)
    assert new.vectors.tolist() == [[number, number % 7, 1] for number in range(200)]
    assert next(iter(read_rows(tmp_path / "new.parquet", payload=["title"])))[1]["title"][1] == "1 1 1"
    if engine is not None:
        assert len(engine.marks("done")) == 5
        assert os.getpid() not in {pid for pid, _ in engine.marks("worker")}


def test_an_item_that_cannot_be_had_is_named(texts, tmp_path):
    _, upgrade, _ = texts
    row = Embeddings(("a", "b"), np.ones((2, 2), np.float32), SPACES["old"])
    write_rows(lambda: iter([(row, {"title": ["1 2 3", " "]})]), tmp_path / "bad.parquet", SPACES["old"])
    for items, message in (
        (ItemSource("text", "title"), r"bad.parquet: row 'b': its text is empty; mend its item"),
        (ItemSource("text", "name"), r"there is no column name; there are id, vector, title"),
    ):
        with pytest.raises(InvalidInput, match=message):
            encode_table(tmp_path / "bad.parquet", tmp_path / "new.parquet", upgrade, items)
    assert not (tmp_path / "new.parquet").exists()


def test_the_command(rows, upgrade, tmp_path):
    write_vectors(rows, tmp_path / "old.npy")
    command = ["translate", str(tmp_path / "old.npy"), str(upgrade)]
    done = CliRunner().invoke(app, [*command, "--to", str(tmp_path / "new.npy"), "--json"])
    said = json.loads(done.stdout)
    assert (said["schema"], said["rows"], said["new"]["id"]) == ("embridge.translation/1", ROWS, NEW.id)
    assert CliRunner().invoke(app, command).exit_code == 2
    for given, message in (("gpu=1", "--worker: gpu"), ("retries=-1", "--worker: retries"), ("name=local", "--engine")):
        wrong = CliRunner().invoke(app, [*command, "--to", str(tmp_path / "new.npy"), "--worker", given])
        assert (wrong.exit_code, message in wrong.stderr) == (2, True), wrong.stderr
    assert CliRunner().invoke(app, [*command, "--to", "new.npy", "--space", "mini"]).exit_code == 2
    assert CliRunner().invoke(app, ["translate", "lancedb:shop", str(upgrade), "--to", "new.npy"]).exit_code == 2
    assert CliRunner().invoke(app, ["translate", "lancedb:shop", str(upgrade), "--text", "title"]).exit_code == 2
    assert CliRunner().invoke(app, [*command, "--to", "new.npy", "--text", "title"]).exit_code == 2
