"""Processes of this machine: every shard once, again where a worker died, and no more at once than they take."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shard_work import Work

from embridge.errors import InvalidInput, MissingExtra, SettingsError, WorkerError
from embridge.scale import EngineSettings, SerialEngine, open_engine
from embridge.scale.local import LocalEngine

SQUARES = [(number, number * number) for number in range(6)]


@pytest.fixture(scope="module")
def engine():
    with LocalEngine(2) as opened:
        yield opened


def test_all_shards_are_done_once_and_workers_stay(engine, tmp_path):
    work = Work(str(tmp_path), odd=0, way="slow")
    done = list(engine.run(work, range(6)))
    assert (sorted(done), done[-1]) == (SQUARES, (0, 0))  # nobody waits for the slow one
    assert sorted(engine.run(work, range(6, 9))) == [(6, 36), (7, 49), (8, 64)]
    assert work.marks("done") == sorted(f"done {number}" for number in range(9))
    assert len(work.marks("prepared")) == 2


@pytest.mark.parametrize("way", ["killed once", "no memory once"])
def test_a_worker_that_dies_costs_its_shard_alone(way, engine, tmp_path):
    work = Work(str(tmp_path), odd=2, way=way)
    assert sorted(engine.run(work, range(6))) == SQUARES
    assert work.marks("began") == sorted(["began 2", *(f"began {number}" for number in range(6))])
    assert work.marks("done") == sorted(f"done {number}" for number in range(6))


def test_shards_that_wait_behind_one_that_kills_are_not_blamed(tmp_path):
    work = Work(str(tmp_path), odd=0, way="killed once")
    with LocalEngine(1, in_flight=3, retries=1) as engine:
        assert sorted(engine.run(work, range(6))) == SQUARES


def test_a_shard_that_kills_every_worker_ends_the_run(tmp_path):
    work = Work(str(tmp_path), odd=1, way="killed")
    with (
        LocalEngine(1, retries=1) as engine,
        pytest.raises(WorkerError, match=r"^1: 2 workers died .*SIGKILL.*memory is short.*batch_rows"),
    ):
        list(engine.run(work, range(3)))
    assert work.marks("began 1") == ["began 1"] * 2


def test_workers_that_are_never_ready_end_the_run(tmp_path):
    with (
        LocalEngine(1, retries=0) as engine,
        pytest.raises(WorkerError, match=r"^1 worker died before .*exit code 7\. Their own"),
    ):
        list(engine.run(Work(str(tmp_path), way="never ready"), [1]))


def test_an_error_names_its_shard(engine, tmp_path):
    with pytest.raises(InvalidInput, match=r"^3: row 7 holds NaN"):
        list(engine.run(Work(str(tmp_path), odd=3, way="refused"), range(6)))
    with pytest.raises(KeyError, match="nothing") as caught:
        list(engine.run(Work(str(tmp_path), odd=3, way="wrong"), range(6)))
    assert "shard_work.py" in "".join(caught.value.__notes__)


def test_shards_are_asked_for_as_workers_get_free(engine, tmp_path):
    asked, most = [], 0

    def shards():
        for number in range(8):
            asked.append(number)
            yield number

    for count, _ in enumerate(engine.run(Work(), shards()), start=1):
        most = max(most, len(asked) - count)
    assert (len(asked), most) == (8, 1)  # beside the one that is done


def test_workers_end_with_whoever_started_them(tmp_path):
    script = (
        "import sys; from shard_work import Work; from embridge.scale.local import LocalEngine\n"
        f"if __name__ == '__main__': print(next(LocalEngine(1).run(Work({str(tmp_path)!r}), [1, 2])), flush=True); input()"
    )
    (tmp_path / "run.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, tmp_path / "run.py"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=environment) as process:
        assert process.stdout.readline() == "(1, 1)\n"
        worker = int(next(tmp_path.glob("prepared*")).name.split("-")[1])
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while _lives(worker) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _lives(worker)


@pytest.mark.parametrize(("logs", "heard"), [(False, ""), (True, "heard\nheard too\n")])
def test_what_workers_print_is_heard_on_request(logs, heard, capfd):
    with LocalEngine(1, logs=logs) as engine:
        list(engine.run(Work(odd=1, way="loud"), [1]))
    out, err = capfd.readouterr()
    assert (out, sorted(err.splitlines())) == ("", sorted(heard.splitlines()))


def test_without_ray_its_extra_is_named_and_all_else_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'embridge\[ray\]'"):
        open_engine("ray:local")
    with open_engine("local") as engine:
        assert list(engine.run(Work(), [3])) == [(3, 9)]


def test_engines_are_opened_by_name():
    assert isinstance(open_engine("local"), SerialEngine)
    assert open_engine("local:3", EngineSettings(retries=5)).retries == 5
    for name in ("local:", "local:0", "local:-1", "local:x", "ray", "ray:", "dask:1"):
        with pytest.raises(SettingsError, match=f"such as ray:10.0.0.1:6379; came {name}$"):
            open_engine(name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": 0},
        {"cpus": 0},
        {"in_flight": 0},
        {"retries": -1},
        {"gpus": -1.0},
        {"gpus": float("nan")},
        {"memory_gb": -1.0},
    ],
)
def test_settings_are_in_range(wrong):
    with pytest.raises(InvalidInput, match=f"{next(iter(wrong))}.* came"):
        EngineSettings(**wrong)


def _lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
