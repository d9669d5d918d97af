"""Training losses, one paper a file: plain torch modules, for any loop, whose terms sum to the loss."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any, get_type_hints

from embridge.errors import InvalidInput, SettingsError
from embridge.methods import checked
from embridge.training.objectives.record import Need, ObjectiveRecord

__all__ = ["OBJECTIVES", "ObjectiveRecord", "make_objective", "objective_settings", "record_of"]

_CLASS_MEANS: frozenset[Need] = frozenset({"old model"})
_ROWS: frozenset[Need] = frozenset({"old model", "old embeddings"})
_LABELLED_ROWS: frozenset[Need] = _ROWS | {"labels"}

OBJECTIVES: dict[str, ObjectiveRecord] = {
    "bct": ObjectiveRecord(
        module="embridge.training.objectives.bct",
        attribute="BCT",
        needs=_CLASS_MEANS,
        uses=frozenset({"old classifier"}),
    ),
    "oca": ObjectiveRecord(
        module="embridge.training.objectives.oca",
        attribute="OCA",
        needs=_CLASS_MEANS,
        uses=frozenset({"old embeddings"}),
        ancestors=True,
        bridge="prefix",
        length="old + extra",
    ),
    "bt2": ObjectiveRecord(
        module="embridge.training.objectives.bt2",
        attribute="BT2",
        needs=_ROWS | {"paragon"},
        ancestors=True,
        bridge="prefix",
        length="paragon + extra",
        trained_on=frozenset({"images"}),
    ),
    "ndpp": ObjectiveRecord(
        module="embridge.training.objectives.ndpp", attribute="NDPP", needs=_CLASS_MEANS, cost="refresh"
    ),
    "odpp": ObjectiveRecord(
        module="embridge.training.objectives.odpp", attribute="ODPP", needs=_CLASS_MEANS, cost="refresh"
    ),
    "independent": ObjectiveRecord(
        module="embridge.training.objectives.independent", attribute="Independent", bridge="none", length="any"
    ),
    "l2": ObjectiveRecord(module="embridge.training.objectives.l2", attribute="L2", needs=_ROWS),
    "lwf": ObjectiveRecord(
        module="embridge.training.objectives.lwf", attribute="LwF", needs=_ROWS | {"old classifier"}
    ),
    "ract": ObjectiveRecord(module="embridge.training.objectives.ract", attribute="RACT", needs=_ROWS),
    "lce": ObjectiveRecord(module="embridge.training.objectives.lce", attribute="LCE", needs=_LABELLED_ROWS),
    "unibct": ObjectiveRecord(
        module="embridge.training.objectives.unibct", attribute="UniBCT", needs=_ROWS, cost="refresh"
    ),
    "advbct": ObjectiveRecord(module="embridge.training.objectives.advbct", attribute="AdvBCT", needs=_LABELLED_ROWS),
    "mixbct": ObjectiveRecord(
        module="embridge.training.objectives.mixbct", attribute="MixBCT", needs=_LABELLED_ROWS, draws=True
    ),
    "hoc": ObjectiveRecord(module="embridge.training.objectives.hoc", attribute="HOC", uses=_ROWS),
    "bc-aligner": ObjectiveRecord(
        module="embridge.training.objectives.bc_aligner",
        attribute="BCAligner",
        needs=_ROWS,
        bridge="backward map",
        length="any",
    ),
}

_DATA = ("labels", "paragon", "earlier")
"""Arguments that are no settings: they come of the data and of other models."""


def record_of(name: str) -> ObjectiveRecord:
    """What the objective of that name asks for and ends in.

    Raises:
        SettingsError: There is no such objective.

    Example:
        >>> "paragon" in record_of("bt2").needs, "paragon" in record_of("oca").needs
        (True, False)
    """
    if name not in OBJECTIVES:
        raise SettingsError(f"an objective is one of {', '.join(OBJECTIVES)}; came {name!r}")
    return OBJECTIVES[name]


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
    record = record_of(name)
    for key in ("labels", "paragon"):
        if key in record.needs and key not in data:
            raise InvalidInput(f"{name} needs {key}: a tensor with a row for each training row")
    given = {key: value for key, value in data.items() if key not in ("labels", "paragon") or key in record.needs}
    if "paragon" in given:
        given["dim"] = given["paragon"].shape[1]
    return _class(name)(old, classes, **objective_settings(name, settings), **given)


def _class(name: str) -> Any:
    record = record_of(name)
    return getattr(import_module(record.module), record.attribute)
