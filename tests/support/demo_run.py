"""The demo as the README tells one to run it, once for all tests, whichever of their processes asks first."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from embridge import load_report, summarise
from embridge.evaluation.statistics import Interval
from embridge.jobs.demo import DemoResult
from embridge.jobs.demo._live import ANSWERED_BY, Live, Step


@dataclass(frozen=True)
class DemoRun:
    """The folder it was run in, and what it printed."""

    folder: Path
    stdout: str
    stderr: str

    @property
    def out(self):
        return self.folder / "embridge-demo"

    @property
    def result(self):
        """What it found, from what it wrote."""
        (seconds,) = (line.split()[1] for line in self.stdout.splitlines() if line.startswith("seconds "))
        return DemoResult(summarise(load_report(self.out / "report.json")), self.live, self.out, float(seconds))

    @property
    def live(self):
        """The way of the live index, as the terminal has it: three digits, and no intervals."""
        served = {words: name for name, words in ANSWERED_BY.items()}
        row = rf"^ *(prepared|bridged|backfilling|rolled back) +({'|'.join(served)}) +(\d+)% +([\d.]+) *$"
        steps = [
            Step(state, served[words], 10 * int(percent), Interval(*[float(value)] * 3))
            for state, words, percent, value in re.findall(row, self.stdout, re.MULTILINE)
        ]
        return Live(1_000, 400, tuple(steps), Interval(0, 0, 0), 0)


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "demo-run"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            folder.mkdir()
            program = Path(sys.executable).with_name("embridge")
            done = subprocess.run([program, "demo"], cwd=folder, capture_output=True, text=True, check=False)
            (folder / "stdout.txt").write_text(done.stdout)
            (folder / "stderr.txt").write_text(done.stderr)
    stdout, stderr = ((folder / f"{name}.txt").read_text() for name in ("stdout", "stderr"))
    assert (folder / "embridge-demo").exists(), stderr
    return DemoRun(folder, stdout, stderr)
