"""Galleries that workers read: the answers of one process to the bit, and one clear line for what cannot be read."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mortal_work import Mortal

from embridge import Embeddings, Space, Upgrade, read_vectors, search, write_vectors
from embridge.adapters import MLP, Identity, Layer, Linear, Provenance
from embridge.errors import InvalidInput, MissingSetting, SpaceMismatch, WorkerError
from embridge.evaluation import LabelRelevance, Relevance, Scope, Side, evaluate
from embridge.nearest import _parts
from embridge.scale import SerialEngine
from embridge.scale.gallery import SpreadGallery, spreading
from embridge.scale.local import LocalEngine

pytestmark = pytest.mark.slow  # a pool of processes is started

ROWS, DIM = 61, 4
OLD, NEW = Space("old", "1", DIM), Space("new", "1", DIM + 1)


@pytest.fixture
def workers(tmp_path, monkeypatch):
    """In this process, by blocks of few rows."""
    monkeypatch.setattr(_parts, "BLOCK", 5)
    monkeypatch.chdir(tmp_path)
    with SerialEngine() as engine, spreading(engine, "work") as made:
        yield made


@pytest.fixture(scope="module")
def pool():
    with LocalEngine(2, retries=1) as engine:
        yield engine


def rows_of(space, n=ROWS, seed=0, prefix="g"):
    vectors = np.random.default_rng(seed).integers(-1, 2, size=(n, space.dim)).astype(np.float32)
    return Embeddings.of(vectors, space, [f"{prefix}{i}" for i in range(n)])


def assert_found_alike(gallery, rows, k=9):
    queries = rows_of(rows.space, 6, seed=1, prefix="q")
    expected, came = search(queries, rows, k), gallery.search(queries, k)
    assert came.ids == expected.ids
    assert came.scores.tobytes() == expected.scores.tobytes()


@pytest.mark.parametrize("suffix", ["npy", "parquet", "arrow", "feather"])
@pytest.mark.parametrize("k", [1, 9, 100])
def test_a_file_is_searched_as_one_process_does(suffix, k, workers):
    path = write_vectors(rows_of(OLD), f"rows.{suffix}")
    assert_found_alike(workers.file(path), rows_of(OLD), k)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_held_rows_are_searched_as_one_process_does(metric, workers):
    rows = rows_of(Space("old", "1", DIM, metric))
    assert_found_alike(workers.held(rows), rows)


def test_row_groups_files_of_a_folder_and_columns_of_other_names(workers, tmp_path):
    (tmp_path / "rows.parquet").mkdir()
    for number, part in enumerate(rows_of(OLD).chunks(23)):
        table = pa.table({"key": list(part.ids), "embedding": list(part.vectors)})
        pq.write_table(table, tmp_path / "rows.parquet" / f"part-{number}.parquet", row_group_size=6)
    columns = {"id": "key", "vector": "embedding"}
    gallery = workers.file("rows.parquet", space=OLD, columns=columns)
    assert gallery.ids == rows_of(OLD).ids
    assert_found_alike(gallery, rows_of(OLD))


@pytest.mark.parametrize("kind", [np.float16, np.float64, ">f4", "fortran"])
def test_other_numbers_are_cast_as_a_reader_casts_them(kind, workers):
    vectors = rows_of(OLD).vectors
    np.save("rows.npy", np.asfortranarray(vectors) if kind == "fortran" else vectors.astype(kind))
    expected = read_vectors("rows.npy", space=OLD, cast=True)
    assert_found_alike(workers.file("rows.npy", space=OLD, cast=True), expected)
    if kind in (np.float16, np.float64):
        with pytest.raises(InvalidInput, match=r"^rows.npy: expected float32, came float.*cast: true"):
            workers.file("rows.npy", space=OLD)


def test_an_order_of_its_own_settles_equal_scores(workers):
    write_vectors(rows_of(OLD), "rows.npy")
    order = np.random.default_rng(3).permutation(ROWS)
    arranged = workers.file("rows.npy", arrange=lambda _: order)
    assert_found_alike(arranged, rows_of(OLD).take(order))
    kept = np.array([0, 1, 7, 8, 9, 40, 60])
    assert_found_alike(arranged.part(kept), rows_of(OLD).take(order[kept]))
    for wrong in ([3, 3], [4, 2]):
        with pytest.raises(InvalidInput, match="rows ascending"):
            arranged.part(np.array(wrong))


def test_rows_come_as_they_are_asked_for(workers):
    rows = rows_of(OLD)
    gallery = workers.held(rows)
    assert gallery.take([60, 3, 3, 0][:2]).ids == ("g60", "g3")
    np.testing.assert_array_equal(gallery.take([60, 3]).vectors, rows.vectors[[60, 3]])
    np.testing.assert_array_equal(gallery.vectors, rows.vectors)
    assert [len(part) for part in gallery.chunks(30)] == [30, 30, 1]
    with pytest.raises(InvalidInput, match="at least 1 row"):
        gallery.chunks(0)


def upgrades():
    draw = np.random.default_rng(5)

    def weights(a, b):
        return draw.normal(size=(a.dim, b.dim)).astype(np.float32)

    ahead = Linear(OLD, NEW, weights(OLD, NEW), normalize_input=True)
    layers = [Layer(weights(NEW, OLD), np.ones(DIM, np.float32)) for _ in range(1)]
    return {
        "forward": Upgrade(Identity(NEW, NEW), ahead, Provenance("drawn"), "forward"),
        "backward": Upgrade(Linear(NEW, NEW, weights(NEW, NEW)), MLP(NEW, OLD, layers), Provenance("drawn")),
    }


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("judged", ["pairs", "labels"])
def test_every_cell_of_an_evaluation_is_that_of_one_process(direction, judged, workers, monkeypatch):
    gallery = {space: rows_of(space, seed=7) for space in (OLD, NEW)}
    queries = {space: rows_of(space, 30, seed=8, prefix="q") for space in (OLD, NEW)}
    if judged == "labels":
        relevance = LabelRelevance(labels := {f"g{i}": str(i % 5) for i in range(ROWS - 3)}, labels)
        queries = {space: rows.take(np.arange(0, ROWS, 2)) for space, rows in gallery.items()}
    else:
        relevance = Relevance.from_grades(
            [(f"q{i}", f"g{j}", 0.1 * (i + 1)) for i in range(30) for j in (i, i + 9, 50)]
        )
    more = ["ceiling"] if judged == "labels" else ["cascade", "ceiling"]
    metrics = ["recall_at_1", "map"] if judged == "labels" else ["ndcg_exp_at_5", "map_at_3"]
    orders = {} if judged == "labels" else {"random": None}
    scope = Scope(metrics=metrics, directions=[""], cells=more, cascade_items=6, orders=orders, unjudged="zero")
    reports = []
    for held in (lambda rows: rows, workers.held):
        sides = (Side(queries[space], held(gallery[space])) for space in (OLD, NEW))
        reports.append(evaluate(*sides, upgrades()[direction], relevance, scope=scope))
        monkeypatch.setattr(SpreadGallery, "vectors", property(lambda _: pytest.fail("all vectors are read")))
    expected, came = reports
    assert came.about["data"] == expected.about["data"]
    assert came.tasks[0].notes == expected.tasks[0].notes
    assert [cell.name for cell in came.cells] == [cell.name for cell in expected.cells]
    for cell, one in zip(came.cells, expected.cells, strict=True):
        arrays = [
            [c.rows, c.scores, c.gains, *([] if c.full is None else [c.full]), *(c.ties.arrays() if c.ties else [])]
            for c in (cell, one)
        ]
        assert [array.tobytes() for array in arrays[0]] == [array.tobytes() for array in arrays[1]], cell.name


def test_a_gallery_that_asks_is_read_as_far_as_it_asks(workers):
    sides = [Side(rows_of(s, 9, 8, "q"), rows_of(s, seed=7)) for s in (OLD, NEW)]
    relevance = Relevance.from_pairs([(f"q{i}", f"g{i}") for i in range(9)])
    for unjudged in ("skip", "zero"):
        scope = Scope(metrics=["recall_at_1"], directions=["t2i", "i2t"], unjudged=unjudged)
        expected = evaluate(*sides, upgrades()["backward"], relevance, scope=scope)
        spread = (Side(side.queries, workers.held(side.gallery)) for side in sides)
        assert evaluate(*spread, upgrades()["backward"], relevance, scope=scope).figures() == expected.figures()


def damaged(name):
    """A gallery that cannot be read, and what is said of it."""
    rows = rows_of(OLD)
    if name == "NaN":
        vectors = rows.vectors.copy()
        vectors[47, 2] = np.nan
        np.save("rows.npy", vectors)
        return "rows.npy", r"^rows 0 to 60: rows.npy: row 47 holds NaN or infinity; remove or re-encode it"
    if name == "another array":
        write_vectors(rows, "rows.npy")
        np.save("rows.npy", rows.vectors[::-1])
        return "rows.npy", r"^rows.npy is not the file that rows.npy.json was written with"
    if name == "another dim":
        Path("rows.parquet").mkdir()
        for number, dim in enumerate((DIM, DIM + 1)):
            part = rows_of(Space("old", "1", dim), 5, prefix=f"{number}-")
            pq.write_table(
                pa.table({"id": list(part.ids), "vector": list(part.vectors)}), f"rows.parquet/{number}.parquet"
            )
        return (
            "rows.parquet",
            r"^rows 5 to 9: rows.parquet/1.parquet: row 5 has 5 numbers, and row 0 has 4;",
        )
    write_vectors(rows, f"rows.{name}")
    with Path(f"rows.{name}").open("r+b") as file:
        file.truncate(300)
    return f"rows.{name}", rf"^rows.{name} (cannot be read as {name}|is not the file)"


@pytest.mark.parametrize("name", ["NaN", "another array", "another dim", "npy", "parquet", "arrow"])
def test_what_is_damaged_is_one_line(name, tmp_path, monkeypatch, pool):
    monkeypatch.chdir(tmp_path)
    path, message = damaged(name)
    with spreading(pool, "work") as made, pytest.raises(InvalidInput, match=message) as caught:
        made.file(path, space=OLD)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_changes_between_is_noticed(workers, tmp_path):
    gallery = workers.file(write_vectors(rows_of(OLD), "rows.npy"))
    with Path("rows.npy").open("r+b") as file:
        file.truncate(700)
    with pytest.raises(InvalidInput, match=r"rows.npy was changed while it was searched; start again"):
        gallery.search(rows_of(OLD, 2), 1)


def test_what_does_not_fit_is_refused(workers):
    write_vectors(rows_of(OLD), "rows.npy")
    np.save("bare.npy", rows_of(OLD).vectors)
    with pytest.raises(SpaceMismatch, match=r"rows.npy"):
        workers.file("rows.npy", space=Space("other", "1", DIM))
    with pytest.raises(MissingSetting, match=r"bare.npy does not say of which model its 4-d vectors are"):
        workers.file("bare.npy")
    with pytest.raises(InvalidInput, match=r"bare.npy: vectors of old: expected 9 numbers a row, came 4"):
        workers.file("bare.npy", space=Space("old", "1", 9))
    gallery = workers.file("rows.npy")
    with pytest.raises(SpaceMismatch):
        gallery.search(rows_of(NEW), 1)
    with pytest.raises(SpaceMismatch):
        gallery.mapped(Identity(NEW, NEW))
    with pytest.raises(InvalidInput, match="k >= 1"):
        gallery.search(rows_of(OLD, 2), 0)


def test_a_worker_that_dies_is_not_noticed_in_the_answer(pool, tmp_path):
    rows = rows_of(OLD, 40_000)
    with spreading(pool, tmp_path / "work") as made:
        gallery = made.held(rows)
        mark, ends = tmp_path / "died", "ended by signal 9"
        assert gallery.over(Mortal(str(mark), 20_000)) == 40_000
        assert mark.exists()
        assert_found_alike(gallery, rows)
        with pytest.raises(WorkerError, match=f"^rows 16384 to 39999: 2 workers died of it, the last one: {ends}"):
            gallery.over(Mortal("", 20_000))
