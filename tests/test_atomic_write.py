import errno
import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path

import pytest
from kills import killed

from embridge.atomic_write import (
    atomic_file,
    atomic_folder,
    atomic_pair,
    descriptions,
    refuse_foreign_file,
    refuse_foreign_folder,
    temporary_folder,
    whole_folder,
)
from embridge.errors import InvalidInput

MARKER = "marker.json"


class Crash(BaseException):
    """The process is gone: nothing may catch it, but the clean-up of a block may run, as on Ctrl-C."""


def write_file(path, content, error=None):
    with atomic_file(path) as temporary:
        temporary.write_text(content)
        if error is not None:
            raise error


def write_folder(path, content, error=None, **options):
    with atomic_folder(path, marker=MARKER, **options) as folder:
        (folder / MARKER).write_text(content)
        if error is not None:
            raise error
        (folder / "sub").mkdir()
        (folder / "sub" / "data").write_text(content)


def content_of(path):
    with whole_folder(path) as folder:
        one, two = (folder / MARKER).read_text(), (folder / "sub" / "data").read_text()
        assert {p.name for p in folder.iterdir()} >= {MARKER, "sub"}
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
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        "up",
        f"up/{MARKER}",
        "up/sub",
        "up/sub/data",
    ]
    assert (tmp_path / "up").stat().st_mode & 0o777 == 0o755


def test_a_block_that_fails_leaves_the_earlier_folder_and_nothing_else(tmp_path):
    write_folder(tmp_path / "up", "old")
    with pytest.raises(KeyError, match="oops"):
        write_folder(tmp_path / "up", "half", KeyError("oops"))
    assert content_of(tmp_path / "up") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["up"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name", "steps"),
    [(os, "fsync", 7), (os, "link", 2), (os, "replace", 4), (shutil, "rmtree", 3)],
    ids=["fsync", "link", "replace", "rmtree"],
)
def test_after_a_crash_at_any_step_one_whole_folder_is_left_and_the_next_write_goes_well(tmp_path, module, name, steps):
    for step in range(steps):
        place = tmp_path / f"{name} {step}"
        write_folder(place / "up", "old")
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, module, name, step)
            with pytest.raises(Crash, match=f"{name} {step}"):
                write_folder(place / "up", "new")
        assert content_of(place / "up") in ("old", "new")
        write_folder(place / "up", "later")
        assert content_of(place / "up") == "later"
        assert {p.name for p in (place / "up").iterdir()} == {MARKER, "sub"}


def test_a_crash_of_an_earlier_version_is_repaired_by_the_next_write_even_if_that_fails(tmp_path):
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


@pytest.mark.slow
def test_other_files_stay_through_every_kill_and_leftovers_go(tmp_path):
    folder = tmp_path / "up"
    write_folder(folder, "old")
    (folder / "notes.txt").write_text("mine")
    (folder / "sub" / "more").write_text("mine too")
    contents = []
    while killed(lambda: write_folder(folder, "new"), tmp_path, len(contents)):
        assert (folder / "notes.txt").read_text() == "mine"
        assert (folder / "sub" / "more").read_text() == "mine too"
        contents.append(content_of(folder))
        write_folder(folder, "old")
        assert {p.name for p in folder.iterdir()} == {MARKER, "sub", "notes.txt"}
    assert contents == sorted(contents, reverse=True)  # old until one call, and new from it on
    assert set(contents) == {"old", "new"}
    assert content_of(folder) == "new"


