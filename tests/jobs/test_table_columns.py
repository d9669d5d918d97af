"""Tables whose columns have names of their own: the settings say them, for a section or for one of its files."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embridge.errors import InvalidInput, MissingSetting, SettingsError
from embridge.jobs._fit_inputs import read_fit_inputs
from embridge.jobs._judgements import read_judgements
from embridge.jobs._model_vectors import texts_of_tables
from embridge.settings import EvaluateSettings, ModelSettings, Settings

MODELS = {"old": "http:a@https://a.example/v1", "new": "http:b@https://b.example/v1"}


@pytest.fixture
def folder(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(bytes([number]))
    (tmp_path / "shop.csv").write_text("sku,title,photo\n7,a black cat,0.jpg\n8,two boats,1.jpg\n")
    (tmp_path / "judged.csv").write_text("question,photo\nwhich cat?,2.jpg\n")
    (tmp_path / "plain.txt").write_text("a black cat\n")
    (tmp_path / "grades.csv").write_text("q,d,grade\nq1,d1,2\n")
    return tmp_path


def inputs(folder, **fit):
    files = {key: folder / name for key, name in fit.items() if key != "columns"}
    return read_fit_inputs(Settings.model_validate(MODELS | {"fit": files | {"columns": fit.get("columns", {})}}))


def test_every_table_of_a_fit_takes_the_names_of_its_section(folder):
    columns = {"text": "title", "image": "photo", "judged": {"text": "question"}}
    read = inputs(
        folder,
        captions="shop.csv",
        judged="judged.csv",
        finetune_pairs="shop.csv",
        validation_pairs="shop.csv",
        columns=columns,
    )
    assert read.texts == ["a black cat", "two boats"]
    assert read.judged.queries == ["which cat?"]
    assert read.finetune_pairs.captions == read.validation_pairs.captions == ["a black cat", "two boats"]
    assert read.finetune_pairs.images == [str(folder / "0.jpg"), str(folder / "1.jpg")]


def test_a_text_without_columns_is_not_meant_by_those_of_the_section(folder):
    assert inputs(folder, captions="plain.txt", columns={"text": "title"}).texts == ["a black cat"]
    with pytest.raises(SettingsError, match=r"plain\.txt is read as text, which has no column 'title'"):
        inputs(folder, captions="plain.txt", columns={"captions": {"text": "title"}})


def test_every_kind_of_judgement_takes_other_names(folder):
    pairs = EvaluateSettings(judged=folder / "shop.csv", columns={"query": "sku", "document": "title"})
    assert read_judgements(pairs).relevance.gains == {"7": {"a black cat": 1.0}, "8": {"two boats": 1.0}}
    names = {"query": "q", "document": "d", "score": "grade"}
    qrels = EvaluateSettings(qrels=folder / "grades.csv", columns=names)
    assert read_judgements(qrels).relevance.gains == {"q1": {"d1": 2.0}}
    labels = EvaluateSettings(labels=folder / "shop.csv", columns={"id": "sku", "label": "photo"}, slices=("title",))
    read = read_judgements(labels)
    assert read.labelled == ["7", "8"]
    assert read.slices["title"] == {"7": "a black cat", "8": "two boats"}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"judged": "shop.csv", "columns": {"text": "titel", "image": "photo"}},
            "expected column titel; came .'sku', 'title'",
        ),
        ({"judged": "shop.csv"}, "expected columns text and image, or query and document; came .'sku'"),
        (
            {"labels": "shop.csv", "columns": {"id": "sku"}},
            "expected column label; came .'id', 'sku', 'title', 'photo'.",
        ),
        ({"qrels": "grades.csv"}, "expected columns query, document, score; came .'q', 'd', 'grade'."),
    ],
)
def test_a_column_that_is_not_there_is_a_matter_of_the_settings(folder, section, message):
    files = {key: folder / name if isinstance(name, str) else name for key, name in section.items()}
    with pytest.raises(SettingsError, match=message) as refusal:
        read_judgements(EvaluateSettings(**files))
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        ({"column": "title", "columns": {"text": "title"}}, "column and columns both name the column of the captions"),
        (
            {"columns": {"caption": "title"}},
            "there is no 'caption'; there are text, image, query, document, captions: {",
        ),
        ({"columns": ["title"]}, "expected a mapping from a name of ours to the file's"),
    ],
)
def test_columns_that_say_nothing_are_refused(fit, message):
    with pytest.raises(ValueError, match=message):
        Settings.model_validate(MODELS | {"fit": fit})


def test_what_people_read_for_an_id_may_stand_beside_the_vectors(tmp_path):
    vectors = pa.array([[1.0, 0.0], [0.0, 1.0]], pa.list_(pa.float32(), 2))
    pq.write_table(
        pa.table({"sku": [7, 8], "vector": vectors, "title": ["a red shoe", None]}), tmp_path / "gallery.parquet"
    )
    pq.write_table(pa.table({"sku": ["q1", "q2"], "vector": vectors}), tmp_path / "queries.parquet")
    files = {key: tmp_path / f"{key}.parquet" for key in ("queries", "gallery")}
    named = {"id": "sku", "text": "title"}
    model = ModelSettings(**files, columns=named)
    assert texts_of_tables([model, ModelSettings(**files, columns={"id": "sku"})]) == {"7": "a red shoe"}
    assert model.columns_of("gallery") == {"id": "sku"}
    alone = ModelSettings(**files, columns={"id": "sku", "gallery": {"text": "title"}})
    assert texts_of_tables([alone]) == {"7": "a red shoe"}
    with pytest.raises(MissingSetting, match=r"queries\.parquet.*caption"):
        texts_of_tables([ModelSettings(**files, columns={"id": "sku", "text": "caption"})])
    with pytest.raises(InvalidInput, match=r"gallery\.parquet: the column vector: expected texts"):
        texts_of_tables([ModelSettings(**files, columns={"id": "sku", "gallery": {"text": "vector"}})])
    with pytest.raises(ValueError, match="there is no 'titel'; there are id, vector, text"):
        ModelSettings(**files, columns={"titel": "title"})
