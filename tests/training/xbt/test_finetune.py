import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from kills import exit_code
from lightning.pytorch.loggers import CSVLogger
from transformers import AutoModel

from embridge import Embeddings, Upgrade
from embridge.adapters import Composed, Identity, Linear
from embridge.adapters.base import normalized
from embridge.datasets import glyph_models, glyphs
from embridge.datasets.image_text import ImageTextPairs
from embridge.encoders import CachedEncoder, load
from embridge.encoders.clip import ClipEncoder
from embridge.errors import InvalidInput, SettingsError, SpaceMismatch, WrongDirection
from embridge.methods import Pairs
from embridge.methods.procrustes import Procrustes
from embridge.nearest import top_k
from embridge.progress import silent
from embridge.testing import check_encoder
from embridge.training.lightning.run import Run
from embridge.training.xbt.finetune import XBTFinetune

pytestmark = pytest.mark.slow  # what its models need is trained for all

FULL = XBTFinetune(
    rank=4, batch_size=32, chunk_size=16, epochs=1, learning_rate=1e-3, checks=2, validation_fraction=0.2
)  # twelve steps of all pairs
QUICK = replace(FULL, batch_size=16, chunk_size=8)  # five of some


def some(pairs, n=100):
    return pairs.take(np.arange(n))


@pytest.fixture(scope="module")
def trained(pairs, new, mlp_upgrade, tmp_path_factory):
    return FULL.fit(pairs, new, mlp_upgrade, run=Run(folder=tmp_path_factory.mktemp("finetuned")))


@pytest.fixture(scope="module")
def quick(pairs, new, mlp_upgrade):
    return QUICK.fit(some(pairs), new, mlp_upgrade)


@pytest.fixture(scope="module")
def trained_encoder(trained):
    return load(f"clip:{glyph_models.folder('new')}", device="cpu", batch_size=256, lora=trained.lora)


# What must hold


def test_the_upgrade_is_of_the_model_with_the_lora(trained, trained_encoder, new, mlp_upgrade):
    assert trained.provenance.figures["best_step"] > 0
    assert trained.new_space == trained_encoder.space != new.space
    assert trained.old_space == mlp_upgrade.old_space
    assert trained.new_space.recipe.startswith(f"{new.space.recipe}; lora ")
    assert {trained.provenance.method, trained.direction, trained.bridge.kind} == {"xbt-stage2", "backward", "mlp"}


def test_the_encoder_and_the_upgrade_are_as_they_were(trained, new, mlp_upgrade, held_out):
    fresh = ClipEncoder(glyph_models.folder("new"), device="cpu", batch_size=256)
    for items, modality in ((held_out.captions, "text"), (held_out.images, "image")):
        np.testing.assert_array_equal(new.encode(items, modality=modality), fresh.encode(items, modality=modality))
    assert not any("lora" in name for name, _ in new.model.named_modules())
    assert mlp_upgrade.lora is None


def test_with_the_adapters_off_the_vectors_are_those_without_a_lora(trained_encoder, new, held_out):
    layers = [m for m in trained_encoder.model.modules() if isinstance(m, peft.tuners.tuners_utils.BaseTunerLayer)]
    assert len(layers) == 12
    with_lora = trained_encoder.encode(held_out.images, modality="image")
    for layer in layers:
        layer.enable_adapters(False)
    try:
        for items, modality in ((held_out.captions, "text"), (held_out.images, "image")):
            without_lora = new.encode(items, modality=modality)
            np.testing.assert_array_equal(trained_encoder.encode(items, modality=modality), without_lora)
    finally:
        for layer in layers:
            layer.enable_adapters(True)
    assert np.abs(with_lora - without_lora).max() > 1e-4


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_plain_peft_gives_the_same_vectors(trained, trained_encoder, held_out):
    base = AutoModel.from_pretrained(glyph_models.folder("new")).float()
    model = peft.PeftModel.from_pretrained(base, trained.lora).eval().base_model.model
    pixels = torch.from_numpy(held_out.images[:, None].astype(np.float32) / 255 * 2 - 1)
    with torch.inference_mode():
        out = model.get_image_features(pixel_values=pixels)
    rows = normalized(getattr(out, "pooler_output", out).numpy())
    np.testing.assert_allclose(rows, trained_encoder.encode(held_out.images, modality="image"), atol=1e-5)


