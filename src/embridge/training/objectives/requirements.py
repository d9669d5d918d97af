"""What an objective must be given: settings in range, and of the old model what it uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives.base import OldModel
from embridge.training.objectives.prototypes import Unseen, resolve_unseen

__all__ = [
    "Rule",
    "check_old_policy",
    "check_settings",
    "classes_taken",
    "needed_embeddings",
    "needed_labels",
    "needed_old",
]

Rule = Literal[
    "above 0",
    "0 or more",
    "0 to 1",
    "above 0 and below 1",
    "at least 0 and below 1",
    "a whole number of at least 1",
    "a whole number of at least 2",
]
"""The range that a setting has to be in; none takes NaN or infinity."""

_RULES: dict[Rule, Callable[[float], bool]] = {
    "above 0": lambda value: 0 < value < float("inf"),
    "0 or more": lambda value: 0 <= value < float("inf"),
    "0 to 1": lambda value: 0 <= value <= 1,
    "above 0 and below 1": lambda value: 0 < value < 1,
    "at least 0 and below 1": lambda value: 0 <= value < 1,
    "a whole number of at least 1": lambda value: isinstance(value, int) and value >= 1,
    "a whole number of at least 2": lambda value: isinstance(value, int) and value >= 2,
}


def check_settings(objective: str, rule: Rule, **settings: float) -> None:
    """Raise `SettingsError` unless all of the settings keep to the rule.

    >>> check_settings("ract", "above 0", temperature=0.0)
    Traceback (most recent call last):
    embridge.errors.SettingsError: ract: temperature is above 0, came 0.0
    """
    for name, value in settings.items():
        if not _RULES[rule](value):
            raise SettingsError(f"{objective}: {name} is {rule}, came {value}")


def needed_old(objective: str, old: OldModel | None, *, ancestors: bool = False) -> OldModel:
    """The old model, or `InvalidInput` where none was given; `SettingsError` for ancestors where the objective takes none."""
    if old is None:
        raise InvalidInput(f"{objective} trains beside an old model; give an OldModel in the place of None")
    if old.ancestors and not ancestors:
        raise SettingsError(f"{objective} holds a new model to the old one alone; leave its ancestors out")
    return old


def needed_embeddings(objective: str, old: OldModel | None, *, ancestors: bool = False) -> Tensor:
    """The old embeddings of the training rows [n, d_old], or `InvalidInput` where none were given; see `needed_old`.

    >>> old = OldModel(torch.eye(2), torch.tensor([True, True]))
    >>> needed_embeddings("l2", old)
    Traceback (most recent call last):
    embridge.errors.InvalidInput: l2 uses the old embeddings of the training rows; give OldModel(..., embeddings=[n, 2])
    """
    old = needed_old(objective, old, ancestors=ancestors)
    if old.embeddings is None:
        raise InvalidInput(
            f"{objective} uses the old embeddings of the training rows; give OldModel(..., embeddings=[n, {old.dim}])"
        )
    return old.embeddings


def needed_labels(objective: str, old: OldModel, labels: Tensor) -> Tensor:
    """The classes of the training rows [n], or `InvalidInput` unless there is one for each old embedding."""
    rows, classes = len(needed_embeddings(objective, old)), len(old.prototypes)
    whole = not labels.is_floating_point() and labels.dtype != torch.bool
    if labels.shape != (rows,) or not whole or not bool(((labels >= 0) & (labels < classes)).all()):
        raise InvalidInput(
            f"{objective}: labels are whole numbers of 0 to {classes - 1}, one for each of the {rows} old embeddings; "
            f"came {labels.dtype} of shape {tuple(labels.shape)}"
        )
    return labels.long()


def check_old_policy(objective: str, unseen: Unseen) -> None:
    """Raise `SettingsError` for ``using_new``, where bounds and graphs are of old embeddings."""
    if unseen == "using_new":
        raise SettingsError(f"{objective}: unseen is using_old or null, came {unseen!r}")


def classes_taken(objective: str, old: OldModel, unseen: Unseen) -> Tensor:
    """Which classes [c] the terms about old embeddings take, by `resolve_unseen`.

    Raises `SettingsError` for ``using_new``.

    >>> classes_taken("lce", OldModel(torch.eye(2), torch.tensor([True, False])), "null").tolist()
    [True, False]
    """
    check_old_policy(objective, unseen)
    return resolve_unseen(old.prototypes, old.known, unseen)[1]
