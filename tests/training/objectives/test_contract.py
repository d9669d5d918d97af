"""Every objective fulfils the contract, and the contract finds those that do not."""

import pytest
import torch
import torch.nn.functional as F
from objective_table import OBJECTIVES
from torch import nn

from embridge.adapters import Linear
from embridge.testing import check_objective
from embridge.training.objectives.bct import BCT

DRAWS = ("mixbct",)
"""Objectives whose loss picks rows of each batch at random."""


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_fulfil_the_contract(name):
    draws = name.partition(",")[0] in DRAWS
    skipped = check_objective(OBJECTIVES[name], draws=draws)
    assert len(skipped) == 2 * draws


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize("name", DRAWS)
def test_what_draws_leaves_rows_of_a_batch_out(name):
    with pytest.raises(AssertionError, match="expected a gradient at every row"):
        check_objective(OBJECTIVES[name])


class Faulty(BCT):
    """BCT, spoilt."""

    def __init__(self, toy):
        super().__init__(toy.old, toy.classes)


class NoPaper(Faulty):
    paper = ""


class ShortEmbeddings(Faulty):
    def embed(self, features):
        return features[:, :3]


class OldDim(Faulty):
    def __init__(self, toy):
        super().__init__(toy)
        self.old_dim = 7


class RowsOfTerms(Faulty):
    def forward(self, features, labels, index):
        return {"classification": F.cross_entropy(self.classifier(features), labels, reduction="none")}


class NotForOneRow(Faulty):
    def forward(self, features, labels, index):
        return super().forward((features - features.mean(dim=0)) / features.std(dim=0, correction=0), labels, index)


class NamesByBatch(Faulty):
    def forward(self, features, labels, index):
        terms = super().forward(features, labels, index)
        return terms if labels.max() < 6 or labels.min() < 6 else {"classification": terms["classification"]}


class NoTerms(Faulty):
    def forward(self, features, labels, index):
        return {}


class UnusedHead(Faulty):
    def __init__(self, toy):
        super().__init__(toy)
        self.head = nn.Linear(2, 2)


class FirstRowsOnly(Faulty):
    def forward(self, features, labels, index):
        return super().forward(features[:5], labels[:5], index[:5])


class InfiniteGradient(Faulty):
    def forward(self, features, labels, index):
        return super().forward(features, labels, index) | {"length": (0 * features).sum().sqrt()}


class DividesByLength(Faulty):
    def forward(self, features, labels, index):
        return super().forward(F.normalize(features, dim=1), labels, index)


class OrderMatters(Faulty):
    def forward(self, features, labels, index):
        weights = torch.arange(len(features)) + 1
        return super().forward(features * weights[:, None], labels, index)


class Drawing(Faulty):
    def forward(self, features, labels, index):
        return super().forward(features + torch.randn_like(features), labels, index)


class IndexIgnored(Faulty):
    def __init__(self, toy):
        super().__init__(toy)
        self.register_buffer("rows", toy.old.embeddings)

    def forward(self, features, labels, index):
        apart = (features - self.rows[: len(features)]).square().sum()
        return super().forward(features, labels, index) | {"apart": apart}


class Ascending(Faulty):
    def forward(self, features, labels, index):
        terms = super().forward(features, labels, index)
        return {name: 2 * term.detach() - term for name, term in terms.items()}


class LeavesAGraph(Faulty):
    def __init__(self, toy):
        super().__init__(toy)
        self.register_buffer("level", torch.zeros(()))

    def begin_epoch(self, epoch, epochs, embedded):
        self.level = self.classifier.weight.mean()


class BatchStatistics(Faulty):
    def embed(self, features):
        return features - features.mean(dim=0) if len(features) == 7 else features


class NotUnit(Faulty):
    def comparable(self, embeddings):
        return embeddings


class OtherBridge(Faulty):
    def bridge(self, new, old):
        return Linear(new, old, torch.eye(8).flip(0).numpy())


class Forgetful(Faulty):
    """What the loss hangs on is not in the state."""

    def __init__(self, toy):
        super().__init__(toy)
        self.factor = 1.0

    def begin_epoch(self, epoch, epochs, embedded):
        self.factor = 1 / (2 + epoch)

    def forward(self, features, labels, index):
        return super().forward(features * self.factor, labels, index)


class Stray(Faulty):
    def __init__(self, toy):
        super().__init__(toy)
        self.rows = toy.old.embeddings


@pytest.mark.slow
@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (NoPaper, "NoPaper: expected the paper it is of"),
        (ShortEmbeddings, r"shape of the embeddings: expected \(5, 8\), came \(5, 3\)"),
        (OldDim, "old_dim: expected 8, came 7"),
        (RowsOfTerms, "dims of the term 'classification': expected 0, came 1"),
        (NotForOneRow, "expected a finite 'classification' for one row, came nan"),
        (NamesByBatch, "names of the terms for classes that the old model does not know: expected .*'compatibility'"),
        (NoTerms, "expected at least one term, came none"),
        (UnusedHead, "expected a gradient at head.weight for a batch, came none"),
        (FirstRowsOnly, "expected a gradient at every row, came 5 of 24"),
        (InfiniteGradient, "expected finite gradients at the features for a batch"),
        (DividesByLength, "expected gradients at features of zeros to be about .*, as others are, came"),
        (OrderMatters, "the rows of a batch in another order, 'classification': expected equal values"),
        (Drawing, "the rows of a batch in another order, 'classification': expected equal values"),
        (IndexIgnored, "the rows of a batch in another order, 'apart': expected equal values"),
        (Ascending, "expected 50 steps to lower the loss"),
        (LeavesAGraph, r"expected no gradient graph in buffers after begin_epoch, came \['level'\]"),
        (BatchStatistics, "embeddings of single rows against the batch: expected equal values"),
        (NotUnit, "lengths of what is comparable: expected equal values"),
        (OtherBridge, "what is comparable, against the linear bridge: expected equal values"),
        (Forgetful, "the terms after loading the state, 'classification': expected equal values"),
        (Stray, r"tensors that are neither parameters nor buffers: expected \[\], came \['.rows'\]"),
    ],
)
def test_faulty_objectives_are_found(kind, message):
    with pytest.raises(AssertionError, match=message):
        check_objective(kind)


@pytest.mark.slow
def test_what_draws_says_so_and_is_skipped():
    assert check_objective(Drawing, draws=True) == [
        "order of the rows: this objective draws random numbers in each batch",
        "gradients of all rows: this objective draws random numbers in each batch",
    ]


@pytest.mark.slow
def test_the_check_leaves_the_random_state_as_it_was():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    check_objective(OBJECTIVES["bct"])
    assert torch.equal(torch.rand(3), expected)
