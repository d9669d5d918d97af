import hashlib
import json
import os
import pickle

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from embridge.adapters import MLP, Composed, Identity, Layer, Linear, Prefix, Provenance, Upgrade
from embridge.adapters.upgrade import fingerprint, seal
from embridge.embeddings import Embeddings
from embridge.errors import ArtefactError, InvalidInput, SpaceMismatch, WrongDirection
from embridge.space import Space

NEW, OLD, THIRD = Space("new", "1", 4), Space("old", "1", 3, recipe="ü"), Space("third", "1", 4)
RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(4, 3)).astype(np.float32)
LAYER = Layer(WEIGHT, np.ones(3, np.float32))
PROVENANCE = Provenance("hand", {"width": 3}, 5, "10 pairs", {"numpy": "2"}, {"recall": 0.5, "losses": [1.0, 0.5]})


def upgrade(weight=WEIGHT):
    return Upgrade(Identity(NEW, NEW), Linear(NEW, OLD, weight), PROVENANCE)


def queries(space=NEW, n=5):
    vectors = np.random.default_rng(1).normal(size=(n, space.dim)).astype(np.float32)
    return Embeddings(tuple(f"q{i}" for i in range(n)), vectors, space)


def rewrite(folder, change):
    """Edit the manifest."""
    file = folder / "upgrade.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    manifest.pop("sha256")
    file.write_text(json.dumps(manifest | {"sha256": seal(manifest)}))  # altered by somebody who knows how


