import numpy as np
import pytest
import torch

from embridge import Space, Upgrade
from embridge.adapters import Identity, Linear
from embridge.provenance import Provenance
from embridge.training.xbt.bridge import TrainableBridge
from embridge.training.xbt.lora import attached_lora, lora_state
from embridge.training.xbt.settings import FinetuneSettings
from embridge.training.xbt.start import Start, Surrogates
from embridge.training.xbt.task import XBTTask


@pytest.fixture
def made(other_encoder, coloured_pairs):
    """A task on a SigLIP and on a Chinese-CLIP, whose LoRA is taken off afterwards."""
    space = other_encoder.space
    weight = np.random.default_rng(0).normal(size=(space.dim, 8)).astype(np.float32)
    fitted = Upgrade(Identity(space, space), Linear(space, Space("old", "1", 8), weight), Provenance("known"))
    rows = np.random.default_rng(1).normal(size=(len(coloured_pairs), 8)).astype(np.float32)
    surrogates = Surrogates(
        coloured_pairs, rows / np.linalg.norm(rows, axis=1, keepdims=True), coloured_pairs.group_numbers()
    )
    settings = FinetuneSettings(
        learning_rate=1e-2, projection_learning_rate=1e-3, weight_decay=0.0, batch_size=5, chunk_size=2, keep_weight=1.0
    )
    start, bridge = Start(coloured_pairs, other_encoder, fitted, None, 0), TrainableBridge(fitted.bridge)
    with attached_lora(other_encoder.model, rank=2, alpha=4, dropout=0.5) as attached:
        attached.eval()
        yield XBTTask(start, settings, attached, bridge, train=surrogates, held_out=surrogates), attached


@pytest.mark.slow
def test_a_step_moves_the_lora_of_both_towers_and_the_bridge_and_nothing_else(made):
    task, attached = made
    before = {n: p.detach().clone() for n, p in attached.named_parameters()}
    bridge = {n: p.detach().clone() for n, p in task.state().items() if n.startswith("bridge.")}
    optimizer = task.optimizer()
    terms = task.step(task.batch(0), lambda loss: loss.backward())
    optimizer.step()
    assert set(terms) == {"image_to_old_text", "image_to_text", "keep"}
    moved = {n for n, p in attached.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n in lora_state(attached) if "lora_B" in n}  # A takes no gradient while B is zero
    assert {tower for tower in ("text_model", "vision_model") for n in moved if tower in n} == {
        "text_model",
        "vision_model",
    }
    assert all(not torch.equal(task.state()[n], p) for n, p in bridge.items())


@pytest.mark.slow
def test_batches_are_a_function_of_the_step_and_cover_the_pairs(made):
    task, _ = made
    assert task.steps_per_epoch == 12 // 5
    groups = [set(task.batch(step).groups.tolist()) for step in range(4)]
    assert not groups[0] & groups[1]
    assert groups[:2] != groups[2:]  # another epoch, another order
    again, batch = task.batch(1), task.batch(1)
    assert torch.equal(again.targets, batch.targets)
    assert [len(part["pixel_values"]) for part in batch.images] == [2, 2, 1]


@pytest.mark.slow
def test_only_the_dropout_of_the_lora_is_on_and_only_in_a_step(made):
    task, attached = made
    seen = []
    for module in attached.modules():
        if isinstance(module, torch.nn.Dropout):
            module.register_forward_pre_hook(lambda m, _: seen.append((m.p, m.training)))
    task.step(task.batch(0), lambda loss: loss.backward())
    assert (0.5, True) in seen
    assert not [p for p, training in seen if training and p != 0.5]
    assert not any(module.training for module in attached.modules())
