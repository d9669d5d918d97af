"""BCT, OCA, BT2, NDPP and ODPP: training brings a new model to the old one."""

import pytest
import torch
import torch.nn.functional as F
from planted_classes import CLASSES, DIM, ROWS, planted

from embridge.training.objectives.bct import BCT, BCTSettings
from embridge.training.objectives.bt2 import BT2, BT2Settings
from embridge.training.objectives.ndpp import NDPP
from embridge.training.objectives.oca import OCA, OCASettings
from embridge.training.objectives.odpp import ODPP, ODPPSettings

OBJECTIVES = {
    "bct": lambda old: BCT(old, CLASSES),
    "bct, old classifier": lambda old: BCT(old, CLASSES, BCTSettings(targets="classifier", unseen="null")),
    "oca": lambda old: OCA(old, CLASSES, OCASettings(extra=2)),
    "bt2": lambda old: BT2(old, CLASSES, BT2Settings(extra=2), paragon=torch.ones(ROWS, 6)),
    "ndpp": lambda old: NDPP(old, CLASSES),
    "odpp": lambda old: ODPP(old, CLASSES, ODPPSettings(steps=(100, 10))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_brings_new_embeddings_to_their_old_prototypes(name):
    data = planted()
    torch.manual_seed(0)
    objective = OBJECTIVES[name](data.old).double()
    expected = data.old.classifier if "classifier" in name else data.old.prototypes
    trained = data.labels < (3 if "classifier" in name else 4)
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(ROWS, objective.feature_dim, dtype=torch.float64, generator=generator).requires_grad_()
    optimiser = torch.optim.Adam([features, *objective.parameters()], lr=0.03)

    def found():
        with torch.no_grad():
            cosines = objective.comparable(objective.embed(features)) @ F.normalize(expected, dim=1).T
        return (cosines.argmax(1) == data.labels)[trained].double().mean().item()

    before = found()
    for epoch in range(4):
        objective.begin_epoch(epoch, 4, lambda: (objective.embed(features).detach(), data.labels))
        for _ in range(50):
            optimiser.zero_grad()
            sum(objective(features, data.labels, torch.arange(ROWS)).values()).backward()
            optimiser.step()
    assert before < 0.6
    assert found() > 0.9


@pytest.mark.slow
def test_what_extra_dims_are_for():
    """Where the old model confuses two classes, the whole embedding tells them apart and the prefix need not."""
    data = planted(batch=ROWS)
    prototypes = data.old.prototypes.clone()
    prototypes[1] = prototypes[0]
    old = type(data.old)(prototypes, data.old.known, data.rows)
    torch.manual_seed(0)
    objective = OCA(old, CLASSES, OCASettings(extra=2, scale=10.0, prototype_scale=20.0)).double()
    backbone = torch.nn.Linear(CLASSES, DIM + 2).double()
    x, labels = F.one_hot(data.labels, CLASSES).double(), data.labels
    optimiser = torch.optim.Adam([*backbone.parameters(), *objective.parameters()], lr=0.03)
    for _ in range(300):
        optimiser.zero_grad()
        sum(objective(backbone(x), labels, torch.arange(ROWS)).values()).backward()
        optimiser.step()
    with torch.no_grad():
        embeddings = objective.embed(backbone(torch.eye(CLASSES, dtype=torch.float64)))
        front = objective.comparable(embeddings)
    assert front[0] @ front[1] > 0.95
    assert embeddings[0] @ embeddings[1] < 0.75