def test_the_encoder_with_a_lora_keeps_the_contract(trained_encoder, held_out):
    check_encoder(trained_encoder, text_items=held_out.captions[:5], image_items=held_out.images[:5])


def test_the_old_model_is_not_needed(pairs, caption_pairs, new, tmp_path):
    """The old model's folder, from which the bridge was fitted, is gone before the finetuning begins."""
    folder = shutil.copytree(glyph_models.folder("old"), tmp_path / "old")
    names = list(caption_pairs.new.ids)[:500]
    gone = ClipEncoder(folder, device="cpu", batch_size=256)
    sides = [Embeddings.of(e.encode(names, modality="text"), e.space, names) for e in (new, gone)]
    Procrustes().fit(Pairs(*sides)).save(tmp_path / "fitted")
    shutil.rmtree(folder)
    upgrade = QUICK.fit(some(pairs), new, Upgrade.load(tmp_path / "fitted"))
    assert (upgrade.old_space, upgrade.provenance.figures["steps"]) == (gone.space, 5)


@pytest.fixture(scope="module")
def without_captions(pairs, new, linear_upgrade):
    return QUICK.fit(some(pairs), new, linear_upgrade)


def test_captions_of_the_bridge_take_part_unless_their_weight_is_0(
    pairs, caption_pairs, new, linear_upgrade, without_captions
):
    def fit(method, captions):
        return method.fit(some(pairs), new, linear_upgrade, captions=captions)

    with_them, without = fit(QUICK, caption_pairs), without_captions
    assert with_them.provenance.data.endswith(f"; {len(caption_pairs)} captions, {caption_pairs.fingerprint}")
    assert with_them.provenance.figures["held_out_scores"] != without.provenance.figures["held_out_scores"]
    unweighted = fit(replace(QUICK, neighbour_weight=0.0), caption_pairs)
    assert unweighted.provenance.data == without.provenance.data
    assert unweighted.provenance.figures["held_out_scores"] == without.provenance.figures["held_out_scores"]


def test_captions_of_another_bridge_are_refused(pairs, caption_pairs, new, mlp_upgrade):
    with pytest.raises(SpaceMismatch, match="the old side of the captions"):
        QUICK.fit(some(pairs), new, mlp_upgrade, captions=caption_pairs)


def test_it_is_saved_and_loaded_whole(trained, trained_encoder, held_out, tmp_path):
    loaded = Upgrade.load(trained.save(tmp_path / "up"))
    assert loaded.lora == tmp_path / "up" / "lora"
    encoder = ClipEncoder(glyph_models.folder("new"), device="cpu", batch_size=256, lora=loaded.lora)
    rows = Embeddings.of(encoder.encode(held_out.images, modality="image"), encoder.space)
    expected = trained.bridge.apply(trained_encoder.encode(held_out.images, modality="image"))
    np.testing.assert_array_equal(loaded.to_index_space(rows).vectors, expected)


def test_a_linear_bridge_stays_linear(without_captions):
    assert without_captions.bridge.kind == "linear"


def test_where_no_step_helps_it_is_the_upgrade_that_came(pairs, new, mlp_upgrade):
    """Steps far too long only do harm."""
    upgrade = replace(QUICK, learning_rate=10.0, projection_learning_rate=10.0, warmup_fraction=0).fit(
        some(pairs), new, mlp_upgrade
    )
    figures = upgrade.provenance.figures
    assert figures["best_step"] == 0
    assert max(figures["held_out_scores"]) == figures["held_out_scores"][0]
    assert (upgrade.lora, upgrade.new_space, upgrade.bridge) == (None, new.space, mlp_upgrade.bridge)


def test_figures_and_data_say_where_it_comes_from(trained, pairs):
    provenance = trained.provenance
    assert (provenance.figures["stage_1"], provenance.figures["stage_1_data"]) == ("hand", "none")
    assert provenance.data == f"{len(pairs)} image-text pairs, {pairs.fingerprint}"
    scores = provenance.figures["held_out_scores"]
    assert len(scores) == 3
    assert (
        max(scores) == scores[provenance.figures["best_step"] // (provenance.figures["steps"] // 2)] > scores[0] + 0.01
    )


def test_held_out_characters_are_found_no_worse_than_before(old, new, xbt_upgrade):
    """Characters that no training saw, queries of the new model on the gallery of the old one, both directions."""
    drawn = glyphs.render(glyphs.split()["validation"])
    few = ImageTextPairs(drawn.captions, drawn.images).take(np.arange(0, len(drawn.captions), 3))
    method = XBTFinetune(learning_rate=1e-3, batch_size=128, chunk_size=0, checks=2, validation_fraction=0.2)
    upgrade = method.fit(few, new, xbt_upgrade)
    tuned = ClipEncoder(glyph_models.folder("new"), device="cpu", batch_size=256, lora=upgrade.lora)
    test = glyphs.render(glyphs.split()["test"], one_each=True)
    before, after = recalls(old, new, xbt_upgrade, test), recalls(old, tuned, upgrade, test)
    assert upgrade.provenance.figures["best_step"] > 0
    assert after["i2t"] > before["i2t"]
    assert after["t2i"] >= before["t2i"] - 0.005


def recalls(old, encoder, upgrade, test):
    texts, images = (
        normalized(upgrade.bridge.apply(encoder.encode(items, modality=modality)))
        for items, modality in ((test.captions, "text"), (test.images, "image"))
    )
    old_texts, old_images = (
        old.encode(items, modality=modality) for items, modality in ((test.captions, "text"), (test.images, "image"))
    )
    rows = np.arange(len(test.captions))[:, None]
    found = {"t2i": top_k(texts, old_images, 10).rows, "i2t": top_k(images, old_texts, 10).rows}
    return {direction: (hits == rows).any(axis=1).mean() for direction, hits in found.items()}


# The loop


def bytes_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


DROPOUT = replace(QUICK, lora_dropout=0.2, checkpoint_every_steps=2)


class Stopped(Exception):
    pass


def stop_at(step, error=Stopped):
    def progress(done, total, what):
        if done == step:
            raise error

    return progress


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(pairs, new, mlp_upgrade, whole, tmp_path):
    for seed in (0, 1):
        DROPOUT.fit(some(pairs), new, mlp_upgrade, seed=seed).save(tmp_path / f"{seed}")
    again, another = (bytes_of(tmp_path / f"{seed}") for seed in (0, 1))
    assert again == whole
    assert another["upgrade.json"] != whole["upgrade.json"]


@pytest.fixture(scope="module")
def uninterrupted(pairs, new, mlp_upgrade, tmp_path_factory):
    """A run that nothing stopped, and the folder of its checkpoints."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    return DROPOUT.fit(some(pairs), new, mlp_upgrade, run=Run(folder=folder)), folder


@pytest.fixture(scope="module")
def whole(uninterrupted, tmp_path_factory):
    """The bytes of its upgrade."""
    folder = uninterrupted[0].save(tmp_path_factory.mktemp("whole") / "up")
    assert "lora/adapter_model.safetensors" in bytes_of(folder)
    return bytes_of(folder)


def test_a_run_with_captions_goes_on_to_the_same_bytes(pairs, caption_pairs, new, linear_upgrade, tmp_path):
    def fit(folder, progress=silent):
        return DROPOUT.fit(
            some(pairs), new, linear_upgrade, captions=caption_pairs, run=Run(folder=folder, progress=progress)
        )

    with pytest.raises(Stopped):
        fit(tmp_path / "stopped", stop_at(3))
    resumed, whole = fit(tmp_path / "stopped"), fit(tmp_path / "whole")
    assert resumed.provenance.figures == whole.provenance.figures
    assert bytes_of(tmp_path / "stopped" / "lora") == bytes_of(tmp_path / "whole" / "lora")
    for part, array in whole.bridge.weights().items():
        np.testing.assert_array_equal(array, resumed.bridge.weights()[part])


@pytest.mark.parametrize("step", [1, *(pytest.param(step, marks=pytest.mark.slow) for step in (2, 5))])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(pairs, new, mlp_upgrade, tmp_path, step, whole):
    calls = []
    with pytest.raises(Stopped):
        DROPOUT.fit(some(pairs), new, mlp_upgrade, run=Run(folder=tmp_path / "run", progress=stop_at(step)))
    resumed = DROPOUT.fit(
        some(pairs), new, mlp_upgrade, run=Run(folder=tmp_path / "run", progress=lambda done, *_: calls.append(done))
    )
    assert bytes_of(resumed.save(tmp_path / "resumed")) == whole
    assert calls == list(range((step - 1) // 2 * 2 + 1, 6))  # from the last checkpoint, every two steps, written after


def test_a_killed_process_goes_on_to_the_same_bytes(pairs, new, mlp_upgrade, tmp_path, whole):
    def progress(done, *_):
        if done == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    run = Run(folder=tmp_path / "run", progress=progress)
    assert exit_code(lambda: DROPOUT.fit(some(pairs), new, mlp_upgrade, run=run)) == -signal.SIGKILL
    calls = []
    resumed = DROPOUT.fit(
        some(pairs), new, mlp_upgrade, run=Run(folder=tmp_path / "run", progress=lambda done, *_: calls.append(done))
    )
    assert calls == [3, 4, 5]
    assert bytes_of(resumed.save(tmp_path / "resumed")) == whole


def test_a_finished_run_is_read_again(pairs, new, mlp_upgrade, uninterrupted):
    calls = []
    one, folder = uninterrupted
    two = DROPOUT.fit(
        some(pairs), new, mlp_upgrade, run=Run(folder=folder, progress=lambda done, *_: calls.append(done))
    )
    assert calls == []
    assert (one.provenance, one.new_space) == (two.provenance, two.new_space)


def test_a_checkpoint_holds_what_is_learnt_and_no_more(uninterrupted):
    file = uninterrupted[1] / "last.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    assert checkpoint["state_dict"] == {}
    learnt = checkpoint["embridge"]["learnt"]
    assert {name.partition(".")[0] for name in learnt} == {"base_model", "bridge"}
    assert all("lora_" in name or name.startswith("bridge.") for name in learnt)
    assert file.stat().st_size < 6 * sum(4 * p.numel() for p in learnt.values())


@pytest.fixture(scope="module")
def stopped(pairs, new, mlp_upgrade, tmp_path_factory):
    """The folder of a run that was stopped; another run changes nothing in it."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Stopped):
        DROPOUT.fit(some(pairs), new, mlp_upgrade, run=Run(folder=folder, progress=stop_at(3)))
    return folder


@pytest.mark.parametrize("change", ["settings", "seed", "pairs", "upgrade"])
def test_the_checkpoint_of_another_run_is_refused(pairs, new, mlp_upgrade, linear_upgrade, stopped, change):
    before = bytes_of(stopped)
    method = replace(DROPOUT, rank=2) if change == "settings" else DROPOUT
    with pytest.raises(InvalidInput, match=r"last\.ckpt is of another training .*choose another folder, or remove it"):
        method.fit(
            some(pairs, 101 if change == "pairs" else 100),
            new,
            linear_upgrade if change == "upgrade" else mlp_upgrade,
            seed=1 if change == "seed" else 0,
            run=Run(folder=stopped),
        )
    assert bytes_of(stopped) == before


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_refused(pairs, new, mlp_upgrade, tmp_path, content):
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"last\.ckpt is truncated, altered or no checkpoint of ours .*remove it"):
        DROPOUT.fit(some(pairs), new, mlp_upgrade, run=Run(folder=tmp_path))