def test_what_an_earlier_write_left_of_its_own_goes_and_what_is_kept_stays(tmp_path):
    folder = tmp_path / "up"
    write_folder(folder, "old")
    for name in ("page.html", "card.md", "shop/table"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("earlier")
    with atomic_folder(folder, marker=MARKER, own=("page.html", "shop", "card.md"), keep=("card.md",)) as temporary:
        (temporary / "shop").mkdir()
        for name in (MARKER, "card.md", "shop/other"):
            (temporary / name).write_text("new")
    assert {p.name for p in folder.rglob("*")} == {"card.md", MARKER, "other", "shop", "sub", "data"}
    assert (folder / "card.md").read_text() == "earlier"


def test_links_to_folders_are_followed_and_links_to_nothing_are_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for content in ("first", "second"):
        write_folder(tmp_path / "link", content)
    assert (tmp_path / "link").is_symlink()
    assert content_of(tmp_path / "real") == "second"
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with pytest.raises(InvalidInput, match=r"dangling is a link to .*nothing, where nothing is"):
        write_folder(tmp_path / "dangling", "new")


def test_a_file_in_the_place_of_a_folder_and_the_other_way_round_are_refused_before_anything_changes(tmp_path):
    write_folder(tmp_path / "up", "old")
    shutil.rmtree(tmp_path / "up" / "sub")
    (tmp_path / "up" / "sub").write_text("mine")
    with pytest.raises(InvalidInput, match="sub is a file; a folder of that name is to be written"):
        write_folder(tmp_path / "up", "new")
    assert (tmp_path / "up" / MARKER).read_text() == "old"
    with pytest.raises(InvalidInput, match="up is a folder; a file is to be written there"):
        write_file(tmp_path / "up", "new")


@pytest.mark.parametrize(
    "listed", ['["../precious.txt"]', '["sub/../../precious.txt"]', '["."]', '["/"]', "[7]", "[", "{}["]
)
def test_a_folder_from_elsewhere_removes_nothing_outside_of_itself(tmp_path, listed):
    precious = tmp_path / "precious.txt"
    precious.write_text("kept")
    write_folder(tmp_path / "folder", "old")
    planted = tmp_path / "folder" / ".embridge-next"
    planted.mkdir()
    (planted / "embridge-obsolete.json").write_text(listed)
    with pytest.raises(InvalidInput, match="is not what a killed writer leaves"), whole_folder(tmp_path / "folder"):
        pass
    assert precious.read_text() == "kept"
    assert (tmp_path / "folder" / MARKER).read_text() == "old"


def test_a_link_within_a_folder_leads_no_writer_out_of_it(tmp_path):
    (tmp_path / "outside").mkdir()
    precious = tmp_path / "outside" / "precious.txt"
    precious.write_text("kept")
    write_folder(tmp_path / "folder", "old")
    shutil.rmtree(tmp_path / "folder" / "sub")
    (tmp_path / "folder" / "sub").symlink_to(tmp_path / "outside")
    planted = tmp_path / "folder" / ".embridge-next"
    (planted / "sub").mkdir(parents=True)
    (planted / "sub" / "precious.txt").write_text("replaced")
    for listed in ("[]", '["sub/precious.txt"]'):
        (planted / "embridge-obsolete.json").write_text(listed)
        with pytest.raises(InvalidInput, match="leads out of"), whole_folder(tmp_path / "folder"):
            pass
    assert precious.read_text() == "kept"


def test_a_file_is_known_by_a_mark_near_its_beginning_or_its_end(tmp_path):
    def refuse(name):
        refuse_foreign_file(tmp_path / name, marks=(b"kind",), what="a report")

    far = b"x" * 200_000
    for name, content in {"empty": b"", "begins": b"kind" + far, "ends": far + b"kind"}.items():
        (tmp_path / name).write_bytes(content)
        refuse(name)
    (tmp_path / "foreign").write_bytes(far + b"kind" + far)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidInput, match="foreign is not a report and is not overwritten"):
        refuse("foreign")
    with pytest.raises(InvalidInput, match="folder is a folder; a report is to be written there"):
        refuse("folder")


def test_a_place_that_cannot_be_written_is_named():
    with pytest.raises(InvalidInput, match=r"/proc/nowhere/a.txt cannot be written"):
        write_file(Path("/proc/nowhere/a.txt"), "new")
    with pytest.raises(InvalidInput, match=r"/proc/nowhere/up cannot be written"):
        write_folder(Path("/proc/nowhere/up"), "new")


def test_a_full_disk_is_named_and_the_earlier_file_stands(tmp_path):
    write_file(tmp_path / "a.txt", "old")
    with pytest.raises(InvalidInput, match=r"a.txt was not written: No space left on device; make room"):
        write_file(tmp_path / "a.txt", "new", OSError(errno.ENOSPC, "full"))
    assert (tmp_path / "a.txt").read_text() == "old"


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path):
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with atomic_file(tmp_path / "a.txt"), atomic_folder(tmp_path / "up", marker=MARKER):
            os.write(ready[1], b"!")
            os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    living = set(tmp_path.iterdir())
    write_file(tmp_path / "a.txt", "new")
    assert len(living) == 2
    assert set(tmp_path.iterdir()) == living | {tmp_path / "a.txt"}
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for end in (*ready, *done):
        os.close(end)
    write_file(tmp_path / "a.txt", "new")
    write_folder(tmp_path / "up", "new")
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt", "up"}


@pytest.mark.slow
def test_a_reader_beside_a_writer_sees_one_write(tmp_path):
    write_folder(tmp_path / "up", "0")
    ended = threading.Event()

    def write():
        for number in range(1, 40):
            write_folder(tmp_path / "up", str(number))
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while not ended.is_set():
        seen.append(int(content_of(tmp_path / "up")))
    writer.join()
    assert seen == sorted(seen)
    assert content_of(tmp_path / "up") == "39"


def belongs(data, description):
    return data.read_text() == description.read_text()


def write_pair(folder, content):
    with atomic_pair(folder / "a.bin", folder / "a.json", belongs=belongs) as (data, description):
        data.write_text(content)
        description.write_text(content)


@pytest.mark.slow
def test_a_pair_is_one_write_through_every_kill(tmp_path):
    def content():
        (matching,) = {p.read_text() for p in descriptions(tmp_path / "a.json") if belongs(tmp_path / "a.bin", p)}
        return matching

    write_pair(tmp_path, "old")
    contents = []
    while killed(lambda: write_pair(tmp_path, "new"), tmp_path, len(contents)):
        contents.append(content())
        killed(
            lambda: write_pair(tmp_path, "later"), tmp_path, len(contents) - 1
        )  # and the one that finds what that has left
        assert content() in (contents[-1], "later")
        write_pair(tmp_path, "old")
        assert {p.name for p in tmp_path.iterdir()} == {"a.bin", "a.json"}
    assert contents == sorted(contents, reverse=True)
    assert set(contents) == {"old", "new"}


def test_a_folder_that_another_writer_took_for_a_leftover_is_made_again(tmp_path, monkeypatch):
    """Between its making and its lock nothing holds it."""
    made, make = [], tempfile.mkdtemp

    def taken_once(**options):
        made.append(make(**options))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", taken_once)
    with temporary_folder(tmp_path / "cache", within=False) as folder:
        assert str(folder) == made[1]
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []
