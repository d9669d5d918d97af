"""Captions are encoded once: killed anywhere, a run goes on to the same bytes; what was altered is refused."""

import json
import shutil

import numpy as np
import pytest

from embridge import Embeddings, Space
from embridge.adapters.base import normalized
from embridge.datasets import glyph_models
from embridge.encoders import CachedEncoder, LazyEncoder, load
from embridge.encoders.caption_cache import encode_once, needed_bytes
from embridge.errors import InvalidInput

SPACE = Space("toy", "1", 4)
CAPTIONS = [f"caption {i}" for i in range(50)]
VECTORS = 3 * np.random.default_rng(0).standard_normal((50, 4), dtype=np.float32)


class Counting:
    """The toy encoder, counting what it is asked for and failing after so many captions."""

    modalities = frozenset({"text"})

    def __init__(self, space=SPACE, vectors=VECTORS, fail_after=10**9):
        self.space, self.asked, self.fail_after = space, [], fail_after
        self._rows = CachedEncoder(text=Embeddings.of(vectors, space, CAPTIONS))

    def encode(self, items, *, modality, role="document"):
        if len(self.asked) + len(items) > self.fail_after:
            raise KeyboardInterrupt
        self.asked += items
        return self._rows.encode(items, modality=modality, role=role)


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_unit_vectors_come_back_at_half_precision_from_a_memory_map(tmp_path):
    rows = encode_once(Counting(), CAPTIONS, tmp_path, shard_rows=7)
    np.testing.assert_array_equal(rows.halves, normalized(VECTORS).astype(np.float16))
    assert isinstance(rows.halves, np.memmap)
    assert (rows.space, rows.ids[:3], len(rows)) == (SPACE, ("0", "1", "2"), 50)
    assert next(tmp_path.glob("*/vectors.f16")).stat().st_size == needed_bytes(50, 4) == 400


def test_nothing_is_encoded_twice(tmp_path):
    first, second = Counting(), Counting()
    expected = encode_once(first, CAPTIONS, tmp_path, shard_rows=7).vectors
    told = []
    came = encode_once(second, CAPTIONS, tmp_path, shard_rows=20, progress=lambda *said: told.append(said))
    assert (first.asked, second.asked) == (CAPTIONS, [])
    np.testing.assert_array_equal(came.vectors, expected)
    assert told == [(50, 50, "toy: captions (0.00 GB on disk)")]


@pytest.mark.slow
@pytest.mark.parametrize("stop", [0, 6, 7, 20, 49, 50])
def test_an_interrupted_run_goes_on_at_the_next_shard(tmp_path, stop):
    encode_once(Counting(), CAPTIONS, tmp_path / "whole", shard_rows=7)
    interrupted, again = Counting(fail_after=stop), Counting()
    if stop < 50:
        with pytest.raises(KeyboardInterrupt):
            encode_once(interrupted, CAPTIONS, tmp_path / "cache", shard_rows=7)
    else:
        encode_once(interrupted, CAPTIONS, tmp_path / "cache", shard_rows=7)
    encode_once(again, CAPTIONS, tmp_path / "cache", shard_rows=7)
    assert interrupted.asked + again.asked == CAPTIONS
    assert files(tmp_path / "cache") == files(tmp_path / "whole")


def test_half_a_shard_without_its_line_in_the_journal_is_overwritten(tmp_path):
    encode_once(Counting(), CAPTIONS, tmp_path / "whole", shard_rows=7)
    with pytest.raises(KeyboardInterrupt):
        encode_once(Counting(fail_after=14), CAPTIONS, tmp_path / "cache", shard_rows=7)
    with next((tmp_path / "cache").glob("*/vectors.f16")).open("ab") as file:
        file.write(b"\x7f" * 31)
    encode_once(Counting(), CAPTIONS, tmp_path / "cache", shard_rows=7)
    assert files(tmp_path / "cache") == files(tmp_path / "whole")


def test_other_captions_spaces_and_roles_are_kept_apart(tmp_path):
    asked = [
        (Counting(), CAPTIONS, "query"),
        (Counting(), CAPTIONS, "document"),
        (Counting(), CAPTIONS[::-1], "query"),
        (Counting(), CAPTIONS[:49], "query"),
        (Counting(Space("toy", "2", 4), VECTORS[::-1].copy()), CAPTIONS, "query"),
    ]
    for encoder, captions, role in asked:
        rows = encode_once(encoder, captions, tmp_path, role=role)
        assert encoder.asked == captions
        expected = normalized(encoder.encode(captions, modality="text")).astype(np.float16)
        np.testing.assert_array_equal(rows.halves, expected)
    assert len(list(tmp_path.iterdir())) == len(asked)


def test_captions_that_only_join_alike_are_not_taken_for_each_other(tmp_path):
    rows = Embeddings.of(VECTORS[:4], SPACE, ["ab", "c", "a", "bc"])
    one, two = (encode_once(CachedEncoder(text=rows), texts, tmp_path) for texts in (["ab", "c"], ["a", "bc"]))
    assert one.vectors.tobytes() != two.vectors.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "vectors.f16",
            lambda data: data[:9] + b"\0\1" + data[11:],
            "shard 0 is not as it was written; delete that folder",
        ),
        ("vectors.f16", lambda data: data[:-1], "not all that it names; delete that folder"),
        ("vectors.f16", None, "not all that it names; delete that folder"),
        ("shards.json", lambda data: data[: len(data) // 2], r"shards\.json is truncated or altered.*; delete"),
        ("shards.json", lambda data: data.replace(b"crc32", b"crc33"), r"shards\.json is truncated or altered"),
        ("shards.json", lambda _: b"[]", r"shards\.json is truncated or altered"),
        ("shards.json", lambda data: data.replace(b'"toy"', b'"joy"'), "holds other captions"),
    ],
)
def test_a_cache_that_was_altered_is_refused(tmp_path, name, change, message):
    encode_once(Counting(), CAPTIONS, tmp_path, shard_rows=7)
    path = next(tmp_path.glob(f"*/{name}"))
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InvalidInput, match=message):
        encode_once(Counting(), CAPTIONS, tmp_path)