class Harm:
    def __reduce__(self):
        return (Path.touch, (Path("harm"),))


def test_a_pickle_is_not_run(pairs, new, mlp_upgrade, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"embridge": Harm()}, tmp_path / "last.ckpt")
    with pytest.raises(InvalidInput, match="truncated, altered or no checkpoint of ours"):
        DROPOUT.fit(some(pairs), new, mlp_upgrade, run=Run(folder=tmp_path))
    assert not (tmp_path / "harm").exists()


def test_an_interruption_stays_one_and_can_come_again(pairs, new, mlp_upgrade):
    handler = signal.getsignal(signal.SIGINT)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            QUICK.fit(some(pairs), new, mlp_upgrade, run=Run(progress=stop_at(1, KeyboardInterrupt)))
        assert signal.getsignal(signal.SIGINT) is handler
    assert not any("lora" in name for name, _ in new.model.named_modules())


def test_nothing_is_printed_and_the_random_state_is_left_alone(pairs, new, mlp_upgrade, capfd):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    QUICK.fit(some(pairs), new, mlp_upgrade)
    assert capfd.readouterr() == ("", "")
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_loggers_are_told_the_terms_and_the_score(pairs, new, mlp_upgrade, tmp_path):
    QUICK.fit(some(pairs), new, mlp_upgrade, run=Run(loggers=[CSVLogger(tmp_path, name="log")]))
    header, *rows = next(tmp_path.rglob("metrics.csv")).read_text().splitlines()
    assert {"loss", "image_to_old_text", "image_to_text", "keep", "held_out_score", "step"} <= set(header.split(","))
    assert len(rows) >= 5


