"""The contract of objectives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.adapters.base import normalized
from embridge.space import Space
from embridge.testing._expect import expect, expect_close, expect_equal
from embridge.training.objectives.base import Objective, OldModel
from embridge.training.objectives.prototypes import class_means

__all__ = ["MakeObjective", "ToyUpgrade", "check_objective"]

_CLASSES, _UNSEEN, _PER_CLASS, _INPUTS, _DIM_OLD, _DIM_NEW = 9, 3, 8, 16, 8, 10
_BATCH, _STEPS, _EPOCHS, _LEARNING_RATE = 24, 50, 5, 0.01


@dataclass(frozen=True, slots=True, eq=False)
class ToyUpgrade:
    """What an objective under check is made for: 72 rows of 9 classes, the last 3 of which the old model does not know.

    Attributes:
        old: The old model, with prototypes [9, 8], embeddings [72, 8] and a classifier [9, 8].
        labels: The classes of the rows [72].
        paragon: Unit vectors [72, 10] of a new model without an old one.
        inputs: What a linear layer makes the features of [72, 16].

    Examples:
        >>> known = torch.ones(2, dtype=torch.bool)
        >>> ToyUpgrade(OldModel(torch.eye(2), known), torch.arange(2), torch.eye(2), torch.eye(2)).classes
        2
    """

    old: OldModel
    labels: Tensor
    paragon: Tensor
    inputs: Tensor

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.old.prototypes)


MakeObjective = Callable[[ToyUpgrade], Objective]
"""Makes the objective under check; its heads are drawn from torch's global generator, which is seeded before."""


def check_objective(make: MakeObjective, *, draws: bool = False) -> list[str]:
    """Assert the contract of `embridge.training.objectives.base.Objective`.

    - ``forward`` gives finite scalars by name, the same names for any batch: one row, one class, classes that the old model
      does not know; their sum has finite gradients, which reach the features of all rows of a batch and every parameter;
    - features of zeros, as a ReLU may give, get gradients of the size that others get (not a thousand times that);
    - the order of the rows does not matter, and the same batch gives the same terms twice (where it draws, after the same
      seed);
    - ``embed`` gives [b, embedding_dim], each row from its own features alone; ``comparable`` gives unit rows [b, old_dim],
      and they point where those of the numpy adapter do that ``bridge`` gives, to 1e-5;
    - ``begin_epoch`` leaves no gradient graph behind; 50 steps of Adam over 5 epochs on a linear layer lower the loss;
    - the state loaded into another objective of the same make gives the same terms.

    Args:
        make: Called with a `ToyUpgrade`, several times.
        draws: The loss draws random numbers in each batch, so that the order of the rows matters and some rows may be left out.

    Returns:
        The checks that were skipped, and why.

    Raises:
        AssertionError: The objective breaks the contract; the message says where.

    Examples:
        >>> from embridge.training.objectives.l2 import L2
        >>> check_objective(lambda toy: L2(toy.old, toy.classes))
        []
    """
    toy = _toy()
    with torch.random.fork_rng(devices=[]):
        trained = _seeded(make, toy, 0)
        name = type(trained).__name__
        _check_dims(name, trained, toy)
        _check_batches(name, trained, toy, draws=draws)
        _check_zeros(name, trained, toy)
        _check_order(name, trained, toy, draws=draws)
        _check_training(name, trained, toy)
        _check_batches(name, trained, toy, draws=draws)
        _check_embeddings(name, trained)
        _check_state(name, trained, _seeded(make, toy, 1), toy)
    skipped = ("order of the rows", "gradients of all rows")
    return [f"{what}: this objective draws random numbers in each batch" for what in skipped] if draws else []


