"""How long XBT takes: 100,000 cached caption pairs of 768 and 512 dimensions, by hidden width, on one thread.

The default settings are run to their end (early stopping off, so that the figure is the longest it can take); the
other widths for a few steps, with next to no captions held out.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np
import torch

from benchmarks.data.planted import make_pairs
from benchmarks.record import read_config, row, write_result
from embridge.methods import Training
from embridge.methods.xbt import XBT


def main() -> None:
    torch.set_num_threads(1)
    config = read_config("fit_speed")
    pairs = make_pairs(config["pairs"], config["d_new"], config["d_old"])
    began = perf_counter()
    whole = XBT(training=Training(patience=1_000)).fit(pairs)
    setting = {"hidden_width": XBT().hidden_width}
    rows = [
        row("xbt-stage1", "seconds", [perf_counter() - began], setting=setting),
        row("xbt-stage1", "samples_per_second", [whole.provenance.figures["samples_per_second"]], setting=setting),
    ]
    for width in config["widths"]:
        short = XBT(hidden_width=width, training=Training(epochs=1, min_steps=1, validation_fraction=1e-6)).fit(
            pairs.take(np.arange(config["steps"] * 1_024))
        )
        rate = short.provenance.figures["samples_per_second"]
        rows.append(row("xbt-stage1, some steps", "samples_per_second", [rate], setting={"hidden_width": width}))
    write_result("fit_speed", config, rows)


if __name__ == "__main__":
    main()
