import math

import pytest
import torch

from embridge.errors import SettingsError
from embridge.training.lightning.schedules import learning_rate_share


def by_torch(make, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, shares = make(optimizer), []
    for _ in range(steps):
        shares.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return shares


@pytest.mark.parametrize(("steps", "warmup"), [(40, 0.25), (100, 0.3), (37, 0.1)])
def test_one_cycle_is_that_of_torch(steps, warmup):
    share = learning_rate_share("one-cycle", steps, warmup_fraction=warmup)
    expected = by_torch(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(
            o, max_lr=1.0, total_steps=steps, pct_start=warmup, cycle_momentum=False
        ),
        steps,
    )
    assert [share(step) for step in range(steps)] == pytest.approx(expected, abs=1e-12)


def test_one_cycle_without_warm_up_only_falls():
    shares = [learning_rate_share("one-cycle", 20)(step) for step in range(20)]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)


def test_cosine_is_that_of_torch():
    share = learning_rate_share("cosine", 30)
    expected = by_torch(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=30), 30)
    assert [share(step) for step in range(30)] == pytest.approx(expected, abs=1e-12)


def test_cosine_warms_up_in_a_line():
    share = learning_rate_share("cosine", 100, warmup_fraction=0.1)
    assert [share(step) for step in range(11)] == pytest.approx([0.1 * i for i in range(1, 11)] + [1.0])
    assert share(99) == pytest.approx((1 + math.cos(math.pi * 89 / 90)) / 2)


def test_multistep_is_that_of_torch():
    share = learning_rate_share("multistep", 40, milestones=(0.5, 0.75))
    expected = by_torch(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [20, 30]), 40)
    assert [share(step) for step in range(40)] == pytest.approx(expected)


@pytest.mark.usefixtures("as_in_production")
def test_another_schedule_is_refused():
    with pytest.raises(SettingsError, match="one-cycle, cosine or multistep, came 'linear'"):
        learning_rate_share("linear", 10)
