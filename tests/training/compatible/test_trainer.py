"""What compatible training takes, what it refuses, and what it ends as."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from labelled_glyphs import KNOWN, QUICK, SCRIPTS, items, network, old, old_encoder
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from embridge import Embeddings, Space, Upgrade
from embridge.adapters.base import normalized
from embridge.backbones.embedding import UnitLength
from embridge.backbones.saved import TrainedModel
from embridge.backbones.vectors import VectorHead
from embridge.encoders.trained import TrainedEncoder
from embridge.errors import InvalidInput, SettingsError
from embridge.testing import check_encoder
from embridge.training.compatible.held_out_items import HeldOut, nearest_is_right
from embridge.training.compatible.image_data import ImageArrays
from embridge.training.compatible.labelled import LabelledVectors, Rows, hold_out
from embridge.training.compatible.old_models import old_model, old_vectors
from embridge.training.compatible.trainer import CompatibleTraining
from embridge.training.lightning.run import Run
from embridge.training.objectives.bct import BCT, BCTSettings
from embridge.training.objectives.bt2 import BT2, BT2Settings
from embridge.training.objectives.independent import Independent, IndependentSettings
from embridge.training.objectives.l2 import L2
from embridge.training.objectives.oca import OCA

pytestmark = pytest.mark.slow  # what its models need is trained for all

SHORT = replace(QUICK, epochs=1)
FROZEN = Space("frozen", "1", 256)


def bct(**settings):
    known = old()
    torch.manual_seed(0)
    return BCT(known, len(SCRIPTS), BCTSettings(prototype_scale=10.0, **settings))


@pytest.fixture(scope="module")
def trained():
    return replace(QUICK, epochs=8).fit(items("train"), network(8), bct())


@pytest.fixture(scope="module")
def pixels():
    """The pixels themselves, as vectors of a frozen model."""
    train, test = (items(part).batch(np.arange(len(items(part))))[:, 0].flatten(1) for part in ("train", "test"))
    return [
        LabelledVectors(x.float().numpy() / 255, items(p).labels, SCRIPTS)
        for p, x in (("train", train), ("test", test))
    ]


# What it ends as


def test_new_queries_find_more_than_chance_among_old_rows(trained):
    test = items("test")
    new, before = trained.encoder(device="cpu").encode(test.images, modality="image"), old_vectors(test, old_encoder())
    assert nearest_is_right(new, before, test.labels) > 0.3
    naive = replace(QUICK, epochs=8).fit(
        items("train"), network(8, seed=5), Independent(None, len(SCRIPTS), IndependentSettings(dim=8))
    )
    rows = naive.encoder(device="cpu").encode(test.images, modality="image")
    assert nearest_is_right(new, before, test.labels) > nearest_is_right(rows, before, test.labels) + 0.05


def test_the_encoder_keeps_the_contract(trained):
    check_encoder(trained.encoder(device="cpu"), image_items=items("test").images[:5])


def test_it_is_saved_and_loaded_whole(trained, tmp_path):
    folder = trained.save(tmp_path / "new", old=old_encoder().space)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors", "upgrade"]
    encoder, upgrade = TrainedEncoder(folder, device="cpu"), Upgrade.load(folder / "upgrade")
    images = items("test").images[:9]
    np.testing.assert_array_equal(
        encoder.encode(images, modality="image"), trained.encoder(device="cpu").encode(images, modality="image")
    )
    assert encoder.space == trained.space == upgrade.new_space
    assert encoder.provenance["data"] == upgrade.provenance.data == trained.provenance.data
    rows = Embeddings.of(encoder.encode(images, modality="image"), encoder.space)
    assert upgrade.to_index_space(rows).space == old_encoder().space


def test_the_provenance_says_how_to_make_it_again(trained):
    provenance = trained.provenance
    assert (provenance.method, provenance.seed) == ("bct", 0)
    assert provenance.settings["training"]["augment"] == {"crop_padding": 1, "flip": 0.0, "padding_mode": "constant"}
    assert provenance.settings["objective"]["weight"] == 10.0
    assert provenance.settings["objective"]["to_old.scale"] == 10.0
    assert provenance.settings["backbone"] == {"kind": "small-resnet", "feature_dim": 8, "width": 8, "depth": 8}
    assert provenance.data.startswith("500 images of 5 classes, ")
    assert {"torch", "lightning", "kornia", "embridge"} <= set(provenance.versions)
    assert provenance.figures["steps"] == 80


def test_another_name_is_another_space(trained):
    named = replace(SHORT, name="glyphs").fit(items("train"), network(8), bct())
    assert named.space.model == "glyphs"
    assert trained.space.model == "bct-small-resnet"


def test_an_upgrade_on_an_index_of_another_dim_is_refused(trained):
    with pytest.raises(SettingsError, match="was trained beside vectors of 8 dims, came other"):
        trained.upgrade(Space("other", "1", 4))
    with pytest.raises(SettingsError, match="its upgrade has no source but itself"):
        trained.upgrade(old_encoder().space, source=FROZEN)
    with pytest.raises(SettingsError, match="was trained on images: encode them"):
        trained.embed(np.ones((1, 8), np.float32))


# A head alone


@pytest.mark.parametrize("hidden_width", [0, 32])
@pytest.mark.parametrize("kind", [BCT, OCA])
def test_a_head_alone_becomes_the_head_of_the_upgrade(pixels, kind, hidden_width, tmp_path):
    train, test = pixels
    known = old()
    torch.manual_seed(0)
    objective = kind(known, len(SCRIPTS))
    head = VectorHead(256, objective.feature_dim, hidden_width=hidden_width)
    trained = replace(SHORT, epochs=4).fit(train, head, objective)
    assert trained.provenance.method == f"{kind.__name__.lower()}-head-only"
    assert trained.provenance.data.startswith("500 vectors of 5 classes")
    upgrade = Upgrade.load(trained.upgrade(old_encoder().space, source=FROZEN).save(tmp_path / "up"))
    rows = upgrade.head(Embeddings.of(test.vectors, FROZEN))
    assert rows.space == trained.space
    np.testing.assert_allclose(normalized(rows.vectors), trained.embed(test.vectors), atol=1e-5)
    assert upgrade.to_index_space(Embeddings.of(test.vectors, FROZEN)).space == old_encoder().space


def test_a_head_alone_needs_the_space_it_is_a_head_of(pixels):
    trained = SHORT.fit(pixels[0], VectorHead(256, 8), bct())
    for source in (None, Space("other", "1", 3)):
        with pytest.raises(SettingsError, match="was trained on vectors of 256 dims: give the space"):
            trained.upgrade(old_encoder().space, source=source)
    with pytest.raises(SettingsError, match="was trained on vectors of a frozen model, not on images"):
        trained.encoder()


def test_bt2_on_vectors_gives_rows_but_no_head(pixels):
    known = old()
    torch.manual_seed(0)
    objective = BT2(known, len(SCRIPTS), BT2Settings(extra=2), paragon=torch.ones(500, 10))
    trained = SHORT.fit(pixels[0], VectorHead(256, objective.feature_dim), objective)
    assert trained.embed(pixels[1].vectors).shape == (200, 12)
    with pytest.raises(SettingsError, match=r"its embedding .basis-change. is no adapter"):
        trained.upgrade(old_encoder().space, source=FROZEN)


# How it trains


def test_held_out_items_are_scored_and_the_best_kept():
    data, held = hold_out(items("train"), 0.3, seed=0)
    before = old_vectors(held, old_encoder())
    known = old_model(data, old_encoder(), known=KNOWN)
    torch.manual_seed(0)
    settings = replace(QUICK, epochs=6, checks=4, keep="best", batch_size=35)
    trained = settings.fit(data, network(8), BCT(known, len(SCRIPTS)), held_out=HeldOut(held, before))
    figures = trained.provenance.figures
    scores = figures["held_out_scores"]
    assert len(scores) == 5
    new = trained.encoder(device="cpu").encode(held.items(np.arange(len(held))), modality="image")
    score = HeldOut(held, before).score(new, normalized(new))
    assert score == pytest.approx(max(scores), abs=0.02)
    assert figures["best_step"] in (0, *[round(60 * i / 4) for i in range(1, 5)])


def test_an_average_is_what_it_ends_with():
    runs = {}
    for ema in (None, 0.5):
        backbone = network(8)
        replace(SHORT, ema=ema).fit(items("train"), backbone, bct())
        runs[ema] = backbone.last.weight.detach()
    apart = (runs[None] - runs[0.5]).abs().max()
    assert 1e-4 < apart < 0.5


def test_bfloat16_trains_too():
    trained = replace(QUICK, precision="bf16-mixed").fit(items("train"), network(8), bct())
    losses = trained.provenance.figures["losses"]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_any_module_is_a_backbone(tmp_path):
    def make():
        return nn.Sequential(nn.Conv2d(3, 6, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    trained = SHORT.fit(items("train"), make(), bct())
    assert trained.model.backbone.width == 6
    folder = trained.save(tmp_path / "own")
    images = items("test").images[:4]
    loaded = TrainedEncoder(folder, device="cpu", network=make())
    np.testing.assert_array_equal(
        loaded.encode(images, modality="image"), trained.encoder(device="cpu").encode(images, modality="image")
    )
    with pytest.raises(SettingsError, match="a network is given for the kind 'own'"):
        TrainedEncoder(folder, device="cpu")


def test_gradients_are_clipped():
    start = network(8).last.weight.detach()
    moved = {}
    for clip in (None, 1e-6):
        backbone = network(8)
        settings = replace(SHORT, optimizer="sgd", gradient_clip=clip, weight_decay=0.0)
        settings.fit(items("train"), backbone, bct())
        moved[clip] = (backbone.last.weight.detach() - start).abs().max()
    assert moved[1e-6] < 1e-5 < moved[None]


def test_loggers_are_told_the_terms(tmp_path):
    held = HeldOut(items("test"))
    replace(SHORT, checks=2).fit(
        items("train"), network(8), bct(), held_out=held, run=Run(loggers=[CSVLogger(tmp_path, name="log")])
    )
    header, *rows = next(tmp_path.rglob("metrics.csv")).read_text().splitlines()
    assert {"loss", "classification", "compatibility", "held_out_score", "step"} <= set(header.split(","))
    assert len(rows) >= 10


def test_nothing_is_printed_and_the_random_state_is_left_alone(capfd):
    objective = bct()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    steps = []
    SHORT.fit(items("train"), network(8), objective, run=Run(progress=lambda *step: steps.append(step)))
    assert capfd.readouterr() == ("", "")
    assert steps[-1] == (10, 10, "bct steps")
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


# What cannot be trained


def test_parts_that_do_not_fit_are_refused(pixels):
    data = items("train")
    with pytest.raises(SettingsError, match="BCT takes features of 8 dims, and the backbone gives 9"):
        SHORT.fit(data, network(9), bct())
    with pytest.raises(SettingsError, match="the items are vectors, and this backbone takes images"):
        SHORT.fit(pixels[0], network(8), bct())
    with pytest.raises(SettingsError, match="batch_size 501 is more than the 500 items"):
        replace(SHORT, batch_size=501).fit(data, network(8), bct())
    with pytest.raises(SettingsError, match="keep='best' needs held_out items"):
        replace(SHORT, keep="best").fit(data, network(8), bct())
    with pytest.raises(SettingsError, match="Linear does not take"):
        SHORT.fit(data, nn.Linear(5, 8), bct())
    other = ImageArrays(np.zeros((4, 8, 8), np.uint8), np.arange(4))
    with pytest.raises(SettingsError, match="held-out items of side 8 beside items of side 16"):
        SHORT.fit(data, network(8), bct(), held_out=HeldOut(other))


def test_an_objective_of_other_rows_is_refused():
    known = old()
    with pytest.raises(InvalidInput, match="L2 holds old_embeddings of 500 rows, and there are 100 items"):
        SHORT.fit(Rows(items("train"), np.arange(100)), network(8), L2(known, len(SCRIPTS)))


def test_a_loss_that_is_not_finite_is_named():
    data = items("train")
    with pytest.raises(InvalidInput, match=r"step \d+: the loss is .*lower the learning rate"):
        replace(SHORT, learning_rate=1e38, optimizer="sgd").fit(data, network(8), bct())


def test_an_objective_that_embeds_otherwise_than_it_says_is_refused():
    class Scaled(BCT):
        def embed(self, features):
            return 2 * features

    known = old()
    with pytest.raises(SettingsError, match=r"Scaled: embedding\(\) does not give what embed\(\) does"):
        SHORT.fit(items("train"), network(8), Scaled(known, len(SCRIPTS)))


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(SettingsError, match="run cannot be a folder: a file is in the way"):
        SHORT.fit(items("train"), network(8), bct(), run=Run(folder=tmp_path / "run"))


def test_a_missing_library_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(ImportError, match=r"lightning is needed here .*pip install 'embridge\[train\]'"):
        SHORT.fit(items("train"), network(8), bct())


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"checkpoint_every_steps": 0},
        {"devices": 0},
        {"workers": -1},
        {"checks": -1},
        {"learning_rate": float("nan")},
        {"weight_decay": -1.0},
        {"momentum": 1.0},
        {"warmup_fraction": 1.0},
        {"gradient_clip": 0.0},
        {"ema": 1.0},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(SettingsError, match=f"training: {next(iter(settings))} is"):
        CompatibleTraining(**settings)


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize("what", ["optimizer", "precision", "keep", "schedule"])
def test_unknown_names_are_refused(what):
    with pytest.raises(SettingsError, match=f"{what} is .*came 'other'"):
        CompatibleTraining(**{what: "other"})


def test_a_model_of_pixels_and_a_backbone_of_vectors_do_not_go_together():
    with pytest.raises(SettingsError, match="a backbone of images came with the pixels None"):
        TrainedModel("x", network(8), UnitLength(), dim=8)
