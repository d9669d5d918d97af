"""The demo's own measurement: two tiny CLIPs on 1,000 held-out characters, the map fitted from names alone."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from benchmarks.protocols.cells import report_rows
from benchmarks.record import read_config, write_result
from embridge.evaluation import load_report
from embridge.jobs.demo import run_demo


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        result = run_demo(Path(folder) / "demo")
        report = load_report(result.files["report"])
    method = {"name": "xbt-stage1"}
    rows = report_rows(report, method, seed=0, seconds=result.seconds, controls=True)
    write_result("glyphs", read_config("glyphs"), rows)


if __name__ == "__main__":
    main()
