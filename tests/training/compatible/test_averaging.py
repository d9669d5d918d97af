import pytest
import torch

from embridge.training.compatible.averaging import Average


def test_it_is_the_exponential_average():
    live, generator = {"w": torch.zeros(3), "n": torch.tensor(0)}, torch.Generator().manual_seed(0)
    average, expected = Average(lambda: live, decay=0.6), torch.zeros(3)
    for step in range(1, 20):
        live["w"].copy_(torch.randn(3, generator=generator))
        live["n"] += 1
        average.update()
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * live["w"]
    torch.testing.assert_close(average.state["w"], expected)
    assert average.state["n"] == 19


def test_it_is_applied_for_a_block_and_settled_for_good():
    live = {"w": torch.zeros(2)}
    average = Average(lambda: live, decay=0.5)
    live["w"].fill_(1.0)
    average.update()
    with average.applied():
        inside = live["w"].clone()
    assert torch.equal(live["w"], torch.ones(2))
    average.settle()
    assert torch.equal(live["w"], inside)
    assert inside[0] == pytest.approx(9 / 11)


def test_an_error_in_the_block_leaves_all_as_it_was():
    live = {"w": torch.ones(2)}
    average = Average(lambda: live, decay=0.5)
    average.state["w"].zero_()
    with pytest.raises(ZeroDivisionError, match="division"), average.applied():
        1 / 0  # noqa: B018
    assert torch.equal(live["w"], torch.ones(2))
