"""Every objective with settings that fit the toy problem of its contract: a new one is a line here."""

from dataclasses import replace

from embridge.training.objectives.advbct import AdvBCT
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.bc_aligner import BCAligner, BCAlignerSettings
from embridge.training.objectives.bct import BCT, BCTSettings
from embridge.training.objectives.bt2 import BT2, BT2Settings
from embridge.training.objectives.hoc import HOC
from embridge.training.objectives.independent import Independent
from embridge.training.objectives.l2 import L2
from embridge.training.objectives.lce import LCE
from embridge.training.objectives.lwf import LwF
from embridge.training.objectives.mixbct import MixBCT
from embridge.training.objectives.ndpp import NDPP, NDPPSettings
from embridge.training.objectives.oca import OCA, OCASettings
from embridge.training.objectives.odpp import ODPP, ODPPSettings
from embridge.training.objectives.ract import RACT
from embridge.training.objectives.unibct import UniBCT, UniBCTSettings


def after_another(toy):
    """The old model with a version before it, which is at its front."""
    before = OldModel(toy.old.prototypes[:, :4], toy.old.known, toy.old.embeddings[:, :4])
    return replace(toy.old, ancestors=[before])


OBJECTIVES = {
    "bct": lambda toy: BCT(toy.old, toy.classes),
    "bct, old classifier": lambda toy: BCT(toy.old, toy.classes, BCTSettings(targets="classifier", unseen="null")),
    "bct, using new": lambda toy: BCT(toy.old, toy.classes, BCTSettings(prototype_scale=20.0, unseen="using_new")),
    "oca": lambda toy: OCA(toy.old, toy.classes, OCASettings(extra=2)),
    "oca, held to rows": lambda toy: OCA(toy.old, toy.classes, OCASettings(extra=2, aligned_to="rows")),
    "oca, beside two versions": lambda toy: OCA(after_another(toy), toy.classes, OCASettings(extra=2)),
    "oca, no extra": lambda toy: OCA(
        toy.old, toy.classes, OCASettings(extra=0, orthogonal_map="householder", unseen="null")
    ),
    "oca, using new": lambda toy: OCA(
        toy.old, toy.classes, OCASettings(extra=3, orthogonal_map="matrix_exp", unseen="using_new")
    ),
    "bt2": lambda toy: BT2(toy.old, toy.classes, BT2Settings(extra=2), paragon=toy.paragon),
    "bt2, beside two versions": lambda toy: BT2(
        after_another(toy), toy.classes, BT2Settings(extra=2), paragon=toy.paragon
    ),
    "bt2, no extra": lambda toy: BT2(toy.old, toy.classes, BT2Settings(extra=0, unseen="null"), paragon=toy.paragon),
    "bt2, using new": lambda toy: BT2(
        toy.old, toy.classes, BT2Settings(extra=8, orthogonal_map="matrix_exp", unseen="using_new"), paragon=toy.paragon
    ),
    "ndpp": lambda toy: NDPP(toy.old, toy.classes, NDPPSettings(neighbours=4)),
    "ndpp, once": lambda toy: NDPP(
        toy.old, toy.classes, NDPPSettings(neighbours=4, twice=False, ema=0.9, unseen="null")
    ),
    "ndpp, using new": lambda toy: NDPP(toy.old, toy.classes, NDPPSettings(new_step=0.1, unseen="using_new")),
    "odpp": lambda toy: ODPP(toy.old, toy.classes, ODPPSettings(margin=0.5, steps=(50, 10))),
    "odpp, dot": lambda toy: ODPP(
        toy.old, toy.classes, ODPPSettings(margin=0.5, hinge="dot", steps=(50, 10), ema=0.9, unseen="null")
    ),
    "odpp, using new": lambda toy: ODPP(
        toy.old, toy.classes, ODPPSettings(margin=0.5, steps=(50, 10), unseen="using_new")
    ),
    "independent": lambda toy: Independent(toy.old, toy.classes),
    "l2": lambda toy: L2(toy.old, toy.classes),
    "lwf": lambda toy: LwF(toy.old, toy.classes),
    "ract": lambda toy: RACT(toy.old, toy.classes),
    "lce": lambda toy: LCE(toy.old, toy.classes, labels=toy.labels),
    "unibct": lambda toy: UniBCT(toy.old, toy.classes, UniBCTSettings(refresh_epochs=(1, 3))),
    "advbct": lambda toy: AdvBCT(toy.old, toy.classes, labels=toy.labels),
    "mixbct": lambda toy: MixBCT(toy.old, toy.classes, labels=toy.labels),
    "hoc": lambda toy: HOC(toy.old, toy.classes),
    "bc-aligner": lambda toy: BCAligner(toy.old, toy.classes, BCAlignerSettings(dim=10)),
}
