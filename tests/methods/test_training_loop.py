from dataclasses import replace

import numpy as np
import pytest
import torch

from embridge.errors import SettingsError
from embridge.methods import Training
from embridge.methods.judges import HeldOutLoss
from embridge.methods.pair_rows import Rows
from embridge.methods.training_loop import Task, train, train_by_loss

SHORT = Training(epochs=1, min_steps=60, batch_size=64)


@pytest.fixture
def rows(make_pairs):
    pairs = make_pairs()
    return Rows.of(pairs.new.vectors, pairs.old.vectors, pairs)


class Judge:
    """Says what it was given to say, one check after the other."""

    def __init__(self, *scores):
        self.scores, self.seen, self.modes = list(scores), [], []

    def values(self, module):
        self.seen.append(module.weight.detach().clone())
        self.modes.append(module.training)
        return torch.tensor(self.scores.pop(0) if self.scores else [-1.0])


def linear():
    torch.manual_seed(0)
    return torch.nn.Linear(24, 16)


def task(module, rows, judge, **options):
    return Task(module, lambda batch: (module(batch.source) - batch.target).square().mean(), rows, judge, **options)


def test_it_ends_with_the_weights_that_were_best_by_loss(rows):
    """A loss that only rises once training has begun: the module is as it was."""
    module = torch.nn.Linear(1, 1)
    before = module.weight.detach().clone()
    progress = []
    figures = train_by_loss(
        module,
        lambda _: -module.weight.sum() if module.training else (module.weight - before).abs().sum(),
        (rows, rows),
        SHORT,
        progress=(lambda done, total, what: progress.append((done, total, what)), "toy steps"),
    )
    assert figures["best_step"] == 0
    torch.testing.assert_close(module.weight.detach(), before, rtol=0, atol=0)
    assert progress[-1] == (60, 60, "toy steps")


def test_it_ends_with_the_weights_that_the_judge_liked_best(rows):
    judge, module = Judge([0.1], [0.2], [0.5, 0.3], [0.3]), linear()
    outcome = train(task(module, rows, judge), SHORT)
    assert (outcome.best_step, outcome.scores[:4]) == (6, pytest.approx((0.1, 0.2, 0.4, 0.3)))
    torch.testing.assert_close(module.weight.detach(), judge.seen[2], rtol=0, atol=0)
    assert (outcome.start.tolist(), outcome.best.tolist()) == (pytest.approx([0.1]), pytest.approx([0.5, 0.3]))
    assert judge.modes == [False] * len(judge.modes)


@pytest.mark.parametrize("patience", [1, 3])
def test_it_stops_once_the_judge_was_not_pleased_for_so_long(rows, patience):
    outcome = train(task(linear(), rows, Judge([0.0], [1.0])), replace(SHORT, patience=patience))
    assert (outcome.best_step, outcome.steps) == (3, 3 * (2 + patience))


def test_a_judge_may_be_the_loss_itself(rows):
    module = linear()
    own = task(module, rows, Judge())
    by_loss = replace(own, judge=HeldOutLoss(own.loss, rows))
    outcome = train(by_loss, SHORT)
    assert outcome.best_step > 0
    assert -max(outcome.scores) == pytest.approx(own.loss(rows).item())


def test_what_comes_after_a_step_comes_after_each(rows):
    module, steps = linear(), []
    train(task(module, rows, Judge(), after_step=lambda: steps.append(1)), replace(SHORT, patience=100))
    assert len(steps) == 60


def test_every_row_comes_once_before_any_comes_again(rows):
    class Counted:
        def __init__(self):
            self.numbers = []

        def __len__(self):
            return len(rows)

        def take(self, numbers):
            self.numbers.append(numbers.numpy())
            return rows.take(numbers)

    data = Counted()
    train(task(linear(), data, Judge()), Training(epochs=2, min_steps=1, batch_size=64, patience=100))
    numbers = np.concatenate(data.numbers)
    assert len(numbers) == 2 * len(rows)
    assert all((np.sort(half) == np.arange(len(rows))).all() for half in np.split(numbers, 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate or weight_decay out of range"),
        ({"learning_rate": -1.0}, "learning_rate or weight_decay out of range"),
        ({"learning_rate": float("nan")}, "learning_rate or weight_decay out of range"),
        ({"weight_decay": -1.0}, "learning_rate or weight_decay out of range"),
        ({"batch_size": 0}, "batch_size, epochs, min_steps, patience or validation_fraction out of range"),
        ({"min_steps": 0}, "batch_size, epochs, min_steps, patience or validation_fraction out of range"),
        ({"patience": 0}, "batch_size, epochs, min_steps, patience or validation_fraction out of range"),
        ({"validation_fraction": 1.0}, "validation_fraction out of range"),
        ({"validation_fraction": 1.5}, "validation_fraction out of range"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(SettingsError, match=f"training: .*{message}"):
        Training(**settings)