def test_batches_prepared_by_other_processes_are_the_same(quick, pairs, new, mlp_upgrade):
    other = replace(QUICK, workers=1).fit(some(pairs), new, mlp_upgrade)
    assert bytes_of(other.lora) == bytes_of(quick.lora)


@pytest.mark.parametrize("chunk_size", [0, 5])
def test_chunks_change_nothing_but_rounding(quick, pairs, new, mlp_upgrade, chunk_size):
    upgrade = replace(QUICK, chunk_size=chunk_size).fit(some(pairs), new, mlp_upgrade)
    scores, expected = (u.provenance.figures["held_out_scores"] for u in (upgrade, quick))
    assert scores[0] not in scores[1:]
    np.testing.assert_allclose(scores, expected, atol=2e-3)


def test_bfloat16_trains_too(pairs, new, mlp_upgrade):
    start, *scores = (
        replace(QUICK, precision="bf16-mixed").fit(some(pairs), new, mlp_upgrade).provenance.figures["held_out_scores"]
    )
    np.testing.assert_allclose(scores, start, atol=0.1)
    assert start not in scores


# What cannot be trained


@pytest.mark.usefixtures("as_in_production")
def test_an_encoder_of_texts_alone_is_refused(caption_pairs, pairs, mlp_upgrade):
    with pytest.raises(SettingsError, match=r"trains a dual encoder of text and images .*came a CachedEncoder"):
        QUICK.fit(pairs, CachedEncoder(text=caption_pairs.new), mlp_upgrade)


def test_a_forward_upgrade_is_refused(pairs, new, linear_upgrade):
    space, old = linear_upgrade.new_space, linear_upgrade.old_space
    bridge = Linear(old, space, np.eye(old.dim, space.dim, dtype=np.float32))
    forward = Upgrade(Identity(space, space), bridge, linear_upgrade.provenance, "forward")
    with pytest.raises(WrongDirection, match="trains on a backward upgrade"):
        QUICK.fit(pairs, new, forward)


