"""A training set of a few classes as an old model sees it, in float64, for parity with formulas."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F

from embridge.training.objectives.base import OldModel

ROWS, CLASSES, DIM = 24, 4, 5


def planted(seed=0, batch=9):
    """The old model of ROWS training rows (class 3 is unknown to it), their labels, and a batch of new features."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(CLASSES, DIM, generator=generator, dtype=torch.float64)
    labels = torch.arange(ROWS) % CLASSES
    rows = F.normalize(centres[labels] + 0.7 * torch.randn(ROWS, DIM, generator=generator, dtype=torch.float64), dim=1)
    means = torch.stack([rows[labels == c].mean(0) for c in range(CLASSES)])
    classifier = torch.randn(CLASSES, DIM, generator=generator, dtype=torch.float64)
    known = torch.tensor([True, True, True, False])
    index = torch.randperm(ROWS, generator=generator)[:batch]
    features = 3 * torch.randn(batch, DIM, generator=generator, dtype=torch.float64)
    return SimpleNamespace(
        old=OldModel(means, known, rows, classifier), labels=labels, rows=rows, features=features, index=index
    )


def loss_of(objective, data, **changed):
    """The terms of the batch, as plain numbers."""
    features, index = changed.get("features", data.features), changed.get("index", data.index)
    terms = objective.double()(features, changed.get("labels", data.labels[index]), index)
    return {name: term.item() for name, term in terms.items()}


def unit(row):
    return [value / sum(v * v for v in row) ** 0.5 for value in row]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))
