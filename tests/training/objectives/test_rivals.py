"""What holds for every rival: it is told what it lacks, keeps finite, and brings a new model to the old one."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from planted_classes import CLASSES, DIM, ROWS, loss_of, planted

from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives import name_of
from embridge.training.objectives.advbct import AdvBCT, AdvBCTSettings
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.bc_aligner import BCAligner, BCAlignerSettings
from embridge.training.objectives.hoc import HOC, HOCSettings
from embridge.training.objectives.independent import Independent, IndependentSettings
from embridge.training.objectives.l2 import L2, L2Settings
from embridge.training.objectives.lce import LCE, LCESettings
from embridge.training.objectives.lwf import LwF, LwFSettings
from embridge.training.objectives.mixbct import MixBCT, MixBCTSettings
from embridge.training.objectives.ract import RACT, RACTSettings
from embridge.training.objectives.unibct import UniBCT, UniBCTSettings

LABELLED = (LCE, AdvBCT, MixBCT)
SETTINGS = {
    Independent: IndependentSettings,
    L2: L2Settings,
    LwF: LwFSettings,
    RACT: RACTSettings,
    LCE: LCESettings,
    UniBCT: UniBCTSettings,
    AdvBCT: AdvBCTSettings,
    MixBCT: MixBCTSettings,
    HOC: HOCSettings,
    BCAligner: BCAlignerSettings,
}
RIVALS = tuple(SETTINGS)
COMPATIBLE = RIVALS[1:]


def make(kind, data, old=None, **settings):
    torch.manual_seed(0)
    return kind(old or data.old, CLASSES, SETTINGS[kind](**settings), **labels_for(kind, data)).double()


def labels_for(kind, data):
    return {"labels": data.labels} if kind in LABELLED else {}


def run_epoch(objective, data, epoch=0, epochs=2):
    objective.begin_epoch(epoch, epochs, lambda: (data.rows, data.labels))


@pytest.mark.parametrize("kind", RIVALS)
def test_the_order_of_the_batch_does_not_matter(kind):
    data = planted()
    objective, order = make(kind, data), torch.tensor([4, 0, 8, 2, 1, 7, 3, 6, 5])
    turned = loss_of(objective, data, features=data.features[order], index=data.index[order])
    assert turned == pytest.approx(loss_of(objective, data), rel=1e-12)


@pytest.mark.parametrize("kind", RIVALS)
def test_what_the_loss_is_made_of_is_in_the_state(kind):
    data = planted()
    one = make(kind, data)
    run_epoch(one, data, epoch=1)
    torch.manual_seed(1)
    other = kind(data.old, CLASSES, **labels_for(kind, data)).double()
    assert loss_of(one, data) != loss_of(other, data) or kind is HOC
    other.load_state_dict(one.state_dict())
    assert loss_of(one, data) == loss_of(other, data)
    assert all(ROWS not in tensor.shape for tensor in one.state_dict().values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", RIVALS)
@pytest.mark.parametrize("rows", [[0, 4, 8, 12], [5], [3, 7, 11]], ids=["one class", "one row", "an unseen class"])
def test_a_batch_without_negatives_is_finite(kind, rows):
    data = planted()
    objective, index = make(kind, data), torch.tensor(rows)
    features = data.features[: len(rows)].clone().requires_grad_()
    terms = objective(features, data.labels[index], index)
    sum(terms.values()).backward()
    assert all(math.isfinite(term.item()) for term in terms.values())
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("kind", RIVALS)
def test_zero_features_get_a_gradient_of_ordinary_size(kind):
    data = planted()
    objective = make(kind, data)
    run_epoch(objective, data, epoch=1)
    features = data.features.clone()
    features[::2] = 0
    features.requires_grad_()
    sum(objective(features, data.labels[data.index], data.index).values()).backward()
    assert features.grad.isfinite().all()
    assert features.grad.abs().max() < 1e4


@pytest.mark.slow
@pytest.mark.parametrize("kind", RIVALS)
def test_training_brings_all_but_the_independent_embeddings_to_their_old_prototypes(kind):
    data = planted()
    changed = {LwF: {"temperature": 0.1}, AdvBCT: {"threshold": 0.5, "boundary_weight": 10.0}}.get(kind, {})
    old = replace(data.old, classifier=data.old.prototypes, known=torch.ones(CLASSES, dtype=torch.bool))
    objective = make(kind, data, old, **changed)
    features = torch.randn(ROWS, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).requires_grad_()
    optimizer = torch.optim.Adam([features, *objective.parameters()], lr=0.03)

    def found():
        with torch.no_grad():
            cosines = objective.comparable(objective.embed(features)) @ F.normalize(data.old.prototypes, dim=1).T
        return (cosines.argmax(1) == data.labels).double().mean().item()

    before = found()
    for epoch in range(8):
        objective.begin_epoch(epoch, 8, lambda: (features.detach(), data.labels))
        for _ in range(50):
            optimizer.zero_grad()
            sum(objective(features, data.labels, torch.arange(ROWS)).values()).backward()
            optimizer.step()
    assert before < 0.6
    assert found() < 0.6 if kind is Independent else found() > 0.8


@pytest.mark.parametrize("kind", [kind for kind in COMPATIBLE if kind is not HOC])
def test_an_old_model_is_needed(kind):
    data = planted()
    with pytest.raises(InvalidInput, match="give an OldModel in the place of None"):
        kind(None, CLASSES, **labels_for(kind, data))


@pytest.mark.parametrize("kind", COMPATIBLE)
def test_old_embeddings_are_needed(kind):
    data = planted()
    with pytest.raises(InvalidInput, match=r"uses the old embeddings of the training rows; give OldModel\(\.\.\., "):
        make(kind, data, replace(data.old, embeddings=None))


@pytest.mark.parametrize("kind", LABELLED)
@pytest.mark.parametrize(
    "labels",
    [torch.zeros(ROWS - 1, dtype=torch.long), torch.zeros(ROWS), torch.full((ROWS,), CLASSES), torch.full((ROWS,), -1)],
    ids=["too few", "not whole", "too large", "negative"],
)
def test_labels_have_to_fit_the_old_embeddings(kind, labels):
    with pytest.raises(
        InvalidInput, match=f"labels are whole numbers of 0 to {CLASSES - 1}, one for each of the {ROWS}"
    ):
        kind(planted().old, CLASSES, labels=labels)


@pytest.mark.parametrize("kind", RIVALS)
def test_classes_have_to_fit_the_old_model(kind):
    data = planted()
    with pytest.raises(InvalidInput, match="the old model has 4 prototypes, one for each class; classes=5"):
        kind(data.old, 5, **labels_for(kind, data))


@pytest.mark.usefixtures("as_in_production")
@pytest.mark.parametrize("kind", [LCE, UniBCT, AdvBCT, MixBCT])
def test_unseen_classes_are_the_old_models_or_left_out(kind):
    data = planted()
    objective = make(kind, data, unseen="null")
    index = torch.tensor([3, 7, 11])
    features = data.features[:3]
    alone = loss_of(objective, data, features=features, index=index)
    for name in ("boundary", "compatibility"):
        assert alone.get(name, 0.0) == 0.0
    with pytest.raises(SettingsError, match="unseen is using_old or null, came 'using_new'"):
        make(kind, data, unseen="using_new")


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Independent, {"scale": 0.0}),
        (Independent, {"scale": math.nan}),
        (Independent, {"dim": 0}),
        (L2, {"weight": -1.0}),
        (LwF, {"temperature": 0.0}),
        (RACT, {"temperature": -0.1}),
        (RACT, {"negatives": 0}),
        (LCE, {"alignment_weight": math.inf}),
        (LCE, {"boundary_weight": -1.0}),
        (UniBCT, {"spread": 1.0}),
        (UniBCT, {"temperature": 0.0}),
        (UniBCT, {"prototype_scale": 0.0}),
        (UniBCT, {"refresh_epochs": (-1,)}),
        (AdvBCT, {"threshold": -0.5}),
        (AdvBCT, {"hidden_width": 0}),
        (AdvBCT, {"adversarial_weight": math.nan}),
        (MixBCT, {"mixed": 1.1}),
        (MixBCT, {"credible": -0.1}),
        (MixBCT, {"margin": -0.5}),
        (HOC, {"sharpness": 0.0}),
        (HOC, {"compatibility_weight": -0.9}),
        (BCAligner, {"weight": -16.0}),
    ],
)
def test_impossible_settings_are_refused(kind, settings):
    name = next(iter(settings)).removesuffix("_epochs")
    with pytest.raises(SettingsError, match=f"^{name_of(kind)}: {name}.* is (above|0|at least|a whole number)"):
        make(kind, planted(), **settings)


@pytest.mark.parametrize("kind", RIVALS)
def test_single_precision_stays_single_precision(kind):
    data = planted()
    old = OldModel(data.old.prototypes.float(), data.old.known, data.rows.float(), data.old.classifier.float())
    objective = kind(old, CLASSES, **labels_for(kind, data))
    terms = objective(data.features.float(), data.labels[data.index], data.index)
    assert {term.dtype for term in terms.values()} == {torch.float32}
