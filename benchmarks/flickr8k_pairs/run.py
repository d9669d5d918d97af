"""XBT's finetuning on Flickr8k: how many photos with captions it needs, on cached vectors (no backbone is at hand).

Models, captions and measured photos are those of ``flickr8k``. The pairs are training photos, encoded by the new model
alone; ``with captions`` the training goes on with the captions of the bridge and both models' vectors of them. ``direct`` maps
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

from benchmarks.data.flickr8k import CAPTIONS_EACH, encode, load, relevance_of
from benchmarks.protocols.finetuning import Trial, bridge_trial, finetuned_trial, repeated, trial_rows
from benchmarks.record import read_config, write_result
from embridge.evaluation import Relevance, Side
from embridge.methods import Pairs, make

NAME = Path(__file__).parent.name


def direct(old: Side, new: Side, method: str, seed: int) -> Trial:
    """A map from the new vectors of photos to the old vectors of their captions, side by side."""
    began = perf_counter()
    owners = np.repeat(np.arange(len(new.gallery)), CAPTIONS_EACH)
    texts = repeated(old.queries, np.arange(len(owners)))
    upgrade = make(method).fit(Pairs(repeated(new.gallery, owners), texts), seed=seed)
    return Trial(f"direct {method}", {"i2t": upgrade}, perf_counter() - began)


def measured(data: dict[str, Any], relevance: Relevance, config: Mapping[str, Any], seed: int) -> list[dict[str, Any]]:
    pairs, sides = encode(data, seed)
    photos = sides["train"][1]
    firsts = {name: bridge_trial(pairs, name, seed=seed) for name in ("xbt", "procrustes")}
    trials = list(firsts.values())
    for case in config["case"]:
        first = firsts[case.get("first", "xbt")]
        trials.append(finetuned_trial(pairs, photos, first, case, seed=seed, name=name_of(case)))
    trials += [direct(*sides["train"], method, seed) for method in config["direct"]]
    return [
        row
        for number, trial in enumerate(trials)
        for row in trial_rows(trial, sides["measured"], relevance, seed=seed, controls=number == 0)
    ]


def name_of(case: Mapping[str, Any]) -> str:
    extras = [f"{name} {value}" for name, value in case.get("settings", {}).items()]
    extras += ["with captions"] if case["captions"] else []
    extras += [f"on {case['first']}"] if "first" in case else []
    return ", ".join([f"xbt-stage2, {case['photos']:,} photos", *extras])


def main() -> None:
    torch.set_num_threads(1)
    config, data = read_config(NAME), load("dev")
    relevance = relevance_of(data["measured"])
    rows = [row for seed in range(config["seeds"]) for row in measured(data, relevance, config, seed)]
    write_result(NAME, config, rows)


if __name__ == "__main__":
    main()
