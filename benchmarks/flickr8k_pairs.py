"""XBT's second stage on Flickr8k: how many photos with captions it needs, on cached vectors (no backbone is at hand).

Models, captions and measured photos are those of ``flickr8k.py``. The pairs are training photos, encoded by the new model
alone; ``with captions`` the training goes on with the captions of stage 1 and both models' vectors of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from cells import report_rows
from flickr8k import CAPTIONS_EACH, encode, load, truth_of
from record import read_config, write_result

from embridge import Upgrade
from embridge.evaluation import Relevance, Scope, Side, evaluate
from embridge.methods import Pairs, make
from embridge.training.xbt_cached import Towers, XBTCached

Rows = list[dict[str, Any]]


def finetuned(pairs: Pairs, train: Side, upgrade: Upgrade, count: int, *, captions: bool, seed: int) -> Towers:
    """With that many training photos, drawn at random, and all captions of each."""
    photos = np.random.default_rng(seed).permutation(len(train.gallery))[:count]
    rows = (photos[:, None] * CAPTIONS_EACH + np.arange(CAPTIONS_EACH)).ravel()
    owners = np.repeat(photos, CAPTIONS_EACH)
    return XBTCached().fit(
        train.gallery.take(owners),
        train.queries.take(rows),
        upgrade,
        captions=pairs if captions else None,
        photos=owners,
        seed=seed,
    )


def measured(
    sides: tuple[Side, Side],
    towers: Mapping[str, Upgrade],
    truth: Relevance,
    method: str,
    *,
    seed: int,
    seconds: float,
    controls: bool = False,
) -> Rows:
    """Each direction through the upgrade of the tower that asks."""
    rows: Rows = []
    for direction, upgrade in towers.items():
        asked, right = (sides, truth) if direction == "t2i" else ([s.reversed() for s in sides], truth.inverted())
        report = evaluate(*asked, upgrade, right, scope=Scope(directions=[direction], seed=seed))
        rows += report_rows(report, {"name": method}, seed=seed, seconds=seconds, controls=controls)
    return rows


def main() -> None:
    torch.set_num_threads(1)
    config, rows, data = read_config(Path(__file__).stem), [], load("dev")
    truth = truth_of(data["measured"])
    for seed in range(config["seeds"]):
        pairs, sides = encode(data, seed)
        began = perf_counter()
        upgrade = make("xbt").fit(pairs, seed=seed)
        taken = perf_counter() - began
        both = {"t2i": upgrade, "i2t": upgrade}
        rows += measured(sides["measured"], both, truth, "xbt-stage1", seed=seed, seconds=taken, controls=True)
        for case in config["case"]:
            began = perf_counter()
            made = finetuned(pairs, sides["train"][1], upgrade, case["photos"], captions=case["captions"], seed=seed)
            towers = {"t2i": made.text, "i2t": made.image}
            taken = perf_counter() - began
            name = f"xbt-stage2, {case['photos']:,} photos" + (", with captions" if case["captions"] else "")
            rows += measured(sides["measured"], towers, truth, name, seed=seed, seconds=taken)
    write_result("flickr8k_pairs", config, rows)


if __name__ == "__main__":
    main()
