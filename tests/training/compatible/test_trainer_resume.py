"""A training that was stopped or killed goes on to the bytes of one that was not."""

import os
import signal
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from kills import exit_code
from labelled_glyphs import QUICK, SCRIPTS, items, network, old

from embridge.errors import InvalidInput
from embridge.progress import silent
from embridge.training.compatible.held_out_items import HeldOut
from embridge.training.lightning.run import Run
from embridge.training.objectives.mixbct import MixBCT, MixBCTSettings
from embridge.training.objectives.ndpp import NDPP, NDPPSettings
from embridge.training.objectives.odpp import ODPP, ODPPSettings
from embridge.training.objectives.unibct import UniBCT, UniBCTSettings

AUGMENTED = replace(QUICK, checkpoint_every_steps=7, augment=replace(QUICK.augment, flip=0.3), checks=3)
MAKE = {
    "ndpp": lambda known, _: NDPP(known, len(SCRIPTS), NDPPSettings(neighbours=2, ema=0.5)),
    "odpp": lambda known, _: ODPP(known, len(SCRIPTS), ODPPSettings(margin=0.5, steps=(20, 5), unseen="using_new")),
    "mixbct": lambda known, labels: MixBCT(known, len(SCRIPTS), MixBCTSettings(margin=0.1, scale=10.0), labels=labels),
    "unibct": lambda known, _: UniBCT(known, len(SCRIPTS), UniBCTSettings(refresh_epochs=(1, 2))),
}
SETTINGS = {
    "ndpp": AUGMENTED,
    "odpp": replace(AUGMENTED, optimizer="sgd", schedule="multistep", gradient_clip=1.0, keep="best"),
    "mixbct": replace(AUGMENTED, ema=0.9),
    "unibct": replace(AUGMENTED, ema=0.9, keep="best", precision="bf16-mixed", schedule="cosine"),
}


class Stopped(Exception):
    pass


def stop_at(step):
    def progress(done, total, what):
        if done == step:
            raise Stopped

    return progress


def fit(name, folder, progress=silent, seed=0, **changed):
    data, known = items("train"), old()  # which draws, so before the seed
    torch.manual_seed(0)
    objective = MAKE[name](known, torch.from_numpy(data.labels))
    held_out = HeldOut(items("test"), np.ones((len(items("test")), 8), np.float32))
    settings = replace(SETTINGS[name], **changed)
    return settings.fit(
        data,
        network(objective.feature_dim),
        objective,
        held_out=held_out,
        seed=seed,
        run=Run(folder=folder, progress=progress),
    )


def bytes_of(trained, folder):
    saved = trained.save(folder)
    return {path.name: path.read_bytes() for path in saved.iterdir()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Each training that nothing stopped, and the folder of its checkpoints."""

    @cache
    def get(name):
        folder = tmp_path_factory.mktemp(name)
        return fit(name, folder), folder

    return get


@pytest.fixture(scope="module")
def whole(uninterrupted, tmp_path_factory):
    """The bytes of each training that nothing stopped."""

    @cache
    def get(name):
        return bytes_of(uninterrupted(name)[0], tmp_path_factory.mktemp("whole") / name)

    return get


LATER = [("ndpp", 25), ("odpp", 15), ("mixbct", 13), ("unibct", 22)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "step"), [("ndpp", 9), *(pytest.param(*case, marks=pytest.mark.slow) for case in LATER)]
)
def test_a_stopped_training_goes_on_to_the_same_bytes(name, step, whole, tmp_path):
    """Ten steps an epoch, checkpoints after 7, 14, 21, 28; stops within epochs that refresh and within those that follow."""
    with pytest.raises(Stopped):
        fit(name, tmp_path / "run", stop_at(step))
    calls = []
    resumed = fit(name, tmp_path / "run", lambda done, *_: calls.append(done))
    assert calls == list(range((step - 1) // 7 * 7 + 1, 31))
    assert bytes_of(resumed, tmp_path / "resumed") == whole(name)


@pytest.mark.slow
def test_a_checkpoint_at_the_end_of_an_epoch_is_taken_up_there(whole, tmp_path):
    with pytest.raises(Stopped):
        fit("ndpp", tmp_path / "run", stop_at(21), checkpoint_every_steps=10)
    calls = []
    resumed = fit("ndpp", tmp_path / "run", lambda done, *_: calls.append(done), checkpoint_every_steps=10)
    assert calls[0] == 21
    assert weights(bytes_of(resumed, tmp_path / "resumed")) == weights(whole("ndpp"))


def weights(files):
    return files["model.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ndpp", "odpp", "mixbct", "unibct"])
def test_a_killed_process_goes_on_to_the_same_bytes(name, whole, tmp_path):
    def progress(done, *_):
        if done == 18:
            os.kill(os.getpid(), signal.SIGKILL)

    assert exit_code(lambda: fit(name, tmp_path / "run", progress)) == -signal.SIGKILL
    calls = []
    resumed = fit(name, tmp_path / "run", lambda done, *_: calls.append(done))
    assert calls[0] == 15
    assert bytes_of(resumed, tmp_path / "resumed") == whole(name)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(whole, tmp_path):
    assert bytes_of(fit("mixbct", None), tmp_path / "one") == whole("mixbct")
    assert weights(bytes_of(fit("mixbct", None, seed=1), tmp_path / "two")) != weights(whole("mixbct"))


@pytest.mark.slow
def test_items_prepared_by_other_processes_are_the_same(whole, tmp_path):
    assert weights(bytes_of(fit("ndpp", None, workers=1), tmp_path / "one")) == weights(whole("ndpp"))


@pytest.mark.slow
def test_a_finished_training_is_read_again(uninterrupted):
    calls = []
    one, folder = uninterrupted("unibct")
    two = fit("unibct", folder, lambda done, *_: calls.append(done))
    assert calls == []
    assert (one.space, one.provenance) == (two.space, two.provenance)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a training that was stopped; those of another change nothing in it."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Stopped):
        fit("ndpp", folder, stop_at(8))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("change", ["settings", "seed", "objective"])
def test_the_checkpoint_of_another_training_is_refused(change, stopped):
    before = (stopped / "last.ckpt").read_bytes()
    changed = {"settings": {"learning_rate": 0.1}, "seed": {"seed": 1}, "objective": {}}[change]
    with pytest.raises(InvalidInput, match=r"last\.ckpt is of another training"):
        fit("mixbct" if change == "objective" else "ndpp", stopped, **changed)
    assert (stopped / "last.ckpt").read_bytes() == before


@pytest.mark.slow
def test_other_starting_weights_are_another_training(stopped):
    data, settings = items("train"), SETTINGS["ndpp"]
    torch.manual_seed(1)
    with pytest.raises(InvalidInput, match=r"last\.ckpt is of another training"):
        settings.fit(
            data, network(8), NDPP(old(), len(SCRIPTS), NDPPSettings(neighbours=2, ema=0.5)), run=Run(folder=stopped)
        )
