"""What is fitted or chosen by is not what is reported, however it is written down."""

import numpy as np
import pytest
import yaml

from embridge import Embeddings, Space
from embridge.datasets.captions import read_all_captions
from embridge.datasets.image_text import read_image_text
from embridge.errors import InvalidInput, SettingsError
from embridge.jobs._fit_inputs import FitInputs
from embridge.jobs._judgements import read_judgements
from embridge.jobs._leaks import require_apart, require_other_queries
from embridge.jobs.fit import fit_upgrade
from embridge.settings import EvaluateSettings, load_settings
from embridge.vector_files import write_vectors

WHY = "it flatters itself"


@pytest.fixture
def folder(tmp_path):
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(f"picture {i}".encode())
    (tmp_path / "copy.png").write_bytes(b"picture 0")
    (tmp_path / "link.png").symlink_to(tmp_path / "1.png")
    return tmp_path


def table(path, header, rows):
    path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    return path


def judged(path, key="judged", **options):
    return read_judgements(EvaluateSettings(**{key: path}), **options)


@pytest.mark.parametrize(
    ("image", "caption", "message"),
    [
        ("5.png", "a  red shoe ", "share 1 texts, first 'a  red shoe"),
        ("copy.png", "new", "share 1 images, first '.*copy.png'"),
        ("link.png", "new", "share 1 images, first '.*link.png'"),
        ("../FOLDER/0.png", "new", "share 1 images"),
        ("5.png", "new", None),
    ],
)
@pytest.mark.parametrize("key", ["judged", "labels"])
def test_pairs_share_no_text_and_no_image_with_what_is_judged(folder, key, image, caption, message):
    mine = table(
        folder / "mine.csv", ("image", "text"), [(image.replace("FOLDER", folder.name), caption), ("4.png", "x")]
    )
    header = ("image", "text") if key == "judged" else ("id", "label")
    names = ("a red shoe", "a hat") if key == "judged" else ("shoe", "hat")
    reported = judged(table(folder / "report.csv", header, list(zip(("0.png", "1.png"), names, strict=True))), key)
    names = ("fit.finetune_pairs", f"evaluate.{key}")
    if message is None or (key == "labels" and "texts" in message):
        require_apart(read_image_text(mine), reported, names=names, why=WHY)
        return
    with pytest.raises(
        SettingsError, match=f"fit.finetune_pairs and evaluate.{key} {message}.*: {WHY}; keep them apart"
    ):
        require_apart(read_image_text(mine), reported, names=names, why=WHY)


def test_queries_to_choose_by_are_not_those_of_qrels_or_of_another_file(folder):
    chosen = judged(table(folder / "choose.csv", ("query", "document"), [("q1", "d1"), ("q2", "d2")]))
    (folder / "report.trec").write_text("q2 0 d9 1\nq3 0 d3 1\n")
    reported = judged(folder / "report.trec", "qrels")
    with pytest.raises(SettingsError, match=r"fit.judged and evaluate.qrels share 1 queries, first 'q2'"):
        require_other_queries(chosen, reported, names=("fit.judged", "evaluate.qrels"), why=WHY)
    (folder / "other.trec").write_text("q4 0 d1 1\n")
    require_other_queries(chosen, judged(folder / "other.trec", "qrels"), names=("a", "b"), why=WHY)


def test_queries_to_choose_by_are_not_labelled_texts_or_images(folder):
    texts = table(folder / "texts.csv", ("id", "label", "text"), [("1", "x", "a red shoe"), ("2", "y", "a hat")])
    chosen = judged(table(folder / "choose.csv", ("query", "document"), [("a red  shoe", "d1"), ("boat", "d2")]))
    labelled = judged(texts, "labels", images=False)
    with pytest.raises(SettingsError, match="share 1 queries, first 'a red  shoe'"):
        require_other_queries(chosen, labelled, names=("a", "b"), why=WHY)
    pairs = judged(table(folder / "pairs.csv", ("image", "text"), [("copy.png", "one"), ("3.png", "two")]))
    labels = judged(table(folder / "labels.csv", ("id", "label"), [("0.png", "x"), ("1.png", "y")]), "labels")
    with pytest.raises(SettingsError, match=r"share 1 images, first '.*copy.png'"):
        require_other_queries(pairs, labels, names=("a", "b"), why=WHY)


def test_judged_queries_that_the_bridge_is_fitted_on_are_counted(folder):
    (folder / "captions.txt").write_text("a red shoe\na boat\na cat\n")
    captions = read_all_captions(folder / "captions.txt")
    reported = judged(table(folder / "report.csv", ("query", "document"), [("a boat", "d1"), ("a dog", "d2")]))
    inputs = FitInputs(captions, None, reported, None, None)
    assert inputs.judged_captions == (1, 2)
    assert FitInputs(None, None, reported, None, None).judged_captions == (0, 2)
    assert FitInputs(captions, None, None, None, None).judged_captions == (0, 0)


def vectors(folder, **files):
    for name, ids in files.items():
        rows = np.random.default_rng(len(ids)).normal(size=(len(ids), 4)).astype(np.float32)
        write_vectors(Embeddings.of(rows, Space(name.split("_")[0], "1", 4), ids), folder / f"{name}.npy")


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("qrels", "q1 0 x7 1\n", r"old_gallery.npy .old.gallery. lacks 1 of 1 ids that are judged, first 'x7'"),
        ("qrels", "z1 0 d1 1\nz2 0 d1 1\n", r"old.queries. lacks 2 of 2 ids that are judged, first 'z1'"),
        ("judged", "query,document\nq1,d1\nq1,d9\n", r"old.gallery. lacks 1 of 2 ids that are judged, first 'd9'"),
        (
            "qrels",
            "cafe\u0301 0 d1 1\n",
            "lacks 1 of 1 ids that are judged, first .cafe\u0301.; .cafe\u0301. is there in another normal form",
        ),
        ("qrels", "q1 0 d1 1\nq1 0 x7 1\n", None),
    ],
)
def test_judged_ids_are_looked_up_before_anything_is_fitted(folder, key, text, message):
    ids = [f"c{i}" for i in range(20)]
    for side in ("old", "new"):
        vectors(
            folder,
            **{f"{side}_captions": ids, f"{side}_queries": ["q1", "q2", "café"], f"{side}_gallery": ["d1", "d2"]},
        )
    (folder / "right").write_text(text)
    (folder / "right").rename(folder / ("right.csv" if key == "judged" else "right.trec"))
    models = {s: {k: f"{s}_{k}.npy" for k in ("captions", "queries", "gallery")} for s in ("old", "new")}
    evaluate = {key: "right.csv" if key == "judged" else "right.trec"}
    (folder / "s.yaml").write_text(yaml.safe_dump(models | {"fit": {"method": "procrustes"}, "evaluate": evaluate}))
    if message is None:
        assert fit_upgrade(load_settings(folder / "s.yaml")).upgrade is not None
        return
    with pytest.raises(InvalidInput, match=message):
        fit_upgrade(load_settings(folder / "s.yaml"))
    assert not (folder / "upgrade").exists()