def replace_weights(folder, **changes):
    """Other weights, with a digest that fits them."""
    file = folder / "weights.safetensors"
    save_file(load_file(file) | changes, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    rewrite(folder, lambda m: m.update(weights_sha256=digest))


@pytest.mark.parametrize(
    "bridge",
    [
        Linear(NEW, OLD, WEIGHT, np.ones(3, np.float32), normalize_input=True),
        MLP(NEW, OLD, [LAYER], skip=LAYER),
        Prefix(NEW, OLD),
        Composed([Linear(NEW, THIRD, np.eye(4, dtype=np.float32)), Prefix(THIRD, OLD)]),
    ],
    ids=lambda b: b.kind,
)
def test_what_is_saved_is_loaded(tmp_path, bridge):
    made = Upgrade(Identity(NEW, NEW), bridge, PROVENANCE)
    assert made.save(tmp_path / "up", report={"n": 3}) == tmp_path / "up"
    loaded = Upgrade.load(tmp_path / "up")
    assert loaded.provenance == PROVENANCE
    assert (loaded.new_space, loaded.old_space, loaded.direction) == (NEW, OLD, "backward")
    x = queries()
    assert loaded.to_index_space(x).vectors.tobytes() == made.to_index_space(x).vectors.tobytes()
    assert json.loads((tmp_path / "up" / "report.json").read_text()) == {"n": 3}
    assert "| recall | 0.5 |" in (tmp_path / "up" / "README.md").read_text()


def test_the_same_upgrade_gives_the_same_files(tmp_path):
    for name in ("a", "b"):
        upgrade().save(tmp_path / name)
    for file in ("upgrade.json", "weights.safetensors", "README.md"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_head_runs_before_the_bridge():
    head = Linear(NEW, THIRD, 2 * np.eye(4, dtype=np.float32))
    both = Upgrade(head, Linear(THIRD, OLD, WEIGHT), PROVENANCE)
    mapped = both.to_index_space(queries())
    np.testing.assert_allclose(mapped.vectors, queries().vectors @ (2 * WEIGHT), rtol=1e-5)
    assert (mapped.ids, mapped.space) == (queries().ids, OLD)


def test_a_query_that_is_mapped_out_of_float32_is_refused():
    far = Upgrade(Identity(NEW, NEW), Linear(NEW, OLD, np.float32(1e30) * WEIGHT), PROVENANCE)
    query = Embeddings.of(np.full((1, NEW.dim), 1e10, np.float32), NEW)
    with (
        np.errstate(all="ignore"),
        pytest.raises(InvalidInput, match=r"vectors of old: 1 of rows 0\.\.0 hold NaN or infinity"),
    ):
        far.to_index_space(query)


def test_vectors_of_the_old_or_of_a_third_space_are_refused():
    with pytest.raises(WrongDirection, match="these vectors are of the old model already"):
        upgrade().to_index_space(queries(OLD))
    with pytest.raises(SpaceMismatch, match="queries for this upgrade: expected vectors of new@1"):
        upgrade().to_index_space(queries(THIRD))


def test_a_forward_upgrade_maps_the_gallery_and_no_query(tmp_path):
    forward = Upgrade(Identity(NEW, NEW), Linear(OLD, NEW, np.ascontiguousarray(WEIGHT.T)), PROVENANCE, "forward")
    forward.save(tmp_path / "up")
    loaded = Upgrade.load(tmp_path / "up")
    assert (loaded.new_space, loaded.old_space, loaded.direction) == (NEW, OLD, "forward")
    assert loaded.bridge(queries(OLD)).space == NEW
    for each in (queries(NEW), queries(OLD)):
        with pytest.raises(WrongDirection, match="this is a forward upgrade: it maps the stored gallery"):
            loaded.to_index_space(each)


def test_a_bridge_that_does_not_join_the_head_is_refused():
    with pytest.raises(SpaceMismatch, match="the new side of a backward bridge"):
        Upgrade(Identity(THIRD, THIRD), Linear(NEW, OLD, WEIGHT), PROVENANCE)
    with pytest.raises(SpaceMismatch, match="the new side of a forward bridge"):
        Upgrade(Identity(NEW, NEW), Linear(NEW, OLD, WEIGHT), PROVENANCE, "forward")


@pytest.mark.usefixtures("as_in_production")
def test_unknown_directions_are_refused():
    with pytest.raises(ArtefactError, match=r"direction is one of \('backward', 'forward'\), not 'sideways'"):
        Upgrade(Identity(NEW, NEW), Linear(NEW, OLD, WEIGHT), PROVENANCE, "sideways")


def truncated_manifest(folder):
    text = (folder / "upgrade.json").read_text()
    (folder / "upgrade.json").write_text(text[: len(text) // 2])


def empty_manifest(folder):
    (folder / "upgrade.json").write_text("")


def manifest_of_bytes(folder):
    (folder / "upgrade.json").write_bytes(b"\xff\xfe\x00")


def manifest_of_a_list(folder):
    (folder / "upgrade.json").write_text("[]")


def endless_nesting(folder):
    (folder / "upgrade.json").write_text("[" * 100_000)


def endless_composition(folder):
    def change(manifest):
        for _ in range(300):
            described = manifest["bridge"]
            manifest["bridge"] = described | {"kind": "composed", "config": {"steps": [described]}}

    rewrite(folder, change)


def truncated_weights(folder):
    content = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(content[:-4])


def flipped_byte(folder):
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(content)


def pickled_weights(folder):
    (folder / "weights.safetensors").write_bytes(pickle.dumps({"bridge.weight": WEIGHT}))


def pickled_weights_with_their_digest(folder):
    pickled_weights(folder)
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    rewrite(folder, lambda m: m.update(weights_sha256=digest))


def huge_header_with_its_digest(folder):
    (folder / "weights.safetensors").write_bytes(b"\xff" * 8 + b"{}")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    rewrite(folder, lambda m: m.update(weights_sha256=digest))


def set_in(*path, to):
    def damage(folder):
        def change(manifest):
            inner = manifest
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = to

        rewrite(folder, change)

    damage.__name__ = f"{'.'.join(path)}={to!r:.20}"
    return damage


def weights_of(name, array):
    def damage(folder):
        replace_weights(folder, **{"bridge.weight": array})

    damage.__name__ = name
    return damage


DAMAGES = [
    (truncated_manifest, "is truncated or altered"),
    (empty_manifest, "is truncated or altered"),
    (manifest_of_bytes, "is truncated or altered"),
    (manifest_of_a_list, "is truncated or altered"),
    (endless_nesting, "is truncated or altered"),
    (endless_composition, "lacks or misnames maximum recursion depth"),
    (truncated_weights, "is not the file upgrade.json was written with"),
    (flipped_byte, "is not the file upgrade.json was written with"),
    (pickled_weights, "is not the file upgrade.json was written with"),
    (pickled_weights_with_their_digest, "is not a safetensors file: .* pickles are never read"),
    (huge_header_with_its_digest, "is not a safetensors file"),
    (lambda folder: (folder / "weights.safetensors").unlink(), "lacks weights.safetensors; copy the whole folder"),
    (lambda folder: (folder / "upgrade.json").unlink(), "is not an upgrade: expected upgrade.json"),
    (set_in("schema", to="embridge.upgrade/99"), "expected schema embridge.upgrade/1, came 'embridge.upgrade/99'"),
    (set_in("schema", to=None), "expected schema embridge.upgrade/1, came None"),
    (set_in("weights_sha256", to=7), "is not the file upgrade.json was written with"),
    (set_in("direction", to="sideways"), "direction is one of"),
    (set_in("direction", to="forward"), "the new side of a forward bridge"),
    (set_in("bridge", "kind", to="os.system"), r"lacks or misnames 'os.system'; known kinds"),
    (set_in("bridge", "kind", to=["linear"]), "lacks or misnames"),
    (set_in("bridge", "source", "dim", to=10**12), r"expected float32 \[1000000000000, 3\]"),
    (set_in("bridge", "source", "dim", to=-4), "a space needs a whole dim of at least 1"),
    (set_in("bridge", "source", "model", to="third"), "they differ in model"),
    (set_in("bridge", "source", to="new"), "a space is written as"),
    (set_in("bridge", "target", "metric", to="euclid"), "metric is one of"),
    (set_in("bridge", "config", to=None), "lacks or misnames"),
    (set_in("bridge", "config", to={"bias": True, "normalize_input": False}), "lack 'bias'"),
    (set_in("bridge", to=None), "lacks or misnames"),
    (set_in("provenance", to={}), "lacks or misnames"),
    (set_in("provenance", to={"method": "hand", "pickle": "x"}), "lacks or misnames"),
    (set_in("provenance", to=None), "lacks or misnames"),
    (weights_of("nan", np.full((4, 3), np.nan, np.float32)), "'weight' holds NaN or infinity"),
    (weights_of("infinity", np.full((4, 3), np.inf, np.float32)), "'weight' holds NaN or infinity"),
    (weights_of("other shape", np.ones((3, 4), np.float32)), r"expected float32 \[4, 3\], came float32 \[3, 4\]"),
    (weights_of("other rank", np.ones(12, np.float32)), r"expected float32 \[4, 3\], came float32 \[12\]"),
    (weights_of("float64", np.ones((4, 3))), "came float64"),
    (weights_of("int8", np.ones((4, 3), np.int8)), "came int8"),
]


@pytest.mark.slow
@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=lambda v: getattr(v, "__name__", ""))
def test_damaged_artefacts_are_refused(tmp_path, damage, message):
    folder = upgrade().save(tmp_path / "up")
    damage(folder)
    with pytest.raises(ArtefactError, match=message):
        Upgrade.load(folder)


def test_every_single_flipped_bit_of_the_weights_is_seen(tmp_path):
    folder = upgrade().save(tmp_path / "up")
    content = (folder / "weights.safetensors").read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        (folder / "weights.safetensors").write_bytes(changed)
        with pytest.raises(ArtefactError, match="is not the file"):
            Upgrade.load(folder)


@pytest.mark.usefixtures("as_in_production")
def test_every_truncation_of_the_manifest_is_refused(tmp_path):
    folder = upgrade().save(tmp_path / "up")
    text = (folder / "upgrade.json").read_text().rstrip()
    for length in range(0, len(text), 7):
        (folder / "upgrade.json").write_text(text[:length])
        with pytest.raises(ArtefactError, match="is truncated or altered"):
            Upgrade.load(folder)


def test_any_altered_value_is_noticed(tmp_path):
    folder = upgrade().save(tmp_path / "up")
    text = (folder / "upgrade.json").read_text()
    for before, after in (('"backward"', '"forward"'), ('"bias": false', '"bias": true'), ('"cosine"', '"dot"')):
        if before in text:
            (folder / "upgrade.json").write_text(text.replace(before, after, 1))
            with pytest.raises(ArtefactError, match="does not match its own sha256: it was altered"):
                Upgrade.load(folder)
    assert '"backward"' in text


@pytest.mark.parametrize("name", ["nowhere", "empty", "file"])
def test_other_places_are_not_upgrades(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ArtefactError, match=f"{name} is not an upgrade"):
        Upgrade.load(tmp_path / name)


def test_saving_over_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InvalidInput, match=r"holds other things \(no upgrade.json in it\)"):
        upgrade().save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_upgrade_is_replaced_whole_without_leftovers(tmp_path):
    upgrade().save(tmp_path / "up", report={"n": 3})
    upgrade(2 * WEIGHT).save(tmp_path / "up")
    np.testing.assert_array_equal(Upgrade.load(tmp_path / "up").bridge.weight, 2 * WEIGHT)
    assert not (tmp_path / "up" / "report.json").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["up"]


def test_a_save_that_fails_leaves_the_earlier_upgrade(tmp_path, monkeypatch):
    upgrade().save(tmp_path / "up")
    with pytest.raises(TypeError, match="not JSON serializable"):
        upgrade(2 * WEIGHT).save(tmp_path / "up", report={"n": object()})

    def full(*paths):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        upgrade(2 * WEIGHT).save(tmp_path / "up")
    np.testing.assert_array_equal(Upgrade.load(tmp_path / "up").bridge.weight, WEIGHT)
    assert [p.name for p in tmp_path.iterdir()] == ["up"]


def test_a_folder_that_moves_keeps_working(tmp_path):
    upgrade().save(tmp_path / "a" / "up").rename(tmp_path / "moved")
    assert Upgrade.load(str(tmp_path / "moved")).old_space == OLD


def test_the_card_shows_single_figures_only(tmp_path):
    figures = {"score": 0.123456789, "steps": 300, "every score": [0.1, 0.2]}
    made = Upgrade(Identity(NEW, NEW), Linear(NEW, OLD, WEIGHT), Provenance("made", figures=figures))
    card = (made.save(tmp_path / "up") / "README.md").read_text()
    assert "| score | 0.1235 |" in card
    assert "| steps | 300 |" in card
    assert "every score" not in card


def test_all_files_of_an_upgrade_can_be_read_by_others(tmp_path):
    folder = upgrade().save(tmp_path / "up")
    assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o644}


def test_an_uncertainty_is_saved_and_loaded(tmp_path):
    old, new, spread = Space("old", "1", 3), Space("new", "1", 3), Space("log squared error", "1", 1, "dot")
    upgrade = Upgrade(
        Identity(new, new),
        Linear(old, new, np.eye(3, dtype=np.float32)),
        Provenance("known"),
        direction="forward",
        uncertainty=Linear(old, spread, np.array([[1.0], [2.0], [3.0]], np.float32)),
    )
    loaded = Upgrade.load(upgrade.save(tmp_path / "upgrade"))
    rows = Embeddings.of(np.eye(3, dtype=np.float32), old)
    assert loaded.uncertainty(rows).vectors[:, 0].tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(SpaceMismatch, match="what the uncertainty is of"):
        Upgrade(upgrade.head, upgrade.bridge, Provenance("x"), "forward", uncertainty=Identity(new, new))


def test_what_others_put_beside_an_upgrade_stays(tmp_path):
    folder = upgrade().save(tmp_path / "up", report={"n": 1})
    for name in ("bridge.onnx", "notes/today.md", "lora/readme.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    upgrade(2 * WEIGHT).save(folder, report={"n": 2})
    assert json.loads((folder / "report.json").read_text()) == {"n": 2}
    (folder / "README.md").write_text("my own words")
    (folder / "report.json").write_text("my own figures")
    upgrade(3 * WEIGHT).save(folder, report={"n": 3}, card="more")
    assert Upgrade.load(folder).bridge.weight[0, 0] == 3 * WEIGHT[0, 0]
    for name in ("bridge.onnx", "notes/today.md", "lora/readme.txt"):
        assert (folder / name).read_text() == "mine"
    assert (folder / "README.md").read_text() == "my own words"
    assert (folder / "report.json").read_text() == "my own figures"


def test_of_an_upgrade_of_an_earlier_version_card_and_report_are_known_by_what_they_hold(tmp_path):
    folder = upgrade().save(tmp_path / "up", report={"schema": "embridge.report/2"})
    rewrite(folder, lambda manifest: manifest.pop("written"))
    upgrade().save(folder, report={"n": 2}, card="again")
    assert json.loads((folder / "report.json").read_text()) == {"n": 2}
    assert "again" in (folder / "README.md").read_text()
    rewrite(folder, lambda manifest: manifest.pop("written"))
    (folder / "README.md").write_text("my own words")
    (folder / "report.json").write_text(json.dumps({"values": {"file": "report.parquet"}}))  # as evaluate writes it
    upgrade().save(folder, report={"n": 3}, card="third")
    assert (folder / "README.md").read_text() == "my own words"
    assert "values" in json.loads((folder / "report.json").read_text())


def test_an_upgrade_is_told_from_another_and_not_by_its_card(tmp_path):
    first = fingerprint(upgrade().save(tmp_path / "up"))
    assert fingerprint(upgrade().save(tmp_path / "up", card="figures", report={"n": 1})) == first
    assert fingerprint(upgrade(2 * WEIGHT).save(tmp_path / "up")) != first


def test_a_card_shows_names_as_text_whatever_they_hold(tmp_path):
    """Markdown and HTML in a model's name, or in a method's or a figure's, stay text."""
    hostile = "<img src=x onerror=a()> | [x](http://h) `b`\n# c\x1b"
    new, old = Space(hostile, "1", 3), Space("old", "1", 3)
    provenance = Provenance(hostile, figures={hostile: hostile})
    card = (Upgrade(Identity(new, new), Identity(new, old), provenance).save(tmp_path / "up") / "README.md").read_text()
    escaped = r"\<img src=x onerror=a()> \| \[x\](http://h) \`b\` # c\\x1b"
    assert card.splitlines()[0] == f"# {escaped} on an index of old"
    assert card.count(escaped) == 4
    assert "\x1b" not in card
    assert [line for line in card.splitlines() if line.startswith("#")] == [card.splitlines()[0]]
