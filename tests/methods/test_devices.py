import pytest
import torch

from embridge.methods import devices
from embridge.methods.devices import bfloat16_pays, in_bfloat16
from embridge.training.lightning.precision import precision_on


@pytest.fixture(autouse=True)
def _measured_anew():
    bfloat16_pays.cache_clear()
    yield
    bfloat16_pays.cache_clear()


@pytest.mark.parametrize(
    ("float32", "bfloat16", "pays"), [(1.0, 0.2, True), (1.3, 1.0, True), (1.2, 1.0, False), (1, 9, False)]
)
def test_bfloat16_is_taken_where_it_is_clearly_quicker(monkeypatch, float32, bfloat16, pays):
    seconds = {torch.float32: float32, torch.bfloat16: bfloat16}
    monkeypatch.setattr(devices, "_shortest", lambda _, weight: seconds[weight.dtype])
    assert bfloat16_pays("cpu") is in_bfloat16("auto", "cpu") is pays
    seconds[torch.float32] = 1.25 * bfloat16  # a process stays with what it measured first
    assert bfloat16_pays("cpu") is pays


def test_a_device_without_such_a_product_stays_in_float32(monkeypatch):
    def refuse(_, weight):
        if weight.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return 1.0

    monkeypatch.setattr(devices, "_shortest", refuse)
    assert bfloat16_pays("cpu") is False


def test_a_setting_that_says_which_is_not_measured(monkeypatch):
    monkeypatch.setattr(devices, "_shortest", lambda *_: pytest.fail("it was measured"))
    assert [in_bfloat16(precision, "cpu") for precision in ("bfloat16", "float32")] == [True, False]
    assert precision_on("cuda:0", "32-true") == "32-true"
    assert precision_on("cpu", "auto") == "32-true"


def test_measuring_draws_nothing_and_answers_alike():
    state = torch.get_rng_state()
    first = bfloat16_pays("cpu")
    bfloat16_pays.cache_clear()
    assert bfloat16_pays("cpu") is first
    assert torch.equal(torch.get_rng_state(), state)
