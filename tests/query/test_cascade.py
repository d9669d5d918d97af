import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embridge.adapters import Identity, Prefix, Provenance, Upgrade
from embridge.embeddings import Embeddings
from embridge.errors import InvalidInput, SpaceMismatch, StoreError, WrongDirection
from embridge.nearest import search
from embridge.query import Cascade, VectorCache, over
from embridge.space import Space
from embridge.stores import MemoryStore, open_store

SPACE = Space("new", "1", 64)
LEAST = 2**20 + 8 * 4 * 64


def rows(names, space=SPACE, *, seed=0):
    names = [str(name) for name in names]
    vectors = np.random.default_rng(seed).normal(size=(len(names), space.dim)).astype(np.float32)
    return Embeddings.of(vectors, space, names)


def of_name(names, space=SPACE):
    """Vectors that the name alone decides, so that any process can check them."""
    return Embeddings.of(np.array([[int(n)] * space.dim for n in names], np.float32), space, list(names))


def file_bytes(path):
    return path.stat().st_size


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache.sqlite"


class Counting:
    """The new model, and what it was asked for."""

    def __init__(self, encode):
        self.encode, self.asked = encode, []

    def __call__(self, ids):
        self.asked.append(tuple(ids))
        return self.encode(ids)


# --- the cascade


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_the_whole_gallery_is_a_finished_backfill_exactly(world, metric):
    new = replace(world.items.space, metric=metric)
    items, queries = (x.with_vectors(x.vectors, new) for x in (world.items, world.queries))
    row_of = {name: row for row, name in enumerate(items.ids)}
    upgrade = Upgrade(Identity(new, new), Prefix(new, world.old_items.space), Provenance("prefix"))
    cascade = Cascade(upgrade, over(world.old_items), lambda ids: items.take([row_of[i] for i in ids]), items=240)
    found, full = cascade.search(queries, 20), search(queries, items, 20)
    assert found.ids == full.ids
    assert np.array_equal(found.scores, full.scores)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "lancedb", "arrays"])
def test_against_a_plain_loop(world, tmp_path, kind):
    if kind == "arrays":
        find = over(world.old_items)
    else:
        store = MemoryStore() if kind == "memory" else open_store(tmp_path / "store", create=True)
        store.add_space(world.old_items.space)
        store.upsert(world.old_items)
        find = store.search
    cascade = Cascade(world.upgrade, find, world.encode, items=30)
    found = cascade.search(world.queries, 5)
    candidates = search(world.bridged, world.old_items, 30).ids
    for i, names in enumerate(candidates):
        query = world.queries.vectors[i].astype(float)
        vectors = world.encode(names).vectors.astype(float)
        cosine = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
        best = np.argsort(-cosine, kind="stable")[:5]
        assert found.ids[i] == tuple(names[b] for b in best)
        np.testing.assert_allclose(found.scores[i], cosine[best], atol=1e-6)


@pytest.mark.slow
def test_the_head_is_on_both_sides(world):
    new = world.queries.space
    head = Prefix(new, Space("head", "1", 5))
    upgrade = Upgrade(head, Prefix(head.target, Space("old", "2", 4)), Provenance("prefix"))
    index = upgrade.to_index_space(world.items)
    cascade = Cascade(upgrade, over(index), world.encode, items=240)
    assert cascade.search(world.queries, 9).ids == search(head(world.queries), head(world.items), 9).ids


def test_equal_scores_keep_the_bridges_order(world):
    same = world.items.with_vectors(np.ones_like(world.items.vectors), world.items.space)
    cascade = Cascade(world.upgrade, over(world.old_items), lambda ids: same.take(range(len(ids))).__class__(
        tuple(ids), same.vectors[: len(ids)], same.space), items=10)  # fmt: skip
    assert cascade.search(world.queries, 10).ids == search(world.bridged, world.old_items, 10).ids


def test_more_hits_than_items_are_still_given(world):
    cascade = Cascade(world.upgrade, over(world.old_items), world.encode, items=2)
    assert [len(ids) for ids in cascade.search(world.queries, 7).ids] == [7] * 40


