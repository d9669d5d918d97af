"""An old model that is a store: what its section may say, and what it may not."""

import pytest

from embridge.errors import SettingsError
from embridge.settings import SpaceName, load_settings, store_settings

NEW = "new: http:b@https://b.example/v1\n"


def loaded(tmp_path, old, new=NEW):
    (tmp_path / "settings.yaml").write_text(f"old: {{{old}}}\n{new}")
    return load_settings(tmp_path / "settings.yaml")


def test_two_lines_are_enough_and_paths_count_from_the_file(tmp_path):
    old = loaded(tmp_path, "store: 'lancedb:shop#items'").old
    assert (old.store, old.sample, old.encoder) == (f"lancedb:{tmp_path}/shop#items", 20_000, None)
    old = loaded(
        tmp_path, "store: 'faiss:a.index?ids=ids.txt', space: clip, declarations: d.json, items: {folder: f}"
    ).old
    assert old.store == f"faiss:{tmp_path}/a.index?ids={tmp_path}/ids.txt"
    assert old.space == SpaceName(model="clip")
    assert (old.declarations, old.items.folder) == (tmp_path / "d.json", tmp_path / "f")
    url = "postgresql://me:secret@db/shop?table=items"
    settings = loaded(tmp_path, f"store: '{url}'")
    assert settings.old.store == url
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("store: 'nope:shop'", NEW, r"old\.store: nope:shop is no store's URL; the forms are"),
        ("store: 'lancedb:x', queries: a.npy", NEW, r"either store, or files with vectors .*; came queries too"),
        ("encoder: 'http:a@https://b.example/v1', sample: 3", NEW, r"sample is of a store; name it with store: URL"),
        (
            "store: 'lancedb:x', space: {model: x, dim: 3}",
            NEW,
            r"space: expected the id or the model of one that the store",
        ),
        ("queries: a.npy, space: clip", NEW, r"space: expected keys: \{model: …, dim: …\}"),
        ("store: 'lancedb:x', items: {text: a, image: b}", NEW, r"old\.items: a vector is of a text or of an image"),
        ("store: 'lancedb:x', sampel: 3", NEW, r"old\.sampel: there is no such key; did you mean sample\?"),
        ("store: 'lancedb:x', sample: 0", NEW, r"old\.sample: Input should be greater than or equal to 1"),
        ("store: 'lancedb:x'", "new: {captions: b.npy}\n", r"a store's items are encoded by the new model"),
        ("store: 'lancedb:x'", NEW + "fit: {captions: a.txt}\n", r"leave out captions and weigh_repeats"),
        ("encoder: 'http:a@https://b.example/v1'", "new: {store: 'lancedb:x'}\n", r"new\.store: there is no such key"),
    ],
)
def test_what_does_not_fit_is_named(old, new, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        loaded(tmp_path, old, new)


def test_options_in_place_of_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = store_settings("lancedb:shop", "http:b@https://b.example/v1", upgrade="up", space="clip")
    assert (settings.old.store, settings.upgrade) == (f"lancedb:{tmp_path}/shop", tmp_path / "up")
    with pytest.raises(SettingsError, match=r"--store, --new: old\.store: nope:y is no store's URL"):
        store_settings("nope:y", "http:b@https://b.example/v1", upgrade="up")
