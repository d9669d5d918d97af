"""Training losses, one paper a file: plain torch modules, for any loop, whose terms sum to the loss."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from embridge.errors import InvalidInput, SettingsError
from embridge.methods import configured
from embridge.training.objectives.record import Need, ObjectiveRecord
from embridge.training.objectives.settings import Settings

if TYPE_CHECKING:
    from embridge.training.objectives.base import Objective, OldModel

__all__ = [
    "OBJECTIVES",
    "ObjectiveRecord",
    "make_objective",
    "name_of",
    "objective_settings",
    "record_of",
    "settings_beside",
]

_CLASS_MEANS: frozenset[Need] = frozenset({"old model"})
_ROWS: frozenset[Need] = frozenset({"old model", "old embeddings"})
_LABELLED_ROWS: frozenset[Need] = _ROWS | {"labels"}

OBJECTIVES: dict[str, ObjectiveRecord] = {
    "bct": ObjectiveRecord(
        module="embridge.training.objectives.bct",
        attribute="BCT",
        needs=_CLASS_MEANS,
        uses=frozenset({"old classifier"}),
        balanced={"prototype_scale": 10.0},
    ),
    "oca": ObjectiveRecord(
        module="embridge.training.objectives.oca",
        attribute="OCA",
        needs=_CLASS_MEANS,
        uses=frozenset({"old embeddings"}),
        balanced={"aligned_to": "rows", "label_smoothing": 0.0, "scale": 10.0, "prototype_scale": 10.0},
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
        balanced={"scale": 10.0, "prototype_scale": 10.0},
    ),
    "ndpp": ObjectiveRecord(
        module="embridge.training.objectives.ndpp",
        attribute="NDPP",
        needs=_CLASS_MEANS,
        balanced={"neighbours": 5, "temperature": 0.1},
        cost="refresh",
    ),
    "odpp": ObjectiveRecord(
        module="embridge.training.objectives.odpp",
        attribute="ODPP",
        needs=_CLASS_MEANS,
        balanced={"margin": 0.9, "temperature": 0.1},
        cost="refresh",
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
    "mixbct": ObjectiveRecord(module="embridge.training.objectives.mixbct", attribute="MixBCT", needs=_LABELLED_ROWS),
    "hoc": ObjectiveRecord(module="embridge.training.objectives.hoc", attribute="HOC", uses=_ROWS),
    "bc-aligner": ObjectiveRecord(
        module="embridge.training.objectives.bc_aligner",
        attribute="BCAligner",
        needs=_ROWS,
        bridge="backward map",
        length="any",
    ),
}
"""Every objective by its name in a settings file, with what it asks for and ends in."""


def record_of(name: str) -> ObjectiveRecord:
    """What the objective of that name asks for and ends in.

    Args:
        name: One of `OBJECTIVES`.

    Returns:
        Its record.

    Raises:
        SettingsError: There is no such objective.

    Examples:
        >>> "paragon" in record_of("bt2").needs, "paragon" in record_of("oca").needs
        (True, False)
    """
    if name not in OBJECTIVES:
        raise SettingsError(f"an objective is one of {', '.join(OBJECTIVES)}; came {name!r}")
    return OBJECTIVES[name]


def name_of(objective: type[Objective]) -> str:
    """What a class of objectives is called in settings files and provenance.

    Args:
        objective: A class.

    Returns:
        Its name in `OBJECTIVES`, or that of the class in small letters if it is not in it.

    Examples:
        >>> from embridge.training.objectives.bc_aligner import BCAligner
        >>> name_of(BCAligner)
        'bc-aligner'
    """
    own = (objective.__module__, objective.__name__)
    names = {(record.module, record.attribute): name for name, record in OBJECTIVES.items()}
    return names.get(own, objective.__name__.lower())


def objective_settings(name: str, settings: Mapping[str, Any]) -> Settings:
    """Settings of the objective of that name, from a mapping as YAML gives it.

    Args:
        name: One of `OBJECTIVES`.
        settings: By name, as YAML gives them; lists stand for tuples.

    Returns:
        The settings dataclass of the objective.

    Raises:
        SettingsError: There is no such objective or setting, or a value is of another type or out of its range.

    Examples:
        >>> objective_settings("l2", {"weight": 3.0})
        L2Settings(weight=3.0, scale=1.0)
    """
    record = record_of(name)
    checked: Settings = configured(name, _named(record, f"{record.attribute}Settings"), settings)
    return checked


def make_objective(
    name: str, old: OldModel | None, classes: int, settings: Mapping[str, Any], **data: Any
) -> Objective:
    """Make the objective of that name.

    Args:
        name: One of `OBJECTIVES`.
        old: The old model, or None.
        classes: How many classes the new model is trained on.
        settings: Settings by name, as YAML gives them.
        data: What its record may need: ``labels`` [n] and ``paragon`` [n, d], which go to those that need them; ``earlier`` for
            `BCAligner`.

    Returns:
        The objective; its layers are drawn from torch's global generator.

    Raises:
        SettingsError: There is no such objective or setting, or a value is of another type or out of its range.
        InvalidInput: Something is missing that the objective needs.

    Examples:
        >>> import torch
        >>> make_objective("independent", None, 3, {"dim": 4}, labels=torch.arange(3)).embedding_dim
        4
    """
    record = record_of(name)
    for key in ("labels", "paragon"):
        if key in record.needs and key not in data:
            raise InvalidInput(f"{name} needs {key}: a tensor with a row for each training row")
    tensors = {key: value for key, value in data.items() if key not in ("labels", "paragon") or key in record.needs}
    objective: Objective = _named(record, record.attribute)(old, classes, objective_settings(name, settings), **tensors)
    return objective


def settings_beside(name: str, old: OldModel) -> dict[str, Any]:
    """Settings of an objective whose weights are found while training: those of its record, and as many extra dims as the old
    model has, or its oldest ancestor.

    Args:
        name: One of `OBJECTIVES`.
        old: The old model.

    Returns:
        Settings by name, as YAML gives them.

    Raises:
        SettingsError: There is no such objective.

    Examples:
        >>> import torch
        >>> from embridge.training.objectives.base import OldModel
        >>> settings_beside("bt2", OldModel(torch.eye(3), torch.ones(3, dtype=torch.bool)))
        {'scale': 10.0, 'prototype_scale': 10.0, 'extra': 3}
    """
    record = record_of(name)
    extra = {"extra": (*old.ancestors, old)[0].dim} if "extra" in record.length else {}
    return {**record.balanced, **extra}


def _named(record: ObjectiveRecord, attribute: str) -> Any:
    return getattr(import_module(record.module), attribute)
