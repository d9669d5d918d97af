"""XBT's second stage on Flickr8k: how many photos with captions it needs, on cached vectors (no backbone is at hand).

Models, captions and measured photos are those of ``flickr8k``. The pairs are training photos, encoded by the new model
alone; ``with captions`` the training goes on with the captions of stage 1 and both models' vectors of them. ``direct`` maps
are no XBT: they are fitted from the new vectors of the 6,000 photos to the old vectors of their captions, and show what
that supervision is worth to image queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.flickr8k.run import CAPTIONS_EACH, encode, load, truth_of
from benchmarks.protocols.cells import report_rows
from benchmarks.record import read_config, write_result
from embridge import Embeddings, Upgrade
from embridge.evaluation import Relevance, Scope, Side, evaluate
from embridge.methods import Pairs, make
from embridge.training.xbt.cached import Towers, XBTCached

Rows = list[dict[str, Any]]


def finetuned(pairs: Pairs, train: Side, upgrade: Upgrade, case: Mapping[str, Any], *, seed: int) -> Towers:
    """With that many training photos, drawn at random, and all captions of each."""
    photos = np.random.default_rng(seed).permutation(len(train.gallery))[: case["photos"]]
    rows = (photos[:, None] * CAPTIONS_EACH + np.arange(CAPTIONS_EACH)).ravel()
    owners = np.repeat(photos, CAPTIONS_EACH)
    return XBTCached(**case.get("settings", {})).fit(
        renumbered(train.gallery, owners),
        train.queries.take(rows),
        upgrade,
        captions=pairs if case["captions"] else None,
        photos=owners,
        seed=seed,
    )


def renumbered(rows: Embeddings, taken: np.ndarray) -> Embeddings:
    """Some rows, as often as they are named."""
    return Embeddings.of(rows.vectors[taken], rows.space)


def direct(old: Side, new: Side, method: str, seed: int) -> Upgrade:
    """A map from the new vectors of photos to the old vectors of their captions, side by side."""
    owners = np.repeat(np.arange(len(new.gallery)), CAPTIONS_EACH)
    texts = renumbered(old.queries, np.arange(len(owners)))
    return make(method).fit(Pairs(renumbered(new.gallery, owners), texts), seed=seed)


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
    config, rows, data = read_config(Path(__file__).parent.name), [], load("dev")
    truth = truth_of(data["measured"])
    for seed in range(config["seeds"]):
        pairs, sides = encode(data, seed)
        firsts = {}
        for number, name in enumerate(("xbt", "procrustes")):
            began = perf_counter()
            firsts[name] = upgrade = make(name).fit(pairs, seed=seed)
            both, taken = {"t2i": upgrade, "i2t": upgrade}, perf_counter() - began
            named, controls = upgrade.provenance.method, number == 0
            rows += measured(sides["measured"], both, truth, named, seed=seed, seconds=taken, controls=controls)
        for case in config["case"]:
            began = perf_counter()
            made = finetuned(pairs, sides["train"][1], firsts[case.get("first", "xbt")], case, seed=seed)
            towers = {"t2i": made.text, "i2t": made.image}
            taken = perf_counter() - began
            rows += measured(sides["measured"], towers, truth, name_of(case), seed=seed, seconds=taken)
        for method in config["direct"]:
            began = perf_counter()
            towers = {"i2t": direct(*sides["train"], method, seed)}
            taken = perf_counter() - began
            rows += measured(sides["measured"], towers, truth, f"direct {method}", seed=seed, seconds=taken)
    write_result("flickr8k_pairs", config, rows)


def name_of(case: Mapping[str, Any]) -> str:
    extras = [f"{name} {value}" for name, value in case.get("settings", {}).items()]
    extras += ["with captions"] if case["captions"] else []
    extras += [f"on {case['first']}"] if "first" in case else []
    return ", ".join([f"xbt-stage2, {case['photos']:,} photos", *extras])


if __name__ == "__main__":
    main()
