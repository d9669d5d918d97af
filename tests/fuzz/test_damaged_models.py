"""Damaged models, LoRA and checkpoints of this library: each is used, or refused by an error of the library.

Those whose JSON was edited and sealed again, too: the seal shows accidents alone.
"""

import hashlib
import io
import json

import numpy as np
import pytest
import torch
from mutants import COUNT, byte_mutants, check, json_mutants, written
from safetensors.torch import load, save

from embridge.adapters.upgrade import seal
from embridge.backbones.embedding import BasisChange, UnitLength
from embridge.backbones.pixels import Pixels
from embridge.backbones.resnet import SmallResNet
from embridge.backbones.saved import TrainedModel
from embridge.backbones.vectors import VectorHead
from embridge.datasets import glyph_models
from embridge.encoders.clip import ClipEncoder
from embridge.encoders.trained import TrainedEncoder, space_from_files
from embridge.training.lightning import loop as lightning_loop
from embridge.training.lightning.run import Run
from embridge.training.lightning.task import Loop
from embridge.training.xbt.lora import attached_lora, save_lora


def tensor_mutants(content):
    """Other shapes, types, names and numbers of one tensor."""
    tensors = load(content)
    for name, tensor in tensors.items():
        zeros = torch.zeros(tensor.shape)
        others = [tensor[..., None].contiguous(), tensor.flatten()[:1], tensor.double(), tensor.half(), tensor.int(),
                  zeros + torch.nan, zeros + 3e38, torch.full_like(tensor, 7), torch.empty(0)]  # fmt: skip
        for other in others:
            yield save({**tensors, name: other})
        yield save({key: value for key, value in tensors.items() if key != name})
        yield save({**tensors, f"{name}x": tensor.clone()})


MODELS = {
    "of images": lambda: TrainedModel("toy", SmallResNet(2, width=4, depth=8), UnitLength(), dim=2, pixels=Pixels(8)),
    "of vectors": lambda: TrainedModel("toy", VectorHead(4, 5), BasisChange(dim=3, old_dim=2, extra=2), dim=5),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(MODELS))
def test_trained_models(tmp_path, kind):
    folder = MODELS[kind]().save(tmp_path / "m", provenance={"method": "toy"})
    manifest, weights = folder / "config.json", folder / "model.safetensors"
    whole, tensors = json.loads(manifest.read_bytes()), weights.read_bytes()
    images = np.zeros((1, 8, 8), np.uint8)

    def read(mutant):
        described, content = (whole, tensors) if mutant is None else mutant
        if isinstance(described, dict):
            described = {key: value for key, value in described.items() if key != "sha256"}
            described = json.dumps(described | {"sha256": seal(described)})
        manifest.write_text(described)
        weights.write_bytes(content)
        space_from_files(folder)
        if kind == "of images":
            encoder = TrainedEncoder(folder, device="cpu")
            if encoder.model.pixels.side <= 64:
                assert encoder.encode(images, modality="image").shape == (1, encoder.space.dim)
        else:
            TrainedModel.load(folder)

    count = COUNT // 8
    mutants = [(mutant, tensors) for mutant in json_mutants(whole, count)]
    mutants += [(m.decode("utf-8", "replace"), tensors) for m in byte_mutants(json.dumps(whole).encode(), count // 4)]
    for mutant in [*byte_mutants(tensors, count // 2), *list(tensor_mutants(tensors))[:: 1 if COUNT > 500 else 9]]:
        mutants.append((dict(whole) | {"weights_sha256": hashlib.sha256(mutant).hexdigest()}, mutant))
    assert check(mutants, read) > count // 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_loras(tmp_path, name):
    encoder = ClipEncoder(glyph_models.folder("old"), device="cpu")
    with attached_lora(encoder.model, rank=1, alpha=2, dropout=0.0, target_modules=["q_proj"]) as attached:
        folder = save_lora(attached, tmp_path / "lora", base="tiny")
    path, count = folder / name, COUNT // 50
    content = path.read_bytes()

    def read():
        made = ClipEncoder(glyph_models.folder("old"), device="cpu", lora=folder)
        made.encode(["a"], modality="text")

    mutants = list(byte_mutants(content, count))
    if name.endswith(".json"):
        mutants += [json.dumps(m).encode() for m in json_mutants(content, count)]
    else:
        mutants += list(tensor_mutants(content))[:: 40 if COUNT < 500 else 1]
    check(mutants, written(path, content, read))


class Line:
    """The smallest training there is."""

    def __init__(self):
        self.weight = torch.ones(2, requires_grad=True)

    def state(self):
        return {"weight": self.weight}

    def optimizer(self):
        return torch.optim.Adam([self.weight], lr=0.1)

    def batch(self, step):
        return torch.ones(2)

    def step(self, batch, backward):
        loss = (self.weight * batch).square().sum()
        backward(loss)
        return {"loss": loss.detach()}

    def score(self):
        return -float(self.weight.detach().square().sum())


def places(value):
    """All that a checkpoint holds, as (parent, key)."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


VALUES = (None, -1, 10**30, 2**70, 1e308, "x", [], {}, [[]], torch.zeros(3, 3), torch.full((2,), torch.nan), True)


def checkpoint_mutants(content, count):
    draw = np.random.default_rng(0)
    for _ in range(count):
        whole = torch.load(io.BytesIO(content), weights_only=True)
        found = list(places(whole))
        parent, key = found[draw.integers(len(found))]
        if draw.integers(5):
            parent[key] = VALUES[draw.integers(len(VALUES))]
        else:
            del parent[key]
        file = io.BytesIO()
        torch.save(whole, file)
        yield file.getvalue()


@pytest.mark.slow
def test_checkpoints(tmp_path):
    loop = Loop("toy", "steps", steps=3, seed=0, share=lambda _: 1.0, device="cpu", checks=1, checkpoint_every_steps=2)
    run = Run(folder=tmp_path)

    class Stopped(Exception):
        pass

    def stop(step, *_):
        if step == 3:
            raise Stopped

    with pytest.raises(Stopped):
        lightning_loop.train(Line(), loop, Run(folder=tmp_path, progress=stop))

    path = tmp_path / lightning_loop.CHECKPOINT
    content = path.read_bytes()
    count = COUNT // 20
    mutants = [*byte_mutants(content, count), *checkpoint_mutants(content, count)]
    check(mutants, written(path, content, lambda: lightning_loop.train(Line(), loop, run)))
