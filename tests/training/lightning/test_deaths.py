"""A process of a training that dies ends it in one line, and an interrupted training leaves no process behind."""

import os
import signal
import time
from multiprocessing import active_children

import pytest
import torch

from embridge.errors import EmbridgeError, InvalidInput
from embridge.training.lightning.loop import train
from embridge.training.lightning.ranks import rank_and_world
from embridge.training.lightning.run import Run
from embridge.training.lightning.task import Loop

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Can't initialize NVML"),
]


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def fail():
    raise InvalidInput("row 7 of the\npairs is blank")


class Toy:
    """One number; ``trouble`` comes in the step of the last process, or where a batch is loaded."""

    def __init__(self, trouble, in_batch=False):
        self.weight = torch.ones(1, requires_grad=True)
        self.trouble, self.in_batch = trouble, in_batch

    def state(self):
        return {"weight": self.weight}

    def optimizer(self):
        return torch.optim.SGD([self.weight], lr=0.1)

    def batch(self, step):
        if self.in_batch:
            self.trouble()
        return torch.ones(1)

    def step(self, batch, backward):
        rank, world = rank_and_world()
        if not self.in_batch and rank == world - 1:
            self.trouble()
        loss = (self.weight * batch).square().sum()
        backward(loss)
        return {"loss": loss.detach()}

    def score(self):
        return 0.0


def loop(**settings):
    return Loop("toy", "steps", steps=2, seed=0, share=lambda _: 1.0, checks=0, keep="last", **settings)


TWO = {"devices": 2, "strategy": "ddp_fork"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (crash, r"^the training process 1 died by SIGSEGV \(signal 11\); run the same again"),
        (fail, r"^the training process 1 failed: pairs is blank$"),
    ],
)
def test_a_process_that_dies_ends_the_training_in_one_line(tmp_path, trouble, message):
    with pytest.raises(EmbridgeError, match=message) as caught:
        train(Toy(trouble), loop(**TWO), Run(folder=tmp_path))
    assert "\n" not in str(caught.value)
    assert active_children() == []


@pytest.mark.slow
def test_a_crash_where_batches_are_loaded_ends_the_training_in_one_line(tmp_path, capfd):
    # torch learns of the signal, or, where its queue is noticed first, of the end alone
    with pytest.raises(
        EmbridgeError,
        match=r"^a process that loads data (was killed by signal: Segmentation fault|ended too early); run the same",
    ):
        train(Toy(crash, in_batch=True), loop(workers=1), Run(folder=tmp_path))


class Stopped(KeyboardInterrupt):
    """What a handler of SIGTERM raises."""


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, TWO])
def test_an_interruption_comes_out_as_what_it_was_and_ends_all_processes(tmp_path, settings):
    def interrupt(*_):
        raise Stopped

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1.5)
    try:
        with pytest.raises(Stopped):
            train(Toy(lambda: time.sleep(60)), loop(**settings), Run(folder=tmp_path))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    deadline = time.monotonic() + 10
    while active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert active_children() == []
