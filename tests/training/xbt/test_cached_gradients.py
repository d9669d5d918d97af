import pytest
import torch
from torch import nn
from torch.nn import functional as F

from embridge.training.objectives.xbt import XBTImageText
from embridge.training.xbt.cached_gradients import cached_backward, plain_backward


def two_towers(dropout):
    torch.manual_seed(0)
    towers = nn.ModuleDict(
        {
            name: nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Dropout(dropout), nn.Linear(32, 8))
            for name in ("images", "texts")
        }
    )
    rows = {name: torch.randn(24, 6) for name in towers}
    return towers, rows, F.normalize(torch.randn(24, 8), dim=1)


def gradients(method, chunk, dropout, *, bfloat16=False):
    towers, rows, targets = two_towers(dropout)
    embed = {name: lambda part, tower=tower: F.normalize(tower(part).float(), dim=1) for name, tower in towers.items()}
    objective, groups = XBTImageText(0.1, 1.0), torch.arange(24) // 2
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        terms = method(
            embed,
            {name: x.split(chunk) for name, x in rows.items()},
            lambda e: objective(e["images"], e["texts"], targets, groups),
        )
    return {n: p.grad for n, p in towers.named_parameters()}, terms


@pytest.mark.parametrize("chunk", [1, 5, 24, 100])
def test_chunks_give_the_gradients_of_the_whole_batch(chunk):
    expected, terms = gradients(plain_backward, 24, 0.0)
    cached, cached_terms = gradients(cached_backward, chunk, 0.0)
    for name, gradient in expected.items():
        assert gradient.abs().max() > 1e-4
        torch.testing.assert_close(cached[name], gradient, rtol=0, atol=1e-5)
    for name, term in terms.items():
        torch.testing.assert_close(cached_terms[name], term)
        assert not cached_terms[name].requires_grad


def test_dropout_drops_the_same_in_both_passes():
    """Against the graph of the same chunks at once, which draws the same random numbers."""
    expected, _ = gradients(plain_backward, 5, 0.4)
    cached, _ = gradients(cached_backward, 5, 0.4)
    without, _ = gradients(plain_backward, 5, 0.0)
    for name, gradient in expected.items():
        torch.testing.assert_close(cached[name], gradient, rtol=0, atol=1e-5)
    assert max((expected[n] - without[n]).abs().max() for n in expected) > 1e-3


def test_weights_cast_without_a_graph_are_not_used_again():
    expected, _ = gradients(plain_backward, 5, 0.0, bfloat16=True)
    cached, _ = gradients(cached_backward, 5, 0.0, bfloat16=True)
    for name, gradient in expected.items():
        torch.testing.assert_close(cached[name], gradient, rtol=0.05, atol=1e-2)


def test_the_random_state_goes_on_as_if_there_had_been_one_pass():
    gradients(cached_backward, 5, 0.4)
    one = torch.rand(1)
    gradients(plain_backward, 5, 0.4)
    assert torch.rand(1) == one


def test_another_backward_is_used():
    seen = []

    def backward(loss):
        seen.append(loss.item())
        loss.backward()

    weight = torch.ones(2, requires_grad=True)
    parts = [torch.eye(2), torch.eye(2)]
    cached_backward({"x": lambda part: part * weight}, {"x": parts}, lambda e: {"sum": e["x"].sum()}, backward=backward)
    assert seen == [4.0, 2.0, 2.0]


def test_rows_that_the_loss_ignores_get_no_gradient():
    weight = torch.ones(2, requires_grad=True)
    used = torch.ones(1, requires_grad=True)
    embed = {"x": lambda part: part * weight, "y": lambda part: part * used}
    chunks = {"x": [torch.eye(2)], "y": [torch.ones(3, 1)]}
    cached_backward(embed, chunks, lambda e: {"only": e["y"].sum()})
    assert weight.grad.tolist() == [0.0, 0.0]
    assert used.grad.tolist() == [3.0]
