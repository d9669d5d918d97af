"""Every way a command can end: its exit code, one line on stderr, and nothing that a terminal would obey."""

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

from embridge import Embeddings, Space, errors
from embridge.cli import _app, app
from embridge.cli._endings import EXIT_CODES, Terminated, endings
from embridge.cli._terminal import print_lines, print_table
from embridge.jobs import rollout
from embridge.vector_files import write_vectors

FAULT = "this is a fault of embridge, please report it; with EMBRIDGE_TRACEBACK=1"


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def ending(error):
    with pytest.raises(typer.Exit) as caught, endings():
        raise error
    return caught.value.exit_code


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (errors.EmbridgeError("no"), 1, "error: no"),
        (errors.InvalidInput("row 3:\n  blank"), 1, "error: row 3: blank"),
        (errors.SettingsError("no"), 2, "error: no"),
        (errors.MissingSetting("no"), 2, "error: no"),
        (errors.GateRefused("no"), 3, "error: no"),
        (errors.SpaceMismatch("no"), 4, "error: no"),
        (errors.WrongDirection("no"), 4, "error: no"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a/b.npy"),
            1,
            "error: [Errno 28] No space left on device: 'a/b.npy'",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "a"), 1, "error: [Errno 13] Permission denied: 'a'"),
        (MemoryError(), 1, "error: the memory is full; use smaller batches or fewer items"),
        (KeyboardInterrupt(), 130, "interrupted: what was written before is whole; run the same command again"),
        (Terminated(), 143, "terminated: what was written before is whole; run the same command again"),
        (KeyError("x"), 1, f"error: KeyError: 'x' ({FAULT} in the environment the same command shows where it lies)"),
        (RecursionError("too\ndeep"), 1, "error: RecursionError: too deep ("),
        (
            errors.InvalidInput("\x1b]8;;http://a\x07b \u202ec \udcff"),
            1,
            r"error: \x1b]8;;http://a\x07b \u202ec \udcff",
        ),
    ],
)
def test_an_error_is_a_line_and_a_code(capsys, error, code, line):
    assert ending(error) == code
    (shown,) = capsys.readouterr().err.splitlines()
    assert shown.startswith(line)
    assert shown == line or line.endswith("(")


@pytest.mark.parametrize("error", [typer.Exit(7), typer.Abort(), typer.BadParameter("no")])
def test_what_typer_raises_is_left_to_it(error):
    with pytest.raises(type(error)) as caught, endings():
        raise error
    assert caught.value is error


def test_a_reader_that_has_gone_is_no_error(capsys):
    assert ending(BrokenPipeError(errno.EPIPE, "Broken pipe")) == 141
    assert capsys.readouterr().err == ""


