import numpy as np
import pytest
from PIL import Image

from embridge.datasets.image_text import ImageTextPairs, read_image_text
from embridge.errors import InvalidInput, SettingsError

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 6), dtype=np.uint8)


def test_pairs_that_share_a_photo_or_a_caption_are_of_one_group():
    pairs = ImageTextPairs(["a", "b", "b", "c", "d", "e"], ["1", "1", "2", "2", "3", "4"])
    assert pairs.group_numbers().tolist() == [0, 0, 0, 0, 4, 5]


def test_long_chains_are_one_group():
    """Pair i shares its photo with i - 1 and its caption with i + 1, in a shuffled order."""
    n = 101
    order = np.random.default_rng(1).permutation(n)
    pairs = ImageTextPairs([f"c{(i + 1) // 2}" for i in order], [f"p{i // 2}" for i in order])
    assert len(set(pairs.group_numbers().tolist())) == 1


def test_the_same_pixels_are_the_same_photo():
    images = [PIXELS[0], Image.fromarray(PIXELS[0]), PIXELS[1], PIXELS[0].copy()]
    assert ImageTextPairs(list("abcd"), images).group_numbers().tolist() == [0, 0, 2, 0]


def test_given_groups_are_taken():
    groups = np.array([3, 3, 9, 9])
    pairs = ImageTextPairs(list("abcd"), PIXELS, groups)
    assert pairs.group_numbers() is groups
    assert pairs.take(np.array([3, 0])).groups.tolist() == [9, 3]


def test_some_are_taken_in_order():
    for images in (PIXELS, list(PIXELS)):
        some = ImageTextPairs(list("abcd"), images).take(np.array([2, 0]))
        assert some.captions == ["c", "a"]
        np.testing.assert_array_equal(np.stack(list(some.images)), PIXELS[[2, 0]])


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_whole_groups_are_held_out(fraction):
    groups = np.arange(300) // 5
    pairs = ImageTextPairs([f"c{i}" for i in range(300)], [f"p{i}" for i in range(300)], groups)
    train, held = pairs.hold_out(fraction, seed=3)
    assert sorted([*train, *held]) == list(range(300))
    assert not set(groups[train]) & set(groups[held])
    assert len(held) == pytest.approx(min(max(5, 300 * fraction), 295), abs=5)
    np.testing.assert_array_equal(pairs.hold_out(fraction, seed=3)[1], held)


def test_another_seed_holds_out_others():
    pairs = ImageTextPairs([f"c{i}" for i in range(100)], [f"p{i}" for i in range(100)])
    assert pairs.hold_out(0.2, seed=0)[1].tolist() != pairs.hold_out(0.2, seed=1)[1].tolist()


def test_one_group_cannot_be_split():
    with pytest.raises(InvalidInput, match="all 3 are of one group"):
        ImageTextPairs(list("abc"), ["1", "1", "1"]).hold_out(0.5, seed=0)


def test_the_fingerprint_is_of_all_that_is_in_them():
    pairs = ImageTextPairs(list("abcd"), PIXELS)
    assert pairs.fingerprint == ImageTextPairs(list("abcd"), list(PIXELS)).fingerprint
    others = [
        ImageTextPairs(list("abce"), PIXELS),
        ImageTextPairs(list("abcd"), PIXELS[::-1]),
        ImageTextPairs(list("abcd"), PIXELS, np.zeros(4, np.int64)),
    ]
    assert len({pairs.fingerprint, *(other.fingerprint for other in others)}) == 4


@pytest.mark.parametrize(
    ("captions", "images", "message"),
    [
        ([], [], "came {'captions': 0, 'images': 0}"),
        (["a", "b"], ["1"], "came {'captions': 2, 'images': 1}"),
    ],
)
def test_lengths_are_checked(captions, images, message):
    with pytest.raises(InvalidInput, match=message):
        ImageTextPairs(captions, images)


def test_one_photo_under_two_paths_is_one_group(tmp_path):
    """Else one pair would be held out of what the other is trained on."""
    (tmp_path / "1.png").write_bytes(b"1")
    (tmp_path / "2.png").write_bytes(b"2")
    (tmp_path / "link.png").symlink_to("1.png")
    paths = [str(tmp_path / name) for name in ("1.png", "2.png", "./1.png", "link.png")]
    assert ImageTextPairs(list("abcd"), paths).group_numbers().tolist() == [0, 1, 0, 0]


@pytest.mark.usefixtures("as_in_production")
def test_captions_are_strings_and_groups_as_many():
    with pytest.raises(InvalidInput, match="caption 1 is int"):
        ImageTextPairs(["a", 2], ["1", "2"])
    with pytest.raises(InvalidInput, match="'groups': 1"):
        ImageTextPairs(["a", "b"], ["1", "2"], np.zeros(1, np.int64))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pairs.csv", 'text,image\n"a cat, asleep",1.png\na 5" tabby,1.png\n'),
        ("pairs.tsv", 'image\ttext\n1.png\ta cat, asleep\n\n1.png\ta 5" tabby\n'),
        (
            "pairs.jsonl",
            '{"text": "a cat, asleep", "image": "1.png"}\n\n{"image": "1.png", "text": " a 5\\" tabby", "n": 3}\n',
        ),
    ],
)
def test_a_file_is_read_with_images_beside_it(tmp_path, name, content):
    Image.fromarray(PIXELS[0]).save(tmp_path / "1.png")
    (tmp_path / name).write_text(content)
    pairs = read_image_text(tmp_path / name)
    assert (pairs.captions, pairs.images) == (["a cat, asleep", 'a 5" tabby'], [str(tmp_path / "1.png")] * 2)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pairs.jsonl", '{"text": "a"', r"pairs\.jsonl, line 1 is no JSON"),
        (
            "pairs.jsonl",
            '{"text": "a", "image": "1.png"}\n[1]\n',
            r"pairs\.jsonl, line 2: expected an object .*, came list",
        ),
        ("pairs.jsonl", "", "no columns, the file is empty"),
        ("pairs.jsonl", '{"text": "a", "image": "1.png"}\n{"text": "b"}\n', "line 2: a cell is blank"),
        ("pairs.tsv", "text\timage\na\tb\tc\n", "line 2: 3 cells, the header 2"),
        ("pairs.tsv", "text,image\na,b\n", "expected columns text and image"),
    ],
)
def test_files_that_hold_no_pairs_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises((InvalidInput, SettingsError), match=message):
        read_image_text(tmp_path / name)


def test_a_file_of_texts_alone_and_a_missing_image_are_refused(tmp_path):
    (tmp_path / "texts.csv").write_text("query,document\na,b\n")
    with pytest.raises(InvalidInput, match=r"texts\.csv: image-text pairs have columns text and image"):
        read_image_text(tmp_path / "texts.csv")
    (tmp_path / "pairs.csv").write_text("text,image\na cat,1.png\n")
    with pytest.raises(InvalidInput, match=r"line 2: no image at .*1\.png; paths count from the file's own folder"):
        read_image_text(tmp_path / "pairs.csv")
