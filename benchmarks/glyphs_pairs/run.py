"""XBT's finetuning with the backbone: LoRA in both towers of the new glyph model, trained on drawn characters.

The pairs are renderings of training characters, drawn at random for each seed; all figures are of the 1,000 held-out
characters that no model and no training saw. ``new`` is the new model as it came, ``with LoRA`` what the training makes
of it: how well either finds its own images by its own texts is what a LoRA keeps or costs. Settings, and the weights of
fused queries, were chosen on the 500 validation characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from benchmarks.protocols.cells import report_rows
from benchmarks.protocols.fusions import with_fusions
from benchmarks.record import read_config, write_result
from embridge import Embeddings, Upgrade, search
from embridge.datasets import glyph_models, glyphs
from embridge.datasets.image_text import ImageTextPairs
from embridge.encoders.clip import ClipEncoder
from embridge.evaluation import MORE_CELLS, Relevance, Scope, Side, evaluate
from embridge.methods import Pairs, make
from embridge.training.xbt.finetune import XBTFinetune

Rows = list[dict[str, Any]]


def model(which: str, lora: Path | None = None) -> ClipEncoder:
    return ClipEncoder(glyph_models.folder(which), device="cpu", batch_size=256, lora=lora)


def side(encoder: ClipEncoder, drawn: glyphs.Glyphs) -> Side:
    texts, images = (
        Embeddings.of(encoder.encode(items, modality=modality), encoder.space, drawn.ids)
        for items, modality in ((drawn.captions, "text"), (drawn.images, "image"))
    )
    return Side(texts, images)


def captions_of(old: ClipEncoder, new: ClipEncoder) -> Pairs:
    """The names of the training characters, as both models see them."""
    names = [glyphs.caption(c) for c in glyphs.split()["train"]]
    return Pairs(*(Embeddings.of(e.encode(names, modality="text"), e.space, names) for e in (new, old)))


def drawn_pairs() -> ImageTextPairs:
    """Every rendering of the training characters."""
    drawn = glyphs.render(glyphs.split()["train"])
    return ImageTextPairs(drawn.captions, drawn.images)


def relevance_of(side: Side) -> Relevance:
    """A name's own picture is right for it."""
    return Relevance.from_pairs((i, i) for i in side.queries.ids)


def own_recall(side: Side, bridge: Upgrade | None, direction: str) -> float:
    """Recall at 10 of one model's queries among its own rows, or of both after the bridge."""
    queries, gallery = (x if bridge is None else bridge.to_index_space(x) for x in (side.queries, side.gallery))
    queries, gallery = (queries, gallery) if direction == "t2i" else (gallery, queries)
    hits = search(queries, gallery, 10).ids
    return sum(i in row for i, row in zip(queries.ids, hits, strict=True)) / len(hits)


def measured(
    sides: Mapping[str, Side], upgrade: Upgrade, name: str, *, seed: int, seconds: float, controls: bool
) -> Rows:
    """On the old index; among rows that the bridge writes (``added``); and the model alone, with its LoRA (``self``)."""
    relevance, judged = relevance_of(sides["old"]), (sides["old"], sides["asking"])
    scope = Scope(seed=seed, cells=tuple(MORE_CELLS) if controls else ())
    new = replace(judged[1], without_lora=sides["new"])
    report = evaluate(judged[0], new, upgrade, relevance, scope=scope)
    if controls:
        support = sides["old support"], sides["new support"]
        support = (*support, relevance_of(support[0]))
        report = with_fusions(report, judged, upgrade, relevance, support=support, metric="mrr_at_10")
    rows = report_rows(report, {"name": name}, seed=seed, seconds=seconds, controls=controls)
    for cell, bridge in (("added", upgrade), ("self", None)):
        for direction in ("t2i", "i2t"):
            value = own_recall(sides["asking"], bridge, direction)
            row = {"method": name, "seed": seed, "setting": {}, "cell": cell, "direction": direction}
            rows.append(row | {"metric": "recall_at_10", "value": value, "low": value, "high": value})
    return rows


def main() -> None:
    torch.set_num_threads(1)
    config, rows = read_config(Path(__file__).parent.name), []
    old, new = model("old"), model("new")
    captions, pairs = captions_of(old, new), drawn_pairs()
    test, support = (glyphs.render(glyphs.split()[part], one_each=True) for part in ("test", "validation"))
    sides = {"old": side(old, test), "new": side(new, test)}
    sides |= {"old support": side(old, support), "new support": side(new, support)}
    for seed in range(config["seeds"]):
        order = np.random.default_rng(seed).permutation(len(pairs))
        for number, first in enumerate(config["first"]):
            began = perf_counter()
            bridge = make(first["make"]).fit(captions, seed=seed)
            seconds = perf_counter() - began
            judged = sides | {"asking": sides["new"]}
            rows += measured(judged, bridge, first["name"], seed=seed, seconds=seconds, controls=number == 0)
            for case in (c for c in config["case"] if c["on"] == first["make"]):
                method = XBTFinetune(**config["finetune"] | case.get("settings", {}))
                drawn = pairs.take(order[: case["pairs"]])
                began = perf_counter()
                texts = captions if case["captions"] else None
                upgrade = method.fit(drawn, model("new"), bridge, captions=texts, seed=seed)
                seconds = perf_counter() - began
                judged = sides | {"asking": side(model("new", upgrade.lora), test)}
                rows += measured(judged, upgrade, case["name"], seed=seed, seconds=seconds, controls=False)
    write_result("glyphs_pairs", config, rows)


if __name__ == "__main__":
    main()
