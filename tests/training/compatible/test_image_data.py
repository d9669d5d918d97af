"""The same images by way of arrays, of a folder and of a Hugging Face dataset."""

import sys

import numpy as np
import pytest
from labelled_glyphs import SCRIPTS, items
from PIL import Image

from embridge.errors import InvalidInput, SettingsError
from embridge.training.compatible.image_data import HuggingFaceImages, ImageArrays, ImageFolder

ROWS = np.arange(0, 500, 50)


@pytest.fixture(scope="module")
def arrays():
    data = items("train")
    return ImageArrays(data.images[ROWS], data.labels[ROWS], SCRIPTS, 8)


@pytest.fixture
def folder(arrays, tmp_path):
    for row, (image, label) in enumerate(zip(arrays.images, arrays.labels, strict=True)):
        place = tmp_path / "set" / SCRIPTS[label] / ("deep" if row % 2 else "")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{row:03}.png")
    (tmp_path / "set" / "latin" / "notes.txt").write_text("no image")
    (tmp_path / "set" / ".hidden").mkdir()
    return tmp_path / "set"


@pytest.fixture
def dataset(arrays):
    datasets = pytest.importorskip("datasets", reason="the extra hf-datasets is not installed")
    rows = {"image": [Image.fromarray(i) for i in arrays.images], "label": arrays.labels.tolist()}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(SCRIPTS))})
    return datasets.Dataset.from_dict(rows, features=features)


def pixels(data):
    return data.batch(np.arange(len(data))).numpy()


def test_images_are_resized_to_one_side_with_three_channels(arrays):
    assert pixels(arrays).shape == (10, 3, 8, 8)
    expected = Image.fromarray(arrays.images[3]).convert("RGB").resize((8, 8), Image.BILINEAR)
    np.testing.assert_array_equal(pixels(arrays)[3].transpose(1, 2, 0), np.asarray(expected))
    whole = ImageArrays(arrays.images, arrays.labels)
    np.testing.assert_array_equal(pixels(whole)[:, 1], arrays.images)
    assert (whole.side, whole.classes) == (16, ("0", "1", "2", "3", "4"))


def test_images_without_labels_are_all_of_one_class(arrays, folder, dataset, tmp_path):
    flat = ImageFolder(folder, side=8, labelled=False)
    assert (len(flat), len(flat.classes), set(flat.labels)) == (10, 1, {0})
    np.testing.assert_array_equal(pixels(flat), pixels(ImageFolder(folder, side=8)))
    bare = HuggingFaceImages(dataset.remove_columns("label"), side=8, label=None)
    assert (len(bare.classes), set(bare.labels)) == (1, {0})
    np.testing.assert_array_equal(pixels(bare), pixels(arrays))
    (tmp_path / "bare").mkdir()
    for nothing in ("bare", "not-there"):
        with pytest.raises(
            InvalidInput, match=f"{nothing}: expected images in it, or in folders below it; there is none"
        ):
            ImageFolder(tmp_path / nothing, side=8, labelled=False)


def test_coloured_arrays_keep_their_colours():
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(pixels(ImageArrays(images, np.arange(3))), images.transpose(0, 3, 1, 2))
    tall = np.repeat(images, 2, axis=1)
    assert ImageArrays(tall, np.arange(3), side=8).batch(np.array([1])).shape == (1, 3, 8, 8)


def test_a_folder_holds_the_same_as_arrays(arrays, folder):
    data = ImageFolder(folder, side=8)
    assert data.classes == SCRIPTS
    order = [int(file.stem) for file in data.files]
    np.testing.assert_array_equal(pixels(data), pixels(arrays)[order])
    np.testing.assert_array_equal(data.labels, arrays.labels[order])
    assert data.items(np.array([1])) == [data.files[1]]
    assert data.damaged() == []


def test_a_dataset_holds_the_same_as_arrays(arrays, dataset):
    data = HuggingFaceImages(dataset, side=8)
    np.testing.assert_array_equal(pixels(data), pixels(arrays))
    np.testing.assert_array_equal(data.labels, arrays.labels)
    assert (data.classes, len(data)) == (SCRIPTS, 10)
    assert data.fingerprint() == HuggingFaceImages(dataset, side=8).fingerprint()
    assert data.fingerprint() != HuggingFaceImages(dataset.select(range(9)), side=8).fingerprint()


def test_labels_of_any_kind_are_classes_by_their_texts(dataset):
    named = dataset.add_column("kind", ["b", "a"] * 5)
    data = HuggingFaceImages(named, side=8, label="kind")
    assert (data.classes, data.labels.tolist()) == (("a", "b"), [1, 0] * 5)


def test_a_damaged_file_is_named(folder):
    broken = folder / "greek" / "500.jpg"
    broken.write_bytes(b"no image at all")
    data = ImageFolder(folder, side=8)
    calls = []
    assert data.damaged(progress=lambda done, *_: calls.append(done)) == [broken]
    assert calls[-1] == len(data) == 11
    with pytest.raises(InvalidInput, match=r"greek/500\.jpg\) cannot be read"):
        data.batch(np.arange(len(data)))


def test_a_damaged_row_is_named():
    datasets = pytest.importorskip("datasets", reason="the extra hf-datasets is not installed")
    rows = {"image": [{"bytes": b"nothing", "path": "a.png"}], "label": [0]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    data = HuggingFaceImages(datasets.Dataset.from_dict(rows, features=features), side=8)
    with pytest.raises(InvalidInput, match=r"image 0 of the dataset \(a\.png\) cannot be read"):
        data.batch(np.array([0]))


def test_another_file_is_another_training_set(folder):
    before = ImageFolder(folder, side=8).fingerprint()
    assert ImageFolder(folder, side=8).fingerprint() == before
    assert ImageFolder(folder, side=16).fingerprint() != before
    Image.new("L", (8, 8)).save(folder / "greek" / "new.png")
    assert ImageFolder(folder, side=8).fingerprint() != before


def test_folders_without_images_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="there is no folder"):
        ImageFolder(tmp_path / "none", side=8)
    with pytest.raises(InvalidInput, match="there is no folder in it"):
        ImageFolder(tmp_path, side=8)
    (tmp_path / "cat").mkdir()
    with pytest.raises(InvalidInput, match="the class 'cat' has no image"):
        ImageFolder(tmp_path, side=8)
    with pytest.raises(SettingsError, match="a side of at least 1 pixel, came 0"):
        ImageFolder(tmp_path, side=0)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 4, 4), np.float32), np.zeros((2, 4), np.uint8), np.zeros((2, 4, 4, 4), np.uint8)]
)
def test_other_arrays_are_refused(images):
    with pytest.raises(InvalidInput, match=r"expected uint8 \[n, h, w\] or \[n, h, w, 3\], came"):
        ImageArrays(images, np.array([0, 1]))


def test_columns_that_are_not_there_are_refused(dataset):
    with pytest.raises(SettingsError, match="there is no column 'photo'"):
        HuggingFaceImages(dataset, side=8, image="photo")
    with pytest.raises(SettingsError, match="the column 'label' holds"):
        HuggingFaceImages(dataset, side=8, image="label")
    with pytest.raises(SettingsError, match=r"expected a datasets.Dataset .*came a list"):
        HuggingFaceImages([1, 2], side=8)


def test_a_missing_library_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"datasets is needed here .*pip install 'embridge\[hf-datasets\]'"):
        HuggingFaceImages(None, side=8)
