"""A report's cells hold what a server finds that calls `embridge.query` on a store: the same ids, the same scores."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from two_models import NEW, OLD, make_world

from embridge.adapters import Identity, Linear, Provenance, Upgrade
from embridge.datasets import glyph_models, glyphs
from embridge.embeddings import Embeddings
from embridge.encoders import load
from embridge.evaluation import LabelRelevance, Mixed, Relevance, Scope, Side, evaluate, fit_calibration
from embridge.methods import Pairs, make
from embridge.query import Cascade, Fusion, MixedSearch, over
from embridge.space import Space
from embridge.stores import MemoryStore, open_store

MERGES = ("calibrated", "distance-rank", "standard", "rrf", "raw")
KINDS = ("random", "ties", pytest.param("glyphs", marks=pytest.mark.slow))
DEPTHS = (1, 5, 20)
ITEMS = 30  # of a cascade


@dataclass(frozen=True)
class Bridged:
    old: Side
    new: Side
    upgrade: Upgrade
    relevance: object

    @property
    def backfilled(self):
        return Side(self.upgrade.head(self.new.queries), self.upgrade.head(self.new.gallery))

    @property
    def bridged(self):
        return Side(self.upgrade.to_index_space(self.new.queries), self.old.gallery)

    def encode(self, ids):
        row_of = {name: row for row, name in enumerate(self.new.gallery.ids)}
        return self.new.gallery.take([row_of[name] for name in ids])


def random_pair():
    """With a head that shortens and turns, so that what is written is not what the encoder gives."""
    world, written = make_world(), Space("written", "1", 14)
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(16, 16)))[0][:, :14].astype(np.float32)
    bridge = Linear(written, OLD, turn.T @ world.upgrade.bridge.weights()["weight"])
    upgrade = Upgrade(Linear(NEW, written, turn), bridge, Provenance("turned"))
    old, new = Side(world.old_queries, world.old_items), Side(world.queries, world.items)
    return Bridged(old, new, upgrade, world.relevance)


def tied_pair():
    """Vectors of few whole numbers, and each three times: most scores are shared, within and between both spaces."""
    generator = np.random.default_rng(7)
    spaces = Space("old", "1", 3, "dot"), Space("new", "1", 3, "dot")
    vectors = [np.repeat(generator.integers(0, 3, size=(n, 3)), 3, axis=0).astype(np.float32) for n in (8, 40)]
    # a store orders equal scores by id, a report by row
    ids = [[f"{what}{i:03}" for i in range(len(rows))] for what, rows in zip("qi", vectors, strict=True)]
    blur = np.diag([1, 2, 0]).astype(np.float32)  # the bridge's order is not that of rows where new scores are equal
    old, new = (
        Side(*(Embeddings.of(x @ turn, s, names) for x, names in zip(vectors, ids, strict=True)))
        for s, turn in zip(spaces, (blur, np.eye(3, dtype=np.float32)), strict=True)
    )
    labels = {name: str(i % 5) for names in ids for i, name in enumerate(names)}
    upgrade = Upgrade(Identity(spaces[1], spaces[1]), Linear(spaces[1], spaces[0], blur), Provenance("none"))
    return Bridged(old, new, upgrade, LabelRelevance(labels, labels))


def glyph_pair():
    """The two models that come with the library, on characters neither saw, and a map fitted on names."""
    drawn = glyphs.render(glyphs.split()["test"][:150], one_each=True)
    train = [glyphs.caption(c) for c in glyphs.split()["train"][:600]]
    sides, texts = [], []
    for name in ("old", "new"):
        encoder = load(f"clip:{glyph_models.folder(name)}")
        vectors = encoder.encode(drawn.captions, modality="text"), encoder.encode(drawn.images, modality="image")
        ids = drawn.captions, drawn.ids
        sides.append(Side(*(Embeddings.of(x, encoder.space, names) for x, names in zip(vectors, ids, strict=True))))
        texts.append(Embeddings.of(encoder.encode(train, modality="text"), encoder.space, train))
    upgrade = make("procrustes").fit(Pairs(new=texts[1], old=texts[0]))
    return Bridged(*sides, upgrade, Relevance.from_pairs(zip(drawn.captions, drawn.ids, strict=True)))


@pytest.fixture(scope="module")
def pairs():
    made = {"random": random_pair, "ties": tied_pair, "glyphs": glyph_pair}
    found = {}

    def pair(kind):
        if kind not in found:
            found[kind] = made[kind]()
        return found[kind]

    return pair


def some_queries(pair, count):
    rows = np.arange(min(count, len(pair.old.queries)))
    return replace(pair, old=pair.old.asking(rows), new=pair.new.asking(rows))


def filled(store, pair, done):
    """A store in the middle of a backfill: every old row, and a new one of the items that are done."""
    for rows in (pair.old.gallery, pair.backfilled.gallery.take(np.flatnonzero(done))):
        store.add_space(rows.space)
        store.upsert(rows)
    return store


def mixed_search(pair, store, merge, done):
    written = {pair.new.gallery.ids[row] for row in np.flatnonzero(done)}
    return MixedSearch(store.search, store.search, pair.upgrade, merge, backfilled=written.intersection)


def merge_of(pair, name):
    if name in ("rrf", "raw"):
        return name
    return fit_calibration(name, pair.backfilled, pair.bridged, pair.relevance if name == "calibrated" else None)


def served(pair, store, k):
    """What a server answers in every cell that it could serve."""
    bridged = pair.bridged.queries
    cascade = Cascade(pair.upgrade, store.search, pair.encode, items=ITEMS)
    cells = {
        "old/old": store.search(pair.old.queries, k),
        "new/old": store.search(bridged, k),
        "cascade": cascade.search(pair.new.queries, k),
        "new/new": over(pair.backfilled.gallery)(pair.backfilled.queries, k),
    }
    if bridged.space.metric == "cosine":
        fusion = Fusion(bridged.space, "nlerp", alpha=0.5)
        cells["fused/old"] = store.search(fusion.apply(pair.old.queries, bridged), k)
    return cells


def same(hits, rows, scores, ids, *, exact=True, ties=False):
    """The same hits: to the id and to the bit, or by a store that rounds other than this library does."""
    found = np.array(hits.ids)
    expected = np.array(ids)[rows]
    if exact:
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(hits.scores, scores)
        return
    np.testing.assert_allclose(hits.scores, scores, atol=2e-5)
    if not ties:
        assert (found == expected).mean() > 0.98  # the others are as near as rounding


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", DEPTHS)
def test_cells_are_what_a_server_finds(pairs, kind, k):
    pair = pairs(kind)
    fused = ("fused/old",) if pair.old.gallery.space.metric == "cosine" else ()
    order = np.random.default_rng(0).permutation(pair.old.gallery.ids).tolist()
    scope = Scope(
        metrics=(f"recall_at_{k}",), directions=("",), cells=(*fused, "cascade"), cascade_items=ITEMS, unjudged="zero"
    )
    report = evaluate(pair.old, pair.new, pair.upgrade, pair.relevance, scope=replace(scope, orders={"some": order}))
    store = filled(MemoryStore(), pair, np.zeros(len(pair.old.gallery), bool))
    for name, hits in served(pair, store, k).items():
        cell = report.cell("", name)
        same(hits, cell.rows, cell.scores, pair.old.gallery.ids)
    merge = merge_of(pair, "standard")
    for fraction, name in report.curves("")["some"][::7]:
        done = np.isin(pair.old.gallery.ids, order[: round(fraction * len(order))])
        hits = mixed_search(pair, filled(MemoryStore(), pair, done), merge, done).search(pair.new.queries, k)
        cell = report.cell("", name)
        same(hits, cell.rows, cell.scores, pair.old.gallery.ids)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MERGES)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_part_of_a_backfill_is_what_a_server_finds(pairs, kind, name, share):
    pair, count = pairs(kind), len(pairs(kind).old.gallery)
    done = np.isin(np.arange(count), np.random.default_rng(1).permutation(count)[: round(share * count)])
    merge = merge_of(pair, name)
    mixed = Mixed(pair.backfilled, pair.bridged, merge=merge)
    search = mixed_search(pair, filled(MemoryStore(), pair, done), merge, done)
    for k in DEPTHS:
        ranking = mixed.ranking(done, k)
        same(search.search(pair.new.queries, k), ranking.rows, ranking.scores, pair.old.gallery.ids)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_lancedb_serves_what_is_measured(pairs, kind, share, tmp_path):
    """It scores in float32, in an order of its own where scores are equal."""
    pair, count, k, ties = some_queries(pairs(kind), 15), len(pairs(kind).old.gallery), 10, kind == "ties"
    done = np.isin(np.arange(count), np.random.default_rng(1).permutation(count)[: round(share * count)])
    store = filled(open_store(tmp_path / "store", create=True), pair, done)
    names = pair.old.gallery.ids
    for merge in (merge_of(pair, "standard"), "raw"):
        ranking = Mixed(pair.backfilled, pair.bridged, merge=merge).ranking(done, k)
        hits = mixed_search(pair, store, merge, done).search(pair.new.queries, k)
        same(hits, ranking.rows, ranking.scores, names, exact=False, ties=ties)
    scope = Scope(
        metrics=(f"recall_at_{k}",), directions=("",), cells=("cascade",), cascade_items=ITEMS, unjudged="zero"
    )
    report = evaluate(pair.old, pair.new, pair.upgrade, pair.relevance, scope=scope)
    answers = served(pair, store, k)
    for name in ("old/old", "new/old", *(() if ties else ("cascade",))):
        cell = report.cell("", name)
        same(answers[name], cell.rows, cell.scores, names, exact=False, ties=ties)


@pytest.mark.slow
def test_where_items_are_asked_a_server_leaves_out_the_item_itself():
    """One set: the report leaves each query out, a server's caller asks for one more and drops it."""
    world = make_world()
    old, new = Side(world.old_items, world.old_items), Side(world.items, world.items)
    pair, k = Bridged(old, new, world.upgrade, LabelRelevance(*[world.relevance.gallery] * 2)), 5
    scope = Scope(
        metrics=(f"recall_at_{k}",),
        directions=("",),
        cells=("fused/old", "cascade"),
        cascade_items=ITEMS - 1,
        orders={"as it comes": old.gallery.ids},
    )
    report = evaluate(old, new, world.upgrade, pair.relevance, scope=scope)
    answers = served(pair, filled(MemoryStore(), pair, np.zeros(len(old.gallery), bool)), k + 1)
    fraction, name = report.curves("")["as it comes"][6]
    done = np.arange(len(old.gallery)) < round(fraction * len(old.gallery))
    store = filled(MemoryStore(), pair, done)
    answers[name] = mixed_search(pair, store, merge_of(pair, "standard"), done).search(new.queries, k + 1)
    for cell, hits in answers.items():
        others = [[i for i in ids if i != own][:k] for own, ids in zip(old.queries.ids, hits.ids, strict=True)]
        np.testing.assert_array_equal(others, np.array(old.gallery.ids)[report.cell("", cell).rows])