def _toy() -> ToyUpgrade:
    """Classes about random centres, as an old model sees them that confuses some, and as a better one does."""
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> Tensor:
        return torch.from_numpy(rng.normal(size=shape).astype(np.float32))

    labels = torch.arange(_CLASSES).repeat(_PER_CLASS)
    inputs = drawn(_CLASSES, _INPUTS)[labels] + 0.3 * drawn(len(labels), _INPUTS)
    old = F.normalize(inputs @ drawn(_INPUTS, _DIM_OLD) + drawn(len(labels), _DIM_OLD), dim=1)
    paragon = F.normalize(inputs @ drawn(_INPUTS, _DIM_NEW), dim=1)
    known = torch.arange(_CLASSES) < _CLASSES - _UNSEEN
    prototypes = class_means([(old, labels)], classes=_CLASSES).means
    return ToyUpgrade(OldModel(prototypes, known, old, 3 * prototypes), labels, paragon, inputs)


def _seeded(make: MakeObjective, toy: ToyUpgrade, seed: int) -> Objective:
    torch.manual_seed(seed)
    return make(toy)


def _features(objective: Objective, rows: int, seed: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, objective.feature_dim, generator=generator)


def _terms(objective: Objective, features: Tensor, toy: ToyUpgrade, index: Tensor) -> dict[str, Tensor]:
    """Of a copy, after a seed: whatever the call does, the next one begins as this one did."""
    torch.manual_seed(3)
    return copy.deepcopy(objective)(features, toy.labels[index], index)


def _check_dims(name: str, objective: Objective, toy: ToyUpgrade) -> None:
    expect(isinstance(objective, Objective), f"{name}: expected an Objective")
    expect(bool(type(objective).paper), f"{name}: expected the paper it is of")
    expect_equal(toy.old.dim, objective.old_dim, f"{name}: old_dim")
    embeddings = objective.embed(_features(objective, 5))
    expect_equal((5, objective.embedding_dim), tuple(embeddings.shape), f"{name}: shape of the embeddings")
    shape = tuple(objective.comparable(embeddings).shape)
    expect_equal((5, objective.old_dim), shape, f"{name}: shape of what is comparable")


def _check_batches(name: str, objective: Objective, toy: ToyUpgrade, *, draws: bool) -> None:
    unseen = (~toy.old.known[toy.labels]).nonzero().flatten()
    one_class = (toy.labels == 0).nonzero().flatten()
    batches = {"a batch": torch.arange(_BATCH), "one row": torch.tensor([5]), "one class": one_class}
    batches |= {"classes that the old model does not know": unseen[:_BATCH]}
    names = None
    for what, index in batches.items():
        features = _features(objective, len(index)).requires_grad_()
        terms = _terms(objective, features, toy, index)
        names = sorted(terms) if names is None else names
        expect_equal(names, sorted(terms), f"{name}: names of the terms for {what}")
        for term, value in terms.items():
            expect_equal(0, value.ndim, f"{name}: dims of the term {term!r}")
            expect(bool(value.isfinite()), f"{name}: expected a finite {term!r} for {what}, came {value.item()}")
        expect(bool(terms), f"{name}: expected at least one term, came none")
        gradients = _gradients(objective, features, toy, index)
        for where, gradient in gradients.items():
            expect(gradient is not None, f"{name}: expected a gradient at {where} for {what}, came none")
            expect(bool(gradient.isfinite().all()), f"{name}: expected finite gradients at {where} for {what}")
        rows = (gradients["the features"] != 0).any(dim=1)
        if what == "a batch":
            enough = bool(rows.any() if draws else rows.all())
            expect(enough, f"{name}: expected a gradient at every row, came {int(rows.sum())} of {len(rows)}")


def _gradients(objective: Objective, features: Tensor, toy: ToyUpgrade, index: Tensor) -> dict[str, Any]:
    """Of the sum of the terms, at the features and at each parameter; None where there is none."""
    torch.manual_seed(3)
    mine = copy.deepcopy(objective)
    torch.stack(list(mine(features, toy.labels[index], index).values())).sum().backward()  # type: ignore[no-untyped-call]
    parameters = {name: p.grad for name, p in mine.named_parameters() if p.requires_grad}
    return {"the features": features.grad} | parameters


