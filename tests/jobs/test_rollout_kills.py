"""A rollout of a store in files is killed on its way, again and again; it ends as one that was not.

``EMBRIDGE_KILLS=300`` (``make test-kills``) for more places than by default.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from kills import changes_of, ended, killed

from embridge.adapters.upgrade import Upgrade
from embridge.datasets import glyph_models, glyphs
from embridge.embeddings import Embeddings
from embridge.encoders import load
from embridge.jobs.rollout import apply_plan, change_phase, open_rollout, plan_rollout
from embridge.methods import Pairs, make
from embridge.provenance import Provenance
from embridge.rollout.journal import entries
from embridge.rollout.plan import write_plan
from embridge.stores import open_store
from embridge.vector_files import read_vectors, write_vectors

KILLS = int(os.environ.get("EMBRIDGE_KILLS", "40")) // 8
ROWS = 24

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed rollout")
    drawn = glyphs.render(glyphs.split()["test"][: 6 * ROWS], one_each=True)
    ids = [f"glyph {number}" for number in range(len(drawn.ids))]
    names = {side: f"clip:{glyph_models.folder(side)}" for side in ("old", "new")}
    models = [load(names[side]) for side in ("new", "old")]
    sides = [Embeddings.of(model.encode(drawn.images, modality="image"), model.space, ids) for model in models]
    fitted = make("procrustes").fit(Pairs(*sides))
    Upgrade(fitted.head, fitted.bridge, Provenance("procrustes", encoders=names)).save(folder / "upgrade")
    (folder / "images").mkdir()
    from PIL import Image

    for name, image in list(zip(ids, drawn.images, strict=True))[:ROWS]:
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
    store = open_store(f"faiss:{folder}/shop.faiss", create=True)
    store.add_space(models[1].space)
    store.upsert(sides[1].take(range(ROWS)))
    store.close()
    (folder / "rollout.yaml").write_text(
        "store: faiss:shop.faiss\nupgrade: upgrade\nitems: {folder: images}\nbatch_rows: 7\nsample: 2\n"
    )
    write_vectors(sides[0].take(range(ROWS)), folder / "new.npy")
    return folder


def there(made, folder):
    """The project in a place of its own, where it always is the same one: a plan names it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made, folder)
    write_plan(plan_rollout(folder / "rollout.yaml"), folder / "plan.json")


def expect_whole(folder):
    """Whatever was killed: the state opens, old rows are untouched, no row is there twice, and new rows are right."""
    opened = open_rollout(folder / "rollout.yaml")
    state, moves = opened.state, list(entries(opened.store.documents))
    assert (state is None) == (not moves)
    assert state is None or state == moves[-1].state
    assert opened.store.count(opened.old) == ROWS
    if opened.new in opened.store.spaces():
        expected = read_vectors(folder / "new.npy")
        row_of = {name: row for row, name in enumerate(expected.ids)}
        for part in opened.store.scan(opened.new):
            rows = [row_of[name] for name in part.ids]
            np.testing.assert_allclose(part.vectors, expected.vectors[rows], atol=1e-5)
    opened.close()
    return state


def old_files(folder):
    """What is in the files of the old space."""
    old = _spaces(folder)[1]
    return {path.name: path.read_bytes() for path in folder.glob("shop.faiss*") if old.id in path.name}


def test_a_killed_rollout_goes_on_to_the_same_end(made, tmp_path):
    folder = tmp_path / "project"

    def work():
        apply_plan(folder / "plan.json")

    there(made, folder)
    before = old_files(folder)
    assert before
    total = changes_of(work, folder)
    assert expect_whole(folder).phase == "complete"
    draw = np.random.default_rng(5)
    for change in draw.choice(total, min(KILLS, total), replace=False).tolist():
        there(made, folder)
        assert killed(work, folder, change), change
        expect_whole(folder)
        if draw.random() < 0.5:
            killed(work, folder, int(draw.integers(total)))
            expect_whole(folder)
        if draw.random() < 0.3 and open_rollout(folder / "rollout.yaml").state is not None:
            assert change_phase(folder / "rollout.yaml", "rollback").phase == "rolled back"
        ended(work, folder)
        assert expect_whole(folder).phase == "complete", change
        assert old_files(folder) == before
        assert len(open_rollout(folder / "rollout.yaml").store.missing(*_spaces(folder), limit=ROWS)) == 0


def _spaces(folder: Path):
    opened = open_rollout(folder / "rollout.yaml")
    return opened.new, opened.old
