"""Training losses, one paper a file: plain torch modules, for any loop, whose terms sum to the loss."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any, get_type_hints

from embridge.errors import SettingsError
from embridge.methods import checked

__all__ = ["OBJECTIVES", "make_objective", "objective_settings", "takes"]

OBJECTIVES: dict[str, tuple[str, str]] = {
    "bct": ("embridge.training.objectives.bct", "BCT"),
    "oca": ("embridge.training.objectives.oca", "OCA"),
    "bt2": ("embridge.training.objectives.bt2", "BT2"),
    "ndpp": ("embridge.training.objectives.ndpp", "NDPP"),
    "odpp": ("embridge.training.objectives.odpp", "ODPP"),
    "independent": ("embridge.training.objectives.independent", "Independent"),
    "l2": ("embridge.training.objectives.l2", "L2"),
    "lwf": ("embridge.training.objectives.lwf", "LwF"),
    "ract": ("embridge.training.objectives.ract", "RACT"),
    "lce": ("embridge.training.objectives.lce", "LCE"),
    "unibct": ("embridge.training.objectives.unibct", "UniBCT"),
    "advbct": ("embridge.training.objectives.advbct", "AdvBCT"),
    "mixbct": ("embridge.training.objectives.mixbct", "MixBCT"),
    "hoc": ("embridge.training.objectives.hoc", "HOC"),
    "bc-aligner": ("embridge.training.objectives.bc_aligner", "BCAligner"),
}

_DATA = ("labels", "paragon", "earlier")
"""Arguments that are no settings: they come of the data and of other models."""


def takes(name: str, argument: str) -> bool:
    """Whether the objective of that name has such an argument; raises `SettingsError` for an unknown name.

    >>> takes("bt2", "paragon"), takes("oca", "paragon")
    (True, False)
    """
    return argument in inspect.signature(_class(name).__init__).parameters


def objective_settings(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the objective of that name as a YAML file has them; raises `SettingsError` for an unknown one.

    >>> objective_settings("oca", {"extra": 8, "weights": [5.0, 10.0, 5.0]})
    {'extra': 8, 'weights': (5.0, 10.0, 5.0)}
    """
    constructor = _class(name).__init__
    named = [p.name for p in inspect.signature(constructor).parameters.values() if p.kind is p.KEYWORD_ONLY]
    known = [n for n in named if n not in (*_DATA, *(["dim"] if "paragon" in named else []))]
    unknown = sorted(given.keys() - set(known))
    if unknown:
        raise SettingsError(f"{name} has no setting {', '.join(unknown)}; it has {known}")
    return checked(name, get_type_hints(constructor), given)


def make_objective(name: str, old: Any, classes: int, settings: Mapping[str, Any], **data: Any) -> Any:
    """The `Objective` of that name, with what it asks of the data: ``labels`` and ``paragon`` go to those that take them.

    A paragon says the dim of the new head. Raises `SettingsError` for an unknown name or setting.

    >>> import torch
    >>> make_objective("independent", None, 3, {"dim": 4}, labels=torch.arange(3)).embedding_dim
    4
    """
    given = {key: value for key, value in data.items() if takes(name, key)}
    if "paragon" in given:
        given["dim"] = given["paragon"].shape[1]
    return _class(name)(old, classes, **objective_settings(name, settings), **given)


def _class(name: str) -> Any:
    if name not in OBJECTIVES:
        raise SettingsError(f"an objective is one of {', '.join(OBJECTIVES)}; came {name!r}")
    module, attribute = OBJECTIVES[name]
    return getattr(import_module(module), attribute)