def _check_zeros(name: str, objective: Objective, toy: ToyUpgrade) -> None:
    index = torch.arange(_BATCH)
    ordinary = _features(objective, _BATCH)
    zeros = ordinary * (index % 2)[:, None]
    sizes = []
    for features in (ordinary, zeros):
        gradient = _gradients(objective, features.requires_grad_(), toy, index)["the features"]
        sizes.append(float(gradient.abs().max()))
    expect(
        sizes[1] <= 1_000 * sizes[0],
        f"{name}: expected gradients at features of zeros to be about {sizes[0]:g}, as others are, came {sizes[1]:g}",
    )


def _check_order(name: str, objective: Objective, toy: ToyUpgrade, *, draws: bool) -> None:
    index, order = torch.arange(_BATCH), torch.randperm(_BATCH, generator=torch.Generator().manual_seed(1))
    features = _features(objective, _BATCH)
    one, again = (_terms(objective, features, toy, index) for _ in range(2))
    _expect_same(one, again, f"{name}: the same batch twice")
    if not draws:
        torch.manual_seed(7)  # what draws all the same is found out
        reordered = copy.deepcopy(objective)(features[order], toy.labels[order], order)
        _expect_same(one, reordered, f"{name}: the rows of a batch in another order")


def _expect_same(one: dict[str, Tensor], other: dict[str, Tensor], what: str) -> None:
    expect_equal(sorted(one), sorted(other), f"{what}, names of the terms")
    for term, value in one.items():
        expect_close(value.detach().numpy(), other[term].detach().numpy(), f"{what}, {term!r}")


def _check_training(name: str, objective: Objective, toy: ToyUpgrade) -> None:
    """Trains the objective, in place."""
    torch.manual_seed(4)
    backbone = nn.Linear(_INPUTS, objective.feature_dim)
    optimiser = torch.optim.Adam([*backbone.parameters(), *objective.parameters()], lr=_LEARNING_RATE)

    def embedded() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return objective.embed(backbone(toy.inputs)), toy.labels

    losses = []
    for step in range(_STEPS):
        if step % (_STEPS // _EPOCHS) == 0:
            objective.begin_epoch(step // (_STEPS // _EPOCHS), _EPOCHS, embedded)
            graphs = [n for n, buffer in objective.named_buffers() if buffer.requires_grad]
            expect(not graphs, f"{name}: expected no gradient graph in buffers after begin_epoch, came {graphs}")
        optimiser.zero_grad()
        terms = objective(backbone(toy.inputs), toy.labels, torch.arange(len(toy.labels)))
        loss = torch.stack(list(terms.values())).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    expect(
        losses[-1] < losses[0], f"{name}: expected {_STEPS} steps to lower the loss, came {losses[0]} to {losses[-1]}"
    )


def _check_embeddings(name: str, objective: Objective) -> None:
    objective = copy.deepcopy(objective).eval()
    features = _features(objective, 7)
    with torch.no_grad():
        embeddings = objective.embed(features)
        parts = torch.cat([objective.embed(features[i : i + 1]) for i in range(len(features))])
        comparable = objective.comparable(embeddings).numpy()
    expect_close(embeddings.numpy(), parts.numpy(), f"{name}: embeddings of single rows against the batch")
    lengths = np.linalg.norm(comparable, axis=1)
    expect_close(np.ones_like(lengths), lengths, f"{name}: lengths of what is comparable")
    bridge = objective.bridge(Space("new", "1", objective.embedding_dim), Space("old", "1", objective.old_dim))
    rows = normalized(bridge.apply(embeddings.numpy()))
    expect_close(rows, comparable, f"{name}: what is comparable, against the {bridge.kind} bridge")


def _check_state(name: str, objective: Objective, other: Objective, toy: ToyUpgrade) -> None:
    expect_equal([], _stray(objective), f"{name}: tensors that are neither parameters nor buffers")
    other.load_state_dict(objective.state_dict())
    index = torch.arange(_BATCH)
    features = _features(objective, _BATCH)
    loaded, saved = (_terms(o, features, toy, index) for o in (other, objective))
    _expect_same(saved, loaded, f"{name}: the terms after loading the state")


def _stray(objective: Objective) -> list[str]:
    """Tensors that would stay behind when the module moves to another device."""
    return [f"{n}.{k}" for n, m in objective.named_modules() for k, v in vars(m).items() if isinstance(v, Tensor)]
