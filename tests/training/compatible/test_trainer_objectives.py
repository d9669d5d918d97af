"""Every objective trains end to end, and ends in an upgrade that can be measured."""

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from labelled_glyphs import OLD_DIM, QUICK, SCRIPTS, items, network, old, old_encoder
from objective_table import OBJECTIVES

from embridge import Embeddings, Upgrade
from embridge.encoders import load
from embridge.evaluation import LabelRelevance, Scope, Side, evaluate
from embridge.training.objectives import OBJECTIVES as RECORDS
from embridge.training.objectives.base import Objective
from embridge.training.objectives.independent import Independent, IndependentSettings
from embridge.training.objectives.ndpp import NDPP

FAST = ("bct", "ndpp")


@pytest.fixture(scope="module")
def toy():
    """What an objective is made of, as in its contract; the paragon is trained alone."""
    torch.manual_seed(0)
    paragon = QUICK.fit(
        items("train"), network(10, seed=2), Independent(None, len(SCRIPTS), IndependentSettings(dim=10))
    )
    rows = paragon.encoder(device="cpu").encode(items("train").images, modality="image")
    return SimpleNamespace(
        old=old(), classes=len(SCRIPTS), labels=torch.from_numpy(items("train").labels), paragon=torch.from_numpy(rows)
    )


@pytest.fixture(scope="module")
def fitted(toy):
    """The objective, the network and what was trained of them, once for each name."""

    @cache
    def fit(name):
        torch.manual_seed(0)
        objective: Objective = OBJECTIVES[name](toy)
        backbone = network(objective.feature_dim)
        return objective, backbone, QUICK.fit(items("train"), backbone, objective)

    return fit


def side(encoder, data):
    rows = encoder.encode(data.images, modality="image")
    ids = [f"item {row}" for row in range(len(data))]
    return Side(*[Embeddings.of(rows, encoder.space, ids)] * 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_a_model_keeps_of_an_objective_embeds_as_it_does(name, toy):
    objective = OBJECTIVES[name](toy)
    features = torch.randn(20, objective.feature_dim, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(objective.embedding()(features), objective.embed(features), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in RECORDS])
def test_the_loss_falls_and_the_report_has_its_cells(name, fitted, tmp_path):
    _, _, trained = fitted(name)
    losses = np.array(trained.provenance.figures["losses"])
    assert losses[-5:].mean() < losses[:5].mean()
    folder = trained.save(tmp_path / "new", old=old_encoder().space)
    encoder, upgrade = load(f"trained:{folder}", device="cpu"), Upgrade.load(folder / "upgrade")
    assert (upgrade.new_space, upgrade.old_space) == (encoder.space, old_encoder().space)
    data = items("test")
    relevance = LabelRelevance(*[{f"item {row}": SCRIPTS[c] for row, c in enumerate(data.labels)}] * 2)
    scope = Scope(metrics=["recall_at_1"], directions=["images"])
    figures = evaluate(side(old_encoder(), data), side(encoder, data), upgrade, relevance, scope=scope).figures()[
        "images"
    ]
    assert set(figures) == {"old/old", "new/old", "new/new", "naive"}
    assert figures["new/new"]["recall_at_1"] > 0.3  # a fifth by chance


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["bct", *(pytest.param(n, marks=pytest.mark.slow) for n in ("oca", "bt2", "bc-aligner"))]
)
def test_the_bridge_of_the_model_is_that_of_the_objective(name, fitted):
    """What the saved parts make of images is what `comparable` makes of the objective's own embeddings."""
    objective, backbone, trained = fitted(name)
    rows = trained.encoder(device="cpu").encode(items("test").images, modality="image")
    bridged = trained.upgrade(old_encoder().space).bridge.apply(rows)
    with torch.no_grad():
        pixels = trained.model.pixels.scaled(items("test").batch(np.arange(len(items("test")))))
        expected = objective.comparable(objective.embed(backbone(pixels))).numpy()
    lengths = np.linalg.norm(bridged, axis=1, keepdims=True)
    np.testing.assert_allclose(bridged / lengths, expected, atol=1e-4)
    assert bridged.shape[1] == OLD_DIM


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.25, 1.0])
def test_what_is_refreshed_is_asked_of_a_share_of_each_class(toy, share):
    refreshed = []

    class Watched(NDPP):
        def begin_epoch(self, epoch, epochs, embedded):
            rows, labels = embedded()
            refreshed.append(labels.bincount(minlength=len(SCRIPTS)).tolist())
            assert rows.shape == (len(labels), self.embedding_dim)
            assert rows.any(dim=1).all()
            super().begin_epoch(epoch, epochs, lambda: (rows, labels))

    torch.manual_seed(0)
    objective = Watched(toy.old, toy.classes)
    objective.refresh_share = share
    replace(QUICK, epochs=2).fit(items("train"), network(objective.feature_dim), objective)
    assert refreshed
    counts = np.bincount(items("train").labels, minlength=len(SCRIPTS))
    assert all(epoch == np.ceil(share * counts).tolist() for epoch in refreshed)
