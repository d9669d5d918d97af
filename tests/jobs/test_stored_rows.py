"""Fitting and judging from a store: one URL, one new model."""

import inspect
from collections import Counter

import lancedb
import numpy as np
import pytest
import yaml
from PIL import Image

from embridge import Embeddings, Space, open_store, write_vectors
from embridge.datasets import glyph_models, glyphs
from embridge.encoders import load, providers
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch, StoreError
from embridge.jobs import _stored_rows
from embridge.jobs._stored_pairs import is_kept_apart
from embridge.jobs._stored_rows import drawn_ids
from embridge.jobs.evaluate import evaluate_upgrade
from embridge.jobs.fit import fit_upgrade
from embridge.settings import load_settings, store_settings
from embridge.stores import Declaration, MemoryStore, Place
from embridge.stores.lancedb import LanceStore

pytestmark = pytest.mark.slow  # models encode what a store holds

OLD, NEW = (f"clip:{glyph_models.folder(side)}" for side in ("old", "new"))
NAMES = [glyphs.caption(c) for c in glyphs.split()["train"]][:1_200:2]
UNUSABLE = {"3": None, "5": "  "}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A table of somebody's LanceDB, adopted: names, and the old model's vectors of them."""
    folder = tmp_path_factory.mktemp("shop")
    old = load(OLD)
    vectors = old.encode(NAMES, modality="text").tolist()
    rows = [{"sku": n, "embedding": v, "title": t} for n, (t, v) in enumerate(zip(NAMES, vectors, strict=True))]
    for name, text in UNUSABLE.items():
        rows[int(name)]["title"] = text
    lancedb.connect(folder / "shop").create_table("items", rows)
    store = open_store(f"lancedb:{folder}/shop#items")
    store.adopt(Declaration(old.space, Place("items", "embedding", "sku"), OLD, {"text": "title"}))
    return folder


def settings_of(shop, tmp_path, *, evaluate=None, fit=None, **old):
    settings = {"old": {"store": f"lancedb:{shop}/shop#items"} | old, "new": NEW}
    settings |= {"fit": {"method": "procrustes"} | (fit or {})}
    if evaluate:
        settings["evaluate"] = evaluate | {"metrics": ["recall_at_10"]}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    return load_settings(tmp_path / "settings.yaml")


def test_a_store_gives_what_files_of_the_same_pairs_give(shop, tmp_path):
    fitted = fit_upgrade(settings_of(shop, tmp_path, sample=500))
    rows = fitted.stored
    assert 498 <= len(rows.vectors) <= 500
    assert len(rows.vectors) + sum(rows.missing.values()) == 500
    assert f"{len(rows.vectors)} of 600 rows of lancedb:{shop}/shop#items" in fitted.sentence
    assert fitted.to_dict()["store"]["used"] == len(rows.vectors)
    assert fitted.upgrade.provenance.encoders == {"old": OLD, "new": NEW}
    assert rows.texts == [NAMES[int(name)] for name in rows.vectors.ids]
    write_vectors(Embeddings.of(rows.vectors.vectors, rows.vectors.space), tmp_path / "old.npy")
    (tmp_path / "captions.txt").write_text("\n".join(rows.texts))
    (tmp_path / "files.yaml").write_text(
        f"old: {{captions: old.npy}}\nnew: {NEW}\nfit: {{captions: captions.txt, method: procrustes}}\nupgrade: other\n"
    )
    other = fit_upgrade(load_settings(tmp_path / "files.yaml")).upgrade
    for name, weights in fitted.upgrade.bridge.weights().items():
        np.testing.assert_array_equal(weights, other.bridge.weights()[name])


def test_the_new_model_is_loaded_once_the_old_one_never_and_each_row_read_once(shop, tmp_path, monkeypatch):
    loaded, read = Counter(), Counter()
    kind = providers.PROVIDERS["clip"].encoder_class()
    whole, fetch = kind.__init__, LanceStore.fetch

    def init(self, model, **options):
        loaded[str(model)] += 1
        whole(self, model, **options)

    def fetched(self, space, ids):
        read.update(ids)
        return fetch(self, space, ids)

    init.__signature__ = inspect.signature(whole)
    monkeypatch.setattr(kind, "__init__", init)
    monkeypatch.setattr(LanceStore, "fetch", fetched)
    before = {path: path.read_bytes() for path in (shop / "shop").rglob("*") if path.is_file()}
    settings = settings_of(shop, tmp_path, sample=200)
    first = fit_upgrade(settings).upgrade
    assert loaded == {NEW.partition(":")[2]: 1}
    assert set(read.values()) == {1}
    again = fit_upgrade(settings).upgrade
    assert loaded.total() == 1  # what the cache holds needs no weights
    assert first.provenance.data == again.provenance.data
    after = {path: path.read_bytes() for path in (shop / "shop").rglob("*") if path.is_file()}
    assert before == after


def test_one_url_and_one_model_are_enough_and_the_upgrade_searches_the_table(shop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = store_settings(f"lancedb:{shop}/shop#items", NEW, upgrade="upgrade")
    settings = settings.with_fit(method="procrustes")
    upgrade = fit_upgrade(settings).upgrade
    new, asked = load(NEW), list(range(100, 200))
    vectors = new.encode([NAMES[n] for n in asked], modality="text", role="query")
    store = open_store(f"lancedb:{shop}/shop#items")
    hits = store.search(upgrade.to_index_space(Embeddings.of(vectors, new.space)), 10)
    found = np.mean([str(n) in ids for ids, n in zip(hits.ids, asked, strict=True)])
    assert found > 0.6  # one in 60 by chance


def recall(summary):
    cells = summary.headline()["cells"]
    return {cell: figures["recall_at_10"] for cell, figures in next(iter(cells.values())).items()}


def test_neighbours_are_asked_of_rows_that_nothing_was_fitted_on(shop, tmp_path):
    settings = settings_of(shop, tmp_path, evaluate={"neighbours": 3, "own_items": "leave_out"})
    fitted = fit_upgrade(settings)
    assert not any(map(is_kept_apart, fitted.stored.vectors.ids))
    summary = evaluate_upgrade(settings)
    assert recall(summary)["new/old"] > recall(summary)["naive"] + 0.3
    assert not any("may have been fitted on" in line for line in summary.headline()["cautions"])
    fit_upgrade(settings_of(shop, tmp_path))  # nothing is kept apart there
    again = evaluate_upgrade(settings)
    assert any("may have been fitted on rows that ask here" in line for line in again.headline()["cautions"])


def test_judged_queries_find_ids_of_the_store(shop, tmp_path):
    lines = "".join(f"{NAMES[n]},{n}\n" for n in range(20, 60))
    (tmp_path / "judged.csv").write_text("query,document\n" + lines + "no such row,nowhere\n")
    settings = settings_of(shop, tmp_path, evaluate={"judged": "judged.csv"}, sample=500)
    fitted = fit_upgrade(settings)
    assert not {str(n) for n in range(20, 60)} & set(fitted.stored.vectors.ids)
    summary = evaluate_upgrade(settings)
    assert recall(summary)["old/old"] == pytest.approx(40 / 41, abs=1e-5)
    assert 0.5 < recall(summary)["new/old"] > recall(summary)["naive"] + 0.3
    cautions = summary.headline()["cautions"]
    assert any(f"of 600 rows of lancedb:{shop}/shop#items" in line for line in cautions)
    assert any("1 of" in line and "nowhere" in line for line in cautions), cautions


def test_labels_are_of_ids_and_need_no_old_model(shop, tmp_path, monkeypatch):
    lines = [f"{n},{NAMES[n].split()[0]}" for n in range(20, 120)]
    (tmp_path / "labels.csv").write_text("\n".join(["id,label", *lines]))
    settings = settings_of(shop, tmp_path, evaluate={"labels": "labels.csv"})
    fit_upgrade(settings)
    monkeypatch.setattr("embridge.jobs._stored_sides._old_encoder", None)
    summary = evaluate_upgrade(settings)
    assert recall(summary)["new/old"] > recall(summary)["naive"]


def test_what_cannot_be_judged_is_said_with_what_can(shop, tmp_path):
    fit_upgrade(settings_of(shop, tmp_path))
    (tmp_path / "judged.csv").write_text("query,document\na,20\n")
    (tmp_path / "qrels.trec").write_text("q1 0 20 1\n")
    judged = {"judged": "judged.csv"}
    with pytest.raises(SpaceMismatch, match=r"queries of another model do not search it"):
        evaluate_upgrade(settings_of(shop, tmp_path, evaluate=judged, encoder=NEW))
    (tmp_path / "bare").mkdir()
    with pytest.raises(SettingsError, match=r"the one that old\.encoder names cannot: .*Judge by neighbours"):
        evaluate_upgrade(settings_of(shop, tmp_path, evaluate=judged, encoder="clip:bare"))
    with pytest.raises(SettingsError, match=r"evaluate\.qrels: a store knows no texts of queries"):
        evaluate_upgrade(settings_of(shop, tmp_path, evaluate={"qrels": "qrels.trec"}))
    (tmp_path / "judged.csv").write_text("query,document\na,none\n")
    with pytest.raises(InvalidInput, match=r"has none of the 1 judged ids, such as 'none'"):
        evaluate_upgrade(settings_of(shop, tmp_path, evaluate=judged))


def test_what_cannot_be_fitted_is_said_before_any_work(shop, tmp_path):
    with pytest.raises(SettingsError, match=r"space older is none of the spaces held"):
        fit_upgrade(settings_of(shop, tmp_path, space="older"))
    with pytest.raises(InvalidInput, match=r"5 of 600 rows of .*fitting needs at least 10 rows"):
        fit_upgrade(settings_of(shop, tmp_path, sample=5))
    lancedb.connect(tmp_path / "bare").create_table("items", [{"id": "a", "vector": [1.0, 0.0]}])
    (tmp_path / "settings.yaml").write_text(f"old: {{store: 'lancedb:bare#items'}}\nnew: {NEW}\n")
    with pytest.raises((SettingsError, StoreError), match=r"adopt"):
        fit_upgrade(load_settings(tmp_path / "settings.yaml"))
    store = open_store(f"lancedb:{tmp_path}/bare#items")
    store.adopt(Declaration(Space("toy", "1", 2), Place("items", "vector", "id")))
    with pytest.raises(SettingsError, match=r"nothing says where the text or the image of a row comes from"):
        fit_upgrade(load_settings(tmp_path / "settings.yaml"))


def test_images_of_a_folder_are_encoded_and_missing_ones_counted(tmp_path):
    drawn = glyphs.render(glyphs.split()["train"][:180], one_each=True)
    (tmp_path / "photos").mkdir()
    for name, image in zip(drawn.ids, drawn.images, strict=True):
        Image.fromarray(image).save(tmp_path / "photos" / f"{name.replace('/', '_')}.png")
    ids = [name.replace("/", "_") for name in drawn.ids]
    (tmp_path / "photos" / f"{ids[4]}.png").write_bytes(b"no image")
    (tmp_path / "photos" / f"{ids[9]}.png").unlink()
    old = load(OLD)
    store = open_store(tmp_path / "shop", create=True)
    store.add_space(old.space)
    store.upsert(Embeddings.of(old.encode(drawn.images, modality="image"), old.space, ids))
    (tmp_path / "settings.yaml").write_text(
        f"old: {{store: 'lancedb:shop', items: {{folder: photos}}}}\nnew: {NEW}\nfit: {{method: procrustes}}\n"
        f"evaluate: {{neighbours: 3, metrics: [recall_at_10]}}\n"
    )
    settings = load_settings(tmp_path / "settings.yaml")
    fitted = fit_upgrade(settings)
    apart = sum(map(is_kept_apart, ids))
    lost = sum(not is_kept_apart(ids[n]) for n in (4, 9))
    assert (len(fitted.stored.vectors), sum(fitted.stored.missing.values())) == (180 - apart - lost, lost)
    assert recall(evaluate_upgrade(settings))["new/old"] > 0


def test_vectors_that_cannot_be_used_are_left_out_but_a_broken_store_is_told(shop, tmp_path, monkeypatch):
    fetch = LanceStore.fetch

    def without(bad):
        def fetched(self, space, ids):
            if bad & set(ids):
                raise StoreError(f"row {min(bad & set(ids))} holds NaN")
            return fetch(self, space, ids)

        return fetched

    monkeypatch.setattr(LanceStore, "fetch", without({"7", "8", "300"}))
    rows = fit_upgrade(settings_of(shop, tmp_path)).stored
    assert rows.missing["vectors that cannot be used"] == 3
    assert len(rows.vectors) == 600 - 3 - len(UNUSABLE)
    monkeypatch.setattr(LanceStore, "fetch", without(set(map(str, range(600)))))
    with pytest.raises(StoreError, match=r"holds NaN"):
        fit_upgrade(settings_of(shop, tmp_path))


def test_a_draw_depends_on_the_ids_and_the_seed_alone(monkeypatch):
    monkeypatch.setattr(_stored_rows, "_PAGE_ROWS", 7)
    space = Space("toy", "1", 2)
    names = [f"it {n}" for n in range(100)]
    stores = []
    for order in (names, names[::-1]):
        store = MemoryStore(space)
        store.upsert(Embeddings.of(np.ones((100, 2), np.float32), space, order))
        stores.append(store)
    first, second = (drawn_ids(store, space, 30, seed=0, usable=lambda name: name != "it 5") for store in stores)
    assert first == second
    assert len(set(first)) == 30
    assert "it 5" not in drawn_ids(stores[0], space, 100, seed=0, usable=lambda name: name != "it 5")
    assert first != drawn_ids(stores[0], space, 30, seed=1, usable=lambda _: True)