def test_an_upgrade_of_another_space_is_refused(pairs, old, mlp_upgrade):
    with pytest.raises(SpaceMismatch, match="the encoder to train with this upgrade: expected vectors of new@"):
        QUICK.fit(pairs, old, mlp_upgrade)


def test_a_lora_on_a_lora_is_refused(trained, trained_encoder, pairs):
    with pytest.raises(SettingsError, match="there is a LoRA already; start from an upgrade"):
        QUICK.fit(pairs, trained_encoder, trained)


def test_other_heads_and_bridges_are_refused(pairs, new, linear_upgrade):
    space, old = linear_upgrade.new_space, linear_upgrade.old_space
    turn = Linear(space, space, np.eye(space.dim, dtype=np.float32))
    with pytest.raises(SettingsError, match="without a head of its own, came linear"):
        QUICK.fit(pairs, new, Upgrade(turn, linear_upgrade.bridge, linear_upgrade.provenance))
    middle = Upgrade(Identity(space, space), Composed([turn, linear_upgrade.bridge]), linear_upgrade.provenance)
    with pytest.raises(SettingsError, match="only a linear or an mlp bridge can be trained on, came composed"):
        QUICK.fit(pairs, new, middle)
    assert old == middle.old_space


def test_a_batch_larger_than_the_pairs_is_refused(pairs, new, mlp_upgrade):
    with pytest.raises(SettingsError, match=r"batch_size 256 is more than the \d+ pairs there are to train on"):
        XBTFinetune().fit(some(pairs), new, mlp_upgrade)


def test_too_few_to_hold_out_are_refused(pairs, new, mlp_upgrade):
    with pytest.raises(InvalidInput, match="only one photo would be held out"):
        replace(QUICK, validation_fraction=0.001, batch_size=8).fit(some(pairs), new, mlp_upgrade)


def test_a_file_in_the_place_of_the_folder_is_refused(pairs, new, mlp_upgrade, tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(SettingsError, match="run cannot be a folder: a file is in the way"):
        QUICK.fit(some(pairs), new, mlp_upgrade, run=Run(folder=tmp_path / "run"))


def test_an_unreadable_image_is_named(new, mlp_upgrade, pairs):
    captions = [f"{a} {b}" for a in "abcdefgh" for b in "abcdefgh"]
    missing = ImageTextPairs(captions, [f"no-such-{i}.png" for i in range(64)])
    with pytest.raises(InvalidInput, match=r"image 0 \(no-such-\d+\.png\) cannot be read"):
        replace(QUICK, batch_size=8).fit(missing, new, mlp_upgrade)


@pytest.mark.parametrize(("module", "extra"), [("lightning", "finetune"), ("peft", "finetune")])
def test_a_missing_library_is_named_with_the_extra(module, extra, pairs, new, mlp_upgrade, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{module} is needed here .*pip install 'embridge\[{extra}\]'"):
        QUICK.fit(pairs, new, mlp_upgrade)


@pytest.mark.parametrize(
    "settings",
    [
        {"rank": 0},
        {"epochs": 0},
        {"batch_size": 1},
        {"chunk_size": -1},
        {"checks": 0},
        {"checkpoint_every_steps": 0},
        {"workers": -1},
        {"lora_alpha": 0.0},
        {"learning_rate": float("nan")},
        {"temperature": 0.0},
        {"projection_learning_rate": -1.0},
        {"weight_decay": float("inf")},
        {"keep_weight": -0.1},
        {"lora_dropout": 1.0},
        {"warmup_fraction": -0.1},
        {"validation_fraction": 0.0},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(SettingsError, match=f"finetune: .*{next(iter(settings))}"):
        XBTFinetune(**settings)


@pytest.mark.usefixtures("as_in_production")
def test_an_unknown_precision_is_refused():
    with pytest.raises(SettingsError, match="precision is auto, 32-true or bf16-mixed, came 'float16'"):
        XBTFinetune(precision="float16")