@pytest.mark.slow
def test_the_price_is_counted_right(world, path):
    encode = Counting(world.encode)
    with VectorCache(path, world.items.space, max_bytes=LEAST) as cache:
        cascade = Cascade(world.upgrade, over(world.old_items), encode, items=30, cache=cache)
        with pytest.raises(InvalidInput, match="it has no price yet"):
            cascade.price()
        first = cascade.search(world.queries, 5)
        candidates = search(world.bridged, world.old_items, 30).ids
        distinct = {name for names in candidates for name in names}
        assert sorted(name for asked in encode.asked for name in asked) == sorted(distinct)
        price = cascade.price()
        assert (price.queries, price.items_per_query) == (40, 30)
        assert price.reembedded_per_query == len(distinct) / 40
        assert price.cache_hit_rate == pytest.approx(1 - len(distinct) / (40 * 30))
        assert cascade.search(world.queries, 5).ids == first.ids
        assert sum(map(len, encode.asked)) == len(distinct)
        again = cascade.price()
        assert (again.queries, again.reembedded_per_query) == (80, len(distinct) / 80)
        assert again.to_dict()["cache_hit_rate"] == pytest.approx(1 - len(distinct) / (80 * 30))


def test_without_a_cache_everything_is_embedded_again(world):
    cascade = Cascade(world.upgrade, over(world.old_items), world.encode, items=30)
    for _ in range(2):
        cascade.search(world.queries, 5)
    assert (cascade.price().reembedded_per_query, cascade.price().cache_hit_rate) == (30, 0)


def test_the_added_time_is_that_of_the_new_model(world):
    def slow(ids):
        time.sleep(0.02)
        return world.encode(ids)

    def slow_search(queries, k):
        time.sleep(0.5)
        return search(queries, world.old_items, k)

    cascade = Cascade(world.upgrade, slow_search, slow, items=5)
    cascade.search(world.queries.take(range(3)), 2)
    price = cascade.price()
    assert 20 <= price.added_p50_milliseconds <= price.added_p95_milliseconds < 400


def test_nothing_to_search_is_nothing_found(world):
    cascade = Cascade(world.upgrade, over(world.old_items.take([])), world.encode)
    assert cascade.search(world.queries.take([0, 1]), 3).ids == ((), ())
    assert (cascade.price().items_per_query, cascade.price().cache_hit_rate) == (0, 0)
    assert Cascade(world.upgrade, over(world.old_items), world.encode).search(world.queries.take([]), 3).ids == ()


def test_wrong_input_of_a_cascade_is_refused(world, path):
    find = over(world.old_items)
    with pytest.raises(InvalidInput, match="ranks at least 1 item again, came items=0"):
        Cascade(world.upgrade, find, world.encode, items=0)
    with pytest.raises(InvalidInput, match="k is at least 1, came 0"):
        Cascade(world.upgrade, find, world.encode).search(world.queries, 0)
    with pytest.raises(WrongDirection, match="these vectors are of the old model already"):
        Cascade(world.upgrade, find, world.encode).search(world.old_queries, 3)
    elsewhere = Upgrade(world.upgrade.head, Prefix(world.items.space, Space("third", "1", 4)), Provenance("x"))
    with (
        VectorCache(path, world.old_items.space, max_bytes=LEAST) as cache,
        pytest.raises(SpaceMismatch, match=r"the cache .*cache\.sqlite: expected vectors of new@1.* came old@1"),
    ):
        Cascade(world.upgrade, find, world.encode, cache=cache)
    with pytest.raises(SpaceMismatch, match="the queries: expected vectors of old@1"):
        Cascade(elsewhere, find, world.encode).search(world.queries, 3)


def test_a_forward_upgrade_is_refused(world):
    bridge = Prefix(world.items.space, Space("newer", "1", 3))
    upgrade = Upgrade(Identity(bridge.target, bridge.target), bridge, Provenance("x"), direction="forward")
    with pytest.raises(WrongDirection, match="needs a backward upgrade"):
        Cascade(upgrade, over(world.old_items), world.encode)


@pytest.mark.parametrize(
    ("encode", "error", "message"),
    [
        (lambda world: lambda ids: world.encode(ids[1:]), InvalidInput, "asked for 200 items and gave others"),
        (lambda world: lambda ids: world.encode(ids[::-1]), InvalidInput, "gave others, or in another order"),
        (lambda _: lambda ids: rows(ids), SpaceMismatch, "the re-embedded items: expected vectors of new@1"),
    ],
)
def test_an_encoder_that_gives_something_else_is_noticed(world, path, encode, error, message):
    with VectorCache(path, world.items.space, max_bytes=LEAST) as cache:
        cascade = Cascade(world.upgrade, over(world.old_items), encode(world), cache=cache)
        with pytest.raises(error, match=message):
            cascade.search(world.queries, 3)
        assert len(cache) == 0