@pytest.mark.usefixtures("as_in_production")
def test_what_cannot_be_kept_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match=r"compares by dot vectors whose lengths vary .* keeps directions alone"):
        encode_once(Counting(Space("toy", "1", 4, "dot")), CAPTIONS, tmp_path)
    unit = encode_once(Counting(Space("toy", "1", 4, "dot"), normalized(VECTORS)), CAPTIONS, tmp_path)
    np.testing.assert_array_equal(unit.halves, normalized(VECTORS).astype(np.float16))
    short = Counting(Space("toy", "3", 4))
    short.encode = lambda *_, **__: VECTORS[:3]
    with pytest.raises(InvalidInput, match="toy made 3 vectors of 50 captions"):
        encode_once(short, CAPTIONS, tmp_path)
    short.encode = lambda *_, **__: np.full((50, 4), np.nan, np.float32)
    with pytest.raises(InvalidInput, match=r"captions by toy: 50 of rows 0\.\.49 hold NaN or infinity"):
        encode_once(short, CAPTIONS, tmp_path)
    with pytest.raises(InvalidInput, match="0 captions in shards of 4096 came"):
        encode_once(Counting(), [], tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match=r"cannot be made.*; choose another cache folder"):
        encode_once(Counting(), CAPTIONS, tmp_path / "file")


def test_a_disk_without_room_is_said_before_anything_is_encoded(tmp_path):
    encoder = Counting()
    encoder.space = Space("toy", "1", 1 << 50)
    with pytest.raises(InvalidInput, match=r"50 captions need .* GB of disk, .* GB are free; make room, or choose"):
        encode_once(encoder, CAPTIONS, tmp_path)
    assert encoder.asked == []


@pytest.mark.slow
def test_a_real_text_tower_is_kept_to_half_precision(tmp_path):
    encoder = load(f"clip:{glyph_models.folder('old')}", device="cpu")
    texts = ["black chess queen", "latin small letter e", "two boats"]
    rows = encode_once(encoder, texts, tmp_path)
    expected = encoder.encode(texts, modality="text", role="query")
    assert (normalized(rows.vectors) * expected).sum(axis=1).min() > 1 - 1e-6
    assert json.loads(next(tmp_path.glob("*/shards.json")).read_text())["space"] == encoder.space.to_dict()


WORDY = ["black chess queen", *(f"latin small letter a with {'hook and tail and ' * 5}number {i}" for i in range(9))]


def test_captions_that_are_cut_are_counted_over_all_shards_and_warned_of_again(tmp_path):
    encoder = load(f"clip:{glyph_models.folder('old')}", device="cpu")
    for _ in range(2):
        with pytest.warns(
            UserWarning, match="old: 9 of 10 texts were cut at 16 tokens, all that the model takes"
        ) as warned:
            encode_once(encoder, WORDY, tmp_path, shard_rows=4)
        assert len(warned) == 1
    with pytest.warns(UserWarning, match="old: all 9 texts were cut at 16 tokens"):
        encode_once(encoder, WORDY[1:], tmp_path)
    encode_once(encoder, [WORDY[1], *(f"letter {i}" for i in range(20))], tmp_path)  # a few are ordinary
    assert json.loads(next(iter(sorted(tmp_path.glob("*/shards.json")))).read_text())["longest_text"] == 16


def test_a_cache_of_before_cuts_were_counted_is_read(tmp_path):
    expected = encode_once(Counting(), CAPTIONS, tmp_path, shard_rows=7).vectors
    journal = next(tmp_path.glob("*/shards.json"))
    held = json.loads(journal.read_text())
    journal.write_text(json.dumps({key: held[key] for key in held if key not in ("cut", "longest_text")}))
    again = Counting()
    np.testing.assert_array_equal(encode_once(again, CAPTIONS, tmp_path).vectors, expected)
    assert again.asked == []


@pytest.mark.slow
def test_another_model_under_the_same_name_gets_a_cache_of_its_own(tmp_path):
    folder, texts, rows = tmp_path / "model", ["black chess queen", "two boats"], []
    shutil.copytree(glyph_models.folder("old"), folder)
    for act in ("gelu", "relu"):
        described = json.loads((folder / "config.json").read_text())
        described["text_config"]["hidden_act"] = act
        (folder / "config.json").write_text(json.dumps(described))
        rows.append(encode_once(LazyEncoder(f"clip:{folder}", device="cpu"), texts, tmp_path / "cache").vectors)
    assert np.abs(rows[0] - rows[1]).max() > 1e-2
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("caption", "message"),
    [
        (
            "great shoes \ud83d",
            r"text item 1 holds half of a character .*: 'great shoes \\ud83d'; write the character whole",
        ),
        ("a\0b", r"text item 1 holds a NUL character: 'a\\x00b'; remove it"),
        (7, "text items are strings; item 1 is int"),
    ],
)
def test_captions_that_are_no_texts_are_refused_before_anything_is_made(tmp_path, caption, message):
    with pytest.raises(InvalidInput, match=message):
        encode_once(Counting(), [CAPTIONS[0], caption], tmp_path)
    assert list(tmp_path.iterdir()) == []
