"""A dual encoder made of two linear heads on frozen features: how the benchmarks get an old and a new model.

Trained with the symmetric contrastive loss on image-caption pairs (temperature .05, AdamW, cosine schedule); features
are standardised by one scale a tower, and a part of them is dropped in training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

__all__ = ["DualEncoder", "train_heads"]

Array = np.ndarray
_EPOCHS, _BATCH = 15, 512
_LEARNING_RATE, _TEMPERATURE = 2e-3, 0.05


@dataclass(frozen=True)
class DualEncoder:
    """``image`` and ``text`` turn features [n, f] into unit vectors [n, dim]."""

    image: Callable[[Array], Array]
    text: Callable[[Array], Array]


def train_heads(images: Array, texts: Array, *, dim: int, seed: int) -> DualEncoder:
    """``texts[i * c : (i + 1) * c]`` are the c captions of ``images[i]``; one of them is drawn each time."""
    torch.manual_seed(seed)
    captions = len(texts) // len(images)
    prepare = [_standardiser(images), _standardiser(texts)]
    x, t = prepare[0](images), prepare[1](texts)
    heads = [torch.nn.Linear(x.shape[1], dim), torch.nn.Linear(t.shape[1], dim)]
    learnt = [p for head in heads for p in head.parameters()]
    optimizer = torch.optim.AdamW(learnt, lr=_LEARNING_RATE, weight_decay=0.1)
    steps = len(x) // _BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps * _EPOCHS)
    for _ in range(_EPOCHS):
        for rows in torch.randperm(len(x))[: steps * _BATCH].split(_BATCH):
            chosen = rows * captions + torch.randint(0, captions, (len(rows),))
            u = F.normalize(heads[0](F.dropout(x[rows], 0.2)), dim=1)
            v = F.normalize(heads[1](F.dropout(t[chosen], 0.1)), dim=1)
            logits, target = u @ v.T / _TEMPERATURE, torch.arange(len(rows))
            loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    encoders = [_encoder(p, head) for p, head in zip(prepare, heads, strict=True)]
    return DualEncoder(*encoders)


def _standardiser(features: Array) -> Callable[[Array], torch.Tensor]:
    mean, scale = features.mean(axis=0), float(features.std()) or 1.0
    return lambda x: torch.from_numpy(((x - mean) / scale).astype(np.float32))


def _encoder(prepare: Callable[[Array], torch.Tensor], head: torch.nn.Module) -> Callable[[Array], Array]:
    def encode(features: Array) -> Array:
        with torch.inference_mode():
            return F.normalize(head(prepare(features)), dim=1).numpy()

    return encode