# --- the cache


@pytest.mark.slow
@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 30), max_size=8, unique=True)), max_size=12))
def test_a_cache_with_room_is_a_dictionary(tmp_path_factory, steps):
    held = {}
    with VectorCache(tmp_path_factory.mktemp("c") / "c", SPACE, max_bytes=2**23) as cache:
        for seed, (write, names) in enumerate(steps):
            if write:
                part = rows(names, seed=seed)
                cache.put(part)
                held |= dict(zip(part.ids, part.vectors, strict=True))
            else:
                found = cache.get([str(n) for n in names])
                assert set(found) == {str(n) for n in names} & set(held)
                assert all(np.array_equal(vector, held[name]) for name, vector in found.items())
        assert len(cache) == len(held)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [24, 64, 1_000, 9_000])
def test_the_file_stays_within_its_bound_and_uses_it(path, dim):
    space = replace(SPACE, dim=dim)
    most = 2**20 + 40 * 4 * dim
    with VectorCache(path, space, max_bytes=most) as cache:
        step = max(1, most // (16 * dim))
        for start in range(0, 8 * step, step):
            cache.put(rows(range(start, start + step), space, seed=start))
            assert cache.size_bytes <= most
        assert (len(cache) + 1) * 4 * dim > (0.35 if dim > 24 else 0.2) * most
    assert file_bytes(path) <= most


@pytest.mark.slow
def test_one_put_larger_than_the_bound_keeps_the_last(path):
    everything = rows(range(8_000))
    with VectorCache(path, SPACE, max_bytes=LEAST) as cache:
        cache.put(everything)
        assert cache.size_bytes <= LEAST
        kept = cache.get(everything.ids)
        assert kept
        assert set(kept) == set(everything.ids[-len(kept) :])


@pytest.mark.slow
@pytest.mark.parametrize("reopened", [False, True])
def test_what_was_used_last_stays(path, reopened):
    cache = VectorCache(path, SPACE, max_bytes=LEAST)
    cache.put(rows(range(1_000)))
    cache.get([str(i) for i in range(100)])
    if reopened:
        cache.close()
        cache = VectorCache(path, SPACE, max_bytes=LEAST)
    for start in range(1_000, 9_000, 200):
        cache.put(rows(range(start, start + 200)))
        cache.get([str(i) for i in range(50)])
    held = set(cache.get([str(i) for i in range(9_000)]))
    cache.close()
    assert {str(i) for i in range(50)} <= held
    assert not {str(i) for i in range(50, 1_000)} & held
    assert {str(i) for i in range(8_800, 9_000)} <= held


def test_many_uses_are_written_before_the_end(path, monkeypatch):
    monkeypatch.setattr("embridge.query.vector_cache._TOUCHED", 5)
    with VectorCache(path, SPACE, max_bytes=LEAST) as cache:
        cache.put(rows(range(20)))
        cache.get(["3", "4", "5", "6", "7", "8"])
        with sqlite3.connect(path) as other:
            latest = [name for (name,) in other.execute("SELECT id FROM rows ORDER BY used DESC LIMIT 6")]
        other.close()
    assert latest == [str(i).encode() for i in (8, 7, 6, 5, 4, 3)]


@pytest.mark.parametrize("name", ["ä" * 300, "a\0b", "\ud800", "' OR 1=1 --", "%", "a b\n"])
def test_any_string_is_an_id(path, name):
    with VectorCache(path, SPACE, max_bytes=LEAST) as cache:
        cache.put(rows([name]))
        assert list(cache.get([name, name, "a"])) == [name]


def test_a_vector_written_again_replaces_the_old_one(path):
    with VectorCache(path, SPACE, max_bytes=LEAST) as cache:
        for seed in range(3):
            cache.put(rows(["a"], seed=seed))
        assert len(cache) == 1
        assert np.array_equal(cache.get(["a"])["a"], rows(["a"], seed=2).vectors[0])


def test_another_space_is_refused(path):
    VectorCache(path, SPACE, max_bytes=LEAST).close()
    before = path.read_bytes()
    with pytest.raises(SpaceMismatch, match=r"the cache .*cache\.sqlite: expected vectors of new@1 .* came other@1"):
        VectorCache(path, Space("other", "1", 64), max_bytes=LEAST)
    assert path.read_bytes() == before
    with (
        VectorCache(path, SPACE, max_bytes=LEAST) as cache,
        pytest.raises(SpaceMismatch, match="vectors for this cache: expected vectors of new@1"),
    ):
        cache.put(rows("a", Space("other", "1", 64)))


def test_too_small_a_bound_is_refused(path):
    with pytest.raises(InvalidInput, match=f"takes at least {LEAST} bytes, came 1000"):
        VectorCache(path, SPACE, max_bytes=1_000)
    assert not path.exists()


def test_closing_twice_is_closing_once(path):
    cache = VectorCache(path, SPACE, max_bytes=LEAST)
    cache.put(rows("a"))
    cache.get(["a"])
    cache.close()
    cache.close()
    with pytest.raises(StoreError, match="cannot be used as a cache"):
        cache.get(["a"])


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5_000])
def test_a_file_that_is_no_cache_is_refused_and_left(path, content):
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"cache\.sqlite (is no cache|cannot be used)"):
        VectorCache(path, SPACE, max_bytes=LEAST)
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_refused_and_left(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, id TEXT)")
    database.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is no cache made by embridge"):
        VectorCache(path, SPACE, max_bytes=LEAST)
    assert path.read_bytes() == before


