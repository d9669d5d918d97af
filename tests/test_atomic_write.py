import os
import shutil
from pathlib import Path

import pytest

from embridge.atomic_write import atomic_file, atomic_folder, refuse_foreign_folder
from embridge.errors import InvalidInput

MARKER = "marker.json"


class Crash(BaseException):
    """The process is gone: nothing may catch it, but the clean-up of a block may run, as on Ctrl-C."""


def write_file(path, content, error=None):
    with atomic_file(path) as temporary:
        temporary.write_text(content)
        if error is not None:
            raise error


def write_folder(path, content, error=None):
    with atomic_folder(path, marker=MARKER) as folder:
        (folder / MARKER).write_text(content)
        if error is not None:
            raise error
        (folder / "sub").mkdir()
        (folder / "sub" / "data").write_text(content)


def content_of(path):
    assert {p.name for p in path.iterdir()} == {MARKER, "sub"}
    one, two = (path / MARKER).read_text(), (path / "sub" / "data").read_text()
    assert one == two, "half of one write and half of another"
    return one


def crash_at(monkeypatch, module, name, step):
    """The ``step``-th call of that function (from 0) does not happen."""
    real, calls = getattr(module, name), []

    def crashing(*args, **kwargs):
        calls.append(args)
        if len(calls) == step + 1:
            raise Crash(f"{name} {step}")
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, crashing)


def test_a_file_appears_with_its_content_and_is_readable_by_others(tmp_path):
    with atomic_file(tmp_path / "new" / "a.txt") as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("whole")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert (tmp_path / "new" / "a.txt").read_text() == "whole"
    assert (tmp_path / "new" / "a.txt").stat().st_mode & 0o777 == 0o644


def test_a_block_that_fails_leaves_the_earlier_file_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(KeyError, match="oops"):
        write_file(tmp_path / "a.txt", "half", KeyError("oops"))
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


@pytest.mark.parametrize(("name", "steps"), [("fsync", 2), ("replace", 1)])
def test_a_crash_at_any_step_leaves_one_whole_file(tmp_path, name, steps):
    for step in range(steps):
        (tmp_path / "a.txt").write_text("old")
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, os, name, step)
            with pytest.raises(Crash, match=f"{name} {step}"):
                write_file(tmp_path / "a.txt", "new")
        assert (tmp_path / "a.txt").read_text() in ("old", "new")
        assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_is_replaced_whole(tmp_path):
    for content in ("first", "second"):
        write_folder(tmp_path / "up", content)
        assert content_of(tmp_path / "up") == content
    assert [p.name for p in tmp_path.iterdir()] == ["up"]
    assert (tmp_path / "up").stat().st_mode & 0o777 == 0o755


def test_a_block_that_fails_leaves_the_earlier_folder_and_nothing_else(tmp_path):
    write_folder(tmp_path / "up", "old")
    with pytest.raises(KeyError, match="oops"):
        write_folder(tmp_path / "up", "half", KeyError("oops"))
    assert content_of(tmp_path / "up") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["up"]


@pytest.mark.parametrize(
    ("module", "name", "steps"),
    [(os, "fsync", 5), (os, "replace", 2), (shutil, "rmtree", 2)],
    ids=["fsync", "replace", "rmtree"],
)
def test_after_a_crash_at_any_step_one_whole_folder_is_left_and_the_next_write_goes_well(tmp_path, module, name, steps):
    for step in range(steps):
        place = tmp_path / f"{name} {step}"
        write_folder(place / "up", "old")
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, module, name, step)
            with pytest.raises(Crash, match=f"{name} {step}"):
                write_folder(place / "up", "new")
        kept = place / "up" if (place / "up").exists() else place / ".up.old"
        assert content_of(kept) in ("old", "new")
        write_folder(place / "up", "later")
        assert content_of(place / "up") == "later"


def test_a_crash_between_the_two_renames_is_repaired_by_the_next_write_even_if_that_fails(tmp_path):
    write_folder(tmp_path / "up", "old")
    (tmp_path / "up").rename(tmp_path / ".up.old")
    with pytest.raises(KeyError, match="oops"):
        write_folder(tmp_path / "up", "half", KeyError("oops"))
    assert content_of(tmp_path / "up") == "old"


def test_foreign_folders_and_files_are_refused_and_stay(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").write_bytes(b"cat")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidInput, match=r"photos holds other things \(no marker.json in it\)"):
        write_folder(tmp_path / "photos", "new")
    with pytest.raises(InvalidInput, match="file is a file; a folder is to be written there"):
        write_folder(tmp_path / "file", "new")
    assert (tmp_path / "photos" / "cat.png").read_bytes() == b"cat"
    assert (tmp_path / "file").read_text() == "mine"
    assert {p.name for p in tmp_path.iterdir()} == {"photos", "file"}


def test_new_empty_and_own_folders_are_taken(tmp_path):
    refuse_foreign_folder(tmp_path / "new", marker=MARKER)
    Path(tmp_path / "empty").mkdir()
    write_folder(tmp_path / "empty", "new")
    refuse_foreign_folder(tmp_path / "empty", marker=MARKER)
    assert content_of(tmp_path / "empty") == "new"