def test_the_traceback_is_shown_where_it_is_asked_for(capsys, monkeypatch):
    monkeypatch.setenv("EMBRIDGE_TRACEBACK", "1")
    assert ending(errors.SettingsError("no")) == 2
    lines = capsys.readouterr().err.splitlines()
    assert (lines[0], lines[-1]) == ("Traceback (most recent call last):", "error: no")


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(command.callback.__name__ for command in app.registered_commands))
def test_no_command_shows_a_traceback(monkeypatch, tmp_path, command):
    """Whatever goes wrong where no one thought of it."""
    monkeypatch.chdir(tmp_path)
    given = {
        "search": ("a", "b"),
        "demo": (),
        "adopt": ("lancedb:a", "--encoder", "clip:b"),
        "import_file": ("a", "b"),
        "translate": ("lancedb:a", "b"),
        "complete": ("a", "--drop-old", "--yes"),
    }.get(command, ("a",))

    def broken(*_, **__):
        raise ZeroDivisionError("unforeseen")

    for module, name in (
        ("embridge.jobs.demo", "run_demo"),
        ("embridge.jobs.inspect", "inspect_path"),
        ("embridge.settings", "load_settings"),
        ("embridge.settings.training", "load_training_settings"),
        ("embridge.jobs.report", "show_report"),
        ("embridge.jobs.adopt", "adopt_index"),
        ("embridge.jobs.search", "search_queries"),
        ("embridge.jobs.export", "export_upgrade"),
        ("embridge.jobs.import_vectors", "import_vectors"),
        ("embridge.jobs.translate", "translate_store"),
        ("embridge.settings.serve", "load_serve_settings"),
        *(("embridge.jobs.rollout", name) for name in rollout.__all__ if name.islower()),
    ):
        monkeypatch.setattr(f"{module}.{name}", broken)
    done = run("import" if command == "import_file" else command, *given)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: ZeroDivisionError: unforeseen ({FAULT}")
    assert len(done.stderr.splitlines()) == 1


def test_sigterm_is_handled_within_a_command_alone():
    before = signal.getsignal(signal.SIGTERM)

    def terminate():
        with endings():
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    with pytest.raises(typer.Exit) as caught:
        terminate()
    assert caught.value.exit_code == EXIT_CODES["terminated"] == 143
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Vectors of two models, with and without a space, and an upgrade."""
    folder = tmp_path_factory.mktemp("project")
    for side in ("old", "new"):
        rows = np.random.default_rng(len(side)).normal(size=(60, 4)).astype(np.float32)
        np.save(folder / f"{side}-bare.npy", rows)
        write_vectors(Embeddings.of(rows, Space(side, "", 4)), folder / f"{side}.npy")
    (folder / "judged.csv").write_text("text,image\n" + "".join(f"{i},{i}\n" for i in range(50)))
    (folder / "other.csv").write_text("q,d\n1,2\n")
    (folder / "a-file").write_text("")
    assert run("fit", settings(folder)).exit_code == 0
    return folder


def settings(folder, text="", **changes):
    sides = {side: dict.fromkeys(("captions", "queries", "gallery"), f"{side}.npy") for side in ("old", "new")}
    whole = sides | {"fit": {"method": "procrustes"}, "evaluate": {"judged": "judged.csv"}} | changes
    path = folder / "settings.yaml"
    path.write_text(text or yaml.safe_dump(whole))
    return path


BARE = {side: {"captions": f"{side}-bare.npy"} for side in ("old", "new")}
BY_LABELS = {"vectors": "old.npy", "labels": "judged.csv"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "changes", "code", "message"),
    [
        ("fit", BARE, 2, "does not say of which model its 4-d vectors are; name it with space="),
        ("fit", {"fit": {"metod": "xbt"}}, 2, "fit.metod: there is no such key; did you mean method?"),
        ("fit", {"fit": {"method": "ridge", "settings": {"penalty": "x"}}}, 2, "ridge: penalty"),
        ("fit", {"upgrade": "a-file"}, 1, "a-file is a file"),
        ("fit", {"old": {"captions": "none.npy"}}, 2, "none.npy does not exist"),
        ("evaluate", {"evaluate": {"judged": "other.csv"}}, 2, "expected columns text and image"),
        ("evaluate", {"evaluate": {"labels": "judged.csv"}}, 2, "expected columns"),
        ("evaluate", {"evaluate": {"judged": "judged.csv", "clicks": "n"}}, 2, "has no column 'n'"),
        ("evaluate", {"evaluate": {"judged": "none.csv"}}, 2, "none.csv does not exist"),
        ("evaluate", {"upgrade": "nowhere"}, 1, "is not an upgrade"),
        ("evaluate", {"evaluate": {"judged": "judged.csv", "gates": ["recall_at_1 new/old >= 1.1"]}}, 3, "gate"),
        ("evaluate", {"old": dict.fromkeys(("queries", "gallery"), "new.npy")}, 4, "expected vectors of"),
        ("train", {}, 2, "there is no such key"),
        ("train", {"text": "data: {vectors: old-bare.npy, labels: l.npy}\nobjective: independent"}, 2, "l.npy does not exist"),
    ],
)  # fmt: skip
def test_settings_end_as_documented(project, command, changes, code, message):
    done = run(command, settings(project, **changes))
    assert (done.exit_code, message in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("inspect", "none.npy"), 1),
        (("inspect", "old.npy", "--check-index", "3"), 2),
        (("inspect", "a-file"), 1),
        (("report", "none.json"), 1),
        (("report", "judged.csv"), 1),
        (("report", "judged.csv", "--json", "--markdown"), 2),
        (("export", "upgrade"), 2),
        (("export", "a-file", "--onnx", "x.onnx"), 1),
        (("search", "none", "q"), 1),
        (("demo", "--out", "a-file"), 1),
        (("inspect",), 2),
        (("--nothing",), 2),
    ],
)
def test_arguments_end_as_documented(project, monkeypatch, arguments, code):
    monkeypatch.chdir(project)
    done = run(*arguments)
    assert done.exit_code == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


HOSTILE = "a\x1b[31mb\x1b]8;;http://x\x07c\nd\u202ee[bold]f[/bold]"


def test_tables_and_lines_print_nothing_that_a_terminal_obeys(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")  # so that nothing is wrapped
    print_table(["id", HOSTILE], [[HOSTILE, "\udcff"]], title=HOSTILE)
    print_lines(HOSTILE)
    printed = capsys.readouterr().out
    assert printed.count(r"a\x1b[31mb\x1b]8;;http://x\x07c\nd\u202ee[bold]f[/bold]") == 4
    assert r"\udcff" in printed
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\udcff]", printed)


def test_a_warning_is_one_plain_line(capsys):
    _app._show_warning(UserWarning("rows\n 3 \x1b[2J"))
    assert capsys.readouterr().err == "warning: rows 3 \\x1b[2J\n"


PROGRAM = """
import sys, typer
from embridge.cli import _app
@_app.app.command("long")
def long(kind: str) -> None:
    if kind == "crash":
        import ctypes
        ctypes.string_at(0)
    print("\\u00b1 \\u732b " * (1 if kind == "signs" else 100_000))
sys.argv[0] = "embridge"
_app.main()
"""


def start(kind, *, stdout=subprocess.PIPE, **environment):
    source = os.pathsep.join(path for path in sys.path if path)
    known = {key: value for key, value in os.environ.items() if key != "EMBRIDGE_CHECK_SHAPES"}
    command = [sys.executable, "-c", PROGRAM, "long", kind]
    return subprocess.Popen(
        command, stdout=stdout, stderr=subprocess.PIPE, env=known | {"PYTHONPATH": source} | environment
    )


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["ascii", "full", "head", "crash"])
def test_output_that_cannot_be_written_as_it_is(trouble):
    """In processes of their own, since it is about how Python ends."""
    if trouble == "ascii":
        done = start("signs", PYTHONIOENCODING="ascii")
        assert (*done.communicate(), done.returncode) == (b"\\xb1 \\u732b \n", b"", 0)
    elif trouble == "full":
        with Path("/dev/full").open("wb") as full:
            done = start("signs", stdout=full)
            assert done.communicate()[1] == b"error: the output cannot be written: [Errno 28] No space left on device\n"
        assert done.returncode == 1
    elif trouble == "head":
        done = start("many")
        assert done.stdout.read(3)
        done.stdout.close()
        with done.stderr:
            assert (done.stderr.read(), done.wait()) == (b"", 141)
    else:
        done = start("crash")
        stderr = done.communicate()[1]
        assert done.returncode == -signal.SIGSEGV
        assert stderr.startswith(b"Fatal Python error: Segmentation fault")