def test_vectors_exchanged_between_ids_are_noticed(path):
    with VectorCache(path, SPACE, max_bytes=LEAST) as cache:
        cache.put(rows("ab"))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE rows SET id = CASE id WHEN x'61' THEN x'63' ELSE x'64' END")
        database.execute("UPDATE rows SET id = CASE id WHEN x'63' THEN x'62' ELSE x'61' END")
    database.close()
    with (
        pytest.raises(StoreError, match=r"the vector of '[ab]' is not what was written"),
        VectorCache(path, SPACE, max_bytes=LEAST) as cache,
    ):
        cache.get(["a", "b"])


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_file_never_gives_a_wrong_vector(path, share):
    names = [str(i) for i in range(2_000)]
    with VectorCache(path, SPACE, max_bytes=2**22) as cache:
        cache.put(of_name(names))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])

    def read():
        with VectorCache(path, SPACE, max_bytes=2**22) as cache:
            cache.get(names)

    with pytest.raises(StoreError, match=r"cache\.sqlite"):
        read()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("UPDATE vectors SET vector = x'00'", "holds something else than 64 numbers"),
        ("UPDATE vectors SET vector = 7", "holds something else than 64 numbers"),
        ("UPDATE vectors SET vector = zeroblob(9000000)", "cannot be used as a cache"),
        (f"UPDATE vectors SET vector = x'{'0000c07f' * 65}'", "is damaged: the vector of 'a' is not what was written"),
        ("UPDATE vectors SET vector = zeroblob(260)", "is damaged: the vector of 'a' is not what was written"),
        ("DELETE FROM about", "does not say of which space it is"),
        ("UPDATE about SET value = '{'", "does not say of which space it is"),
        ("UPDATE about SET value = '" + "[" * 100_000 + "'", "does not say of which space it is"),
        ("DROP TABLE vectors", "is no cache made by embridge"),
        ("CREATE TRIGGER t AFTER INSERT ON rows BEGIN DELETE FROM rows; END", "is no cache made by embridge"),
        ("CREATE VIEW v AS SELECT 1", "is no cache made by embridge"),
    ],
)
def test_a_hostile_file_is_refused(path, damage, message):
    with VectorCache(path, SPACE, max_bytes=LEAST) as cache:
        cache.put(rows("a"))
    with sqlite3.connect(path) as database:
        database.execute(damage)
    database.close()

    def read():
        with VectorCache(path, SPACE, max_bytes=LEAST) as cache:
            cache.get(["a"])

    with pytest.raises(StoreError, match=message):
        read()


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path, tmp_path / "file" / "cache"):
        with pytest.raises(StoreError, match="cannot be used as a cache"):
            VectorCache(path, SPACE, max_bytes=LEAST)


