"""Models that were trained in a row, each beside the one before: all of them search the galleries of those before."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from chains import step_by_step
from labelled_glyphs import KNOWN, QUICK, SCRIPTS, SIDE, items

from embridge import Embeddings
from embridge.adapters import Composed, Prefix
from embridge.adapters.chain import Chain
from embridge.backbones.resnet import SmallResNet
from embridge.evaluation import LabelRelevance, Scope, Side, average_compatibility
from embridge.evaluation.chains import chain_reports, compatibility_matrices
from embridge.training.compatible.image_data import ImageArrays
from embridge.training.compatible.old_models import old_model
from embridge.training.objectives.bc_aligner import BCAligner
from embridge.training.objectives.bct import BCT, BCTSettings
from embridge.training.objectives.bt2 import BT2, BT2Settings
from embridge.training.objectives.independent import Independent, IndependentSettings
from embridge.training.objectives.ndpp import NDPP
from embridge.training.objectives.oca import OCA, OCASettings
from embridge.training.objectives.odpp import ODPP, ODPPSettings

SCOPE = Scope(metrics=["cmc_at_1"], directions=[""])
LONGER = replace(QUICK, epochs=5, batch_size=25, checkpoint_every_steps=50)


def network(dim, seed):
    return SmallResNet(dim, width=4, depth=8, seed=seed)


@cache
def alone(count, dim):
    """The first version, which knows some of the scripts; with all of them, the paragon of BT²."""
    data = items("train")
    rows = np.flatnonzero(data.labels < count)
    known = ImageArrays(data.images[rows], data.labels[rows], SCRIPTS[:count], SIDE)
    torch.manual_seed(count)
    trained = LONGER.fit(known, network(dim, seed=count), Independent(None, count, IndependentSettings(dim=dim)))
    return trained.encoder(device="cpu")


def bt2(old, classes):
    rows = torch.from_numpy(alone(len(SCRIPTS), 8).encode(items("train").images, modality="image"))
    return BT2(old, classes, BT2Settings(extra=old.dim - 4, scale=20.0, prototype_scale=20.0), paragon=rows)


OBJECTIVES = {
    "oca": lambda old, classes: OCA(old, classes, OCASettings(extra=4, scale=20.0, prototype_scale=20.0)),
    "bt2": bt2,
    "bct": lambda old, classes: BCT(old, classes, BCTSettings(prototype_scale=20.0)),
    "ndpp": NDPP,
    "odpp": lambda old, classes: ODPP(old, classes, ODPPSettings(steps=(20, 2))),
    "bc-aligner": BCAligner,
}


def trained_in_a_row(name):
    """A second version beside the first, and a third beside that one; each with the space of the one before."""
    data, before, known, made = items("train"), alone(3, 16), KNOWN, []
    for seed in (1, 2):
        old = old_model(data, before, known=known)
        torch.manual_seed(seed)
        objective = OBJECTIVES[name](old, len(SCRIPTS))
        trained = LONGER.fit(data, network(objective.feature_dim, seed=seed), objective, seed=seed)
        made.append((trained, before.space))
        before, known = trained.encoder(device="cpu"), SCRIPTS
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_trained_versions_search_the_galleries_of_all_before(name, tmp_path):
    made = trained_in_a_row(name)
    chain = Chain.load([trained.save(tmp_path / f"{n}", old=old) for n, (trained, old) in enumerate(made)])
    encoders = [alone(3, 16), *(trained.encoder(device="cpu") for trained, _ in made)]
    assert chain.spaces == tuple(encoder.space for encoder in encoders)
    assert [space.dim for space in chain.spaces] == ([16, 20, 24] if name in ("oca", "bt2") else [16, 16, 16])
    data = items("test")
    seen = [Embeddings.of(encoder.encode(data.images, modality="image"), encoder.space) for encoder in encoders]
    walked = step_by_step(chain, seen[2], 0)
    np.testing.assert_allclose(chain.upgrade(0).to_index_space(seen[2]).vectors, walked.vectors, atol=1e-5)
    assert isinstance(chain.upgrade(0).bridge, Composed if name == "bc-aligner" else Prefix)
    labels = dict(zip(seen[0].ids, (SCRIPTS[label] for label in data.labels), strict=True))
    relevance, sides = LabelRelevance(labels, labels), [Side(rows, rows) for rows in seen]
    matrix = compatibility_matrices(chain_reports(chain, sides, relevance, scope=SCOPE))[""]["cmc_at_1"]
    assert matrix[np.tril_indices(3, -1)].mean() > 0.3  # a fifth by chance
    crossed = [float(matrix[t, s] > matrix[s, s]) for t, s in ((1, 0), (2, 0), (2, 1))]
    assert average_compatibility(matrix, ties="fail") == pytest.approx(np.mean(crossed))
