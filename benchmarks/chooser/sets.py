"""The sets that the chooser is judged on: pairs of models, pairs of items drawn by a seed, and queries that judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from benchmarks.data import flickr8k, lvis, photos
from benchmarks.data.cifar100 import Part
from benchmarks.data.texts import load_collection, load_intents
from benchmarks.models.frozen import lsa, minilm, mobilenet_parts, paraphrase, static_words
from benchmarks.protocols.text_queries import text_report
from embridge import Embeddings, Space, Upgrade
from embridge.evaluation import LabelRelevance, Relevance, Report, Scope, Side, evaluate
from embridge.methods import Pairs

__all__ = ["Draw", "JudgedSet", "judged_sets"]

AnyRelevance = Relevance | LabelRelevance


@dataclass(frozen=True)
class Draw:
    """The pairs of one seed; ``judge`` measures upgrades of these models: one report of all, or one of each, by name."""

    pairs: Pairs
    judge: Callable[[Mapping[str, Upgrade]], Report | dict[str, Report]]


@dataclass(frozen=True)
class JudgedSet:
    """A pair of models on one data set, the metric that judges it, and what is searched by what."""

    data: str
    old: str
    new: str
    metric: str
    draw: Callable[[int], Draw] = field(repr=False)
    searches: tuple[str, ...] = ("alike",)


def judged_sets(config: Mapping[str, Any], data: Sequence[str]) -> Iterator[JudgedSet]:
    """Those of these data sets."""
    for name in data:
        yield from SETS[name](config)


def _texts(name: str, config: Mapping[str, Any]) -> Iterator[JudgedSet]:
    if name == "banking77":
        (queries, query_intents), (documents, intents) = load_intents()
        relevance: AnyRelevance = LabelRelevance(query_intents, intents)
    else:
        documents, queries, relevance = load_collection(name)
    lsa_of = partial(lsa, fitted=list(documents.values()), dim=config["lsa_dim"])
    encoders = {"model2vec": static_words, "paraphrase-minilm-l3": paraphrase, "lsa": lsa_of}
    new = _text_side("minilm-l6", minilm, queries, documents)
    metric = "cmc_at_1" if name == "banking77" else "ndcg_at_10"
    for model in config["text_models"]:
        old = _text_side(model, encoders[model], queries, documents)
        scope = Scope(metrics=[metric], directions=[""])
        draw = partial(_share, old=old, new=new, relevance=relevance, scope=scope, share=config["fitted_share"])
        yield JudgedSet(name, model, "minilm-l6", metric, draw)


def _text_side(model: str, encoder: Any, queries: Mapping[str, str], documents: Mapping[str, str]) -> Side:
    rows = [encoder(list(texts.values())) for texts in (queries, documents)]
    space = Space(model, "", rows[0].shape[1])
    return Side(*(Embeddings.of(r, space, list(texts)) for r, texts in zip(rows, (queries, documents), strict=True)))


def _share(seed: int, *, old: Side, new: Side, relevance: AnyRelevance, scope: Scope, share: float) -> Draw:
    """A share of the gallery as pairs."""
    pairs = _drawn(Pairs(new.gallery, old.gallery), round(share * len(old.gallery)), seed)
    return Draw(pairs, partial(_report, old=old, new=new, relevance=relevance, scope=scope))


def _drawn(pairs: Pairs, count: int, seed: int) -> Pairs:
    return pairs.take(np.sort(np.random.default_rng(seed).permutation(len(pairs))[:count]))


def _report(upgrades: Mapping[str, Upgrade], *, old: Side, new: Side, relevance: AnyRelevance, scope: Scope) -> Report:
    """Cells NAME/old of all upgrades."""
    first = next(iter(upgrades.values()))
    own = Scope(
        metrics=scope.metrics,
        directions=scope.directions,
        controls=dict(upgrades),
        unjudged=scope.unjudged,
        seed=scope.seed,
    )
    return evaluate(old, new, first, relevance, scope=own)


def _flickr8k(config: Mapping[str, Any]) -> Iterator[JudgedSet]:
    data = flickr8k.load("dev")
    relevance = flickr8k.relevance_of(data["measured"])

    def draw(seed: int) -> Draw:
        pairs, sides = flickr8k.encode(data, seed)
        (old, new), scope = sides["measured"], Scope(metrics=["recall_at_10"])
        drawn = _drawn(pairs, round(config["fitted_share"] * len(pairs)), seed)
        return Draw(drawn, partial(_report, old=old, new=new, relevance=relevance, scope=scope))

    yield JudgedSet("flickr8k", "mobilenet + lsa", "mobilenet + minilm", "recall_at_10", draw, ("t2i", "i2t"))


def _lvis(config: Mapping[str, Any]) -> Iterator[JudgedSet]:
    loaded = lvis.load(config["lvis_models"])
    for model, new in loaded.new.items():

        def draw(seed: int, new: Embeddings = new) -> Draw:
            order = np.random.default_rng(seed).permutation(len(new))
            seen, unseen = order[: config["lvis_names"]], order[config["lvis_names"] :]
            queries = loaded.old.take(unseen), new.take(unseen)
            pairs = Pairs(new.take(seen), loaded.old.take(seen))
            return Draw(
                pairs,
                lambda upgrades: {n: text_report(u, queries, loaded.gallery, seed=seed) for n, u in upgrades.items()},
            )

        yield JudgedSet("lvis", "openai-clip-b32", model, "recall_at_1", draw, ("t2i",))


def _photos(config: Mapping[str, Any]) -> Iterator[JudgedSet]:
    images, captions, split = photos.load()
    parts = {part: [name for name in images if split[name] == part] for part in ("train", "dev")}
    relevance = photos.same_scene(captions, parts["train"], parts["dev"], config["share_of_pairs"])
    scope = Scope(metrics=["recall_at_1"], directions=[""], unjudged="skip")
    for models in config["photo_upgrades"]:
        old, new = (mobilenet_parts(model, images, parts) for model in models)
        sides = {"old": Side(old["dev"], old["dev"]), "new": Side(new["dev"], new["dev"])}
        pairs = Pairs(new["train"], old["train"])
        draw = partial(
            _of_pairs, pairs, config["photo_pairs"], partial(_report, relevance=relevance, scope=scope, **sides)
        )
        yield JudgedSet("photos", *models, "recall_at_1", draw)


def _of_pairs(pairs: Pairs, count: int, judge: Callable[..., Report], seed: int) -> Draw:
    return Draw(_drawn(pairs, count, seed), judge)


def _cifar100(config: Mapping[str, Any]) -> Iterator[JudgedSet]:
    train, test = (Part.load(name, config[f"{name}_per_class"]) for name in ("train", "test"))
    images = dict(zip(_ids(train), train.images, strict=True)) | dict(zip(_ids(test), test.images, strict=True))
    models = ("mobilenet-v1-0.25", "mobilenet-v2-1.0")
    old, new = (mobilenet_parts(model, images, {p.name: _ids(p) for p in (train, test)}) for model in models)
    labels = dict(zip(_ids(test), test.classes, strict=True))
    sides = {"old": Side(old["test"], old["test"]), "new": Side(new["test"], new["test"])}
    scope = Scope(metrics=["cmc_at_1"], directions=[""])
    judge = partial(_report, relevance=LabelRelevance(labels, labels), scope=scope, **sides)
    pairs = Pairs(new["train"], old["train"])
    draw = partial(_of_pairs, pairs, round(config["fitted_share"] * len(pairs)), judge)
    yield JudgedSet("cifar100", *models, "cmc_at_1", draw)


def _ids(part: Part) -> list[str]:
    return [f"{part.name}-{i}" for i in range(len(part.images))]


SETS: dict[str, Callable[[Mapping[str, Any]], Iterator[JudgedSet]]] = {
    **{name: partial(_texts, name) for name in ("cranfield", "vaswani", "banking77")},
    "flickr8k": _flickr8k,
    "lvis": _lvis,
    "photos": _photos,
    "cifar100": _cifar100,
}