def test_what_a_crash_while_making_it_left_is_no_matter(path):
    path.with_name("cache.sqlite-wal").write_bytes(b"left over" * 1_000)
    with VectorCache(path, SPACE, max_bytes=LEAST) as cache:
        cache.put(rows("a"))
        assert len(cache) == 1
    with VectorCache(path, SPACE, max_bytes=LEAST) as cache:
        assert list(cache.get(["a"])) == ["a"]


WRITER = """
import sys
import numpy as np
from embridge.embeddings import Embeddings
from embridge.query import VectorCache
from embridge.space import Space

space = Space("new", "1", 64)
first, stop = int(sys.argv[2]), int(sys.argv[3])
with VectorCache(sys.argv[1], space, max_bytes=2**20 + 8 * 4 * 64) as cache:
    for start in range(first, stop, 50):
        names = [str(i) for i in range(start, start + 50)]
        cache.put(Embeddings.of(np.array([[int(n)] * 64 for n in names], np.float32), space, names))
        cache.get(names[:10])
        print(start, flush=True)
"""


def writer(path, first, stop):
    command = [sys.executable, "-c", WRITER, str(path), str(first), str(stop)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def held_in(path, stop):
    names = [str(i) for i in range(stop)]
    with VectorCache(path, SPACE, max_bytes=LEAST) as cache:
        found = cache.get(names)
        assert len(cache) == len(found)
        assert cache.size_bytes <= LEAST
    for name, vector in found.items():
        assert (vector == float(name)).all()
    return found


@pytest.mark.slow
def test_the_log_of_a_deleted_cache_is_not_applied_to_the_next(path):
    process = writer(path, 0, 10**7)
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert file_bytes(path.with_name("cache.sqlite-wal")) > 0
    path.unlink()
    third = Space("third", "1", 64)
    for _ in range(2):
        with VectorCache(path, third, max_bytes=LEAST) as cache:
            cache.put(rows(["a"], third))
            assert (len(cache), list(cache.get(["a", "1", "2"]))) == (1, ["a"])


@pytest.mark.slow
@pytest.mark.parametrize("wait_seconds", [0.0, 0.005, 0.03, 0.1, 0.25])
def test_a_writer_killed_at_any_moment_leaves_whole_writes(path, wait_seconds):
    process = writer(path, 0, 10**7)
    process.stdout.readline()
    time.sleep(wait_seconds)
    process.send_signal(signal.SIGKILL)
    written = 1 + len(process.communicate()[0].splitlines())
    found = held_in(path, 50 * (written + 2))
    assert len(found) >= 50
    assert str(50 * written - 1) in found  # what put returned from is there
    parts = {int(name) // 50 for name in found}
    assert len(found) >= 50 * (len(parts) - 1)  # only the oldest part may be in the course of leaving


@pytest.mark.slow
def test_a_process_killed_while_it_makes_the_file(path):
    for wait_seconds in (0.0, 0.1, 0.15, 0.2, 0.25):
        process = writer(path, 0, 50)
        time.sleep(wait_seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with VectorCache(path, SPACE, max_bytes=LEAST) as cache:
            assert len(cache) in (0, 50)
        path.unlink()


@pytest.mark.slow
def test_several_processes_write_and_read_one_file(path):
    processes = [writer(path, first, first + 500) for first in (0, 500, 1_000)]
    for process in processes:
        process.communicate(timeout=300)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(held_in(path, 1_500)) == 1_500


def test_readers_do_not_wait_for_a_writer(path):
    with VectorCache(path, SPACE, max_bytes=LEAST) as cache:
        cache.put(of_name(["1", "2"]))
        writing = sqlite3.connect(path, isolation_level=None)
        writing.execute("BEGIN IMMEDIATE")
        began = time.perf_counter()
        assert set(cache.get(["1", "2"])) == {"1", "2"}
        assert time.perf_counter() - began < 5
        writing.execute("ROLLBACK")
        writing.close()


@pytest.mark.slow
def test_threads_share_one_cache(path):
    wrong = []
    with VectorCache(path, SPACE, max_bytes=LEAST) as cache:

        def work(first):
            for start in range(first, first + 300, 50):
                names = [str(i) for i in range(start, start + 50)]
                cache.put(of_name(names))
                found = cache.get(names)
                wrong.extend(n for n in names if not (found[n] == float(n)).all())

        threads = [threading.Thread(target=work, args=(1_000 * i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(cache) == 1_200
    assert wrong == []
