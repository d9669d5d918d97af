"""What an objective takes of the old model and of the labels, or an error that says what to give."""

from __future__ import annotations

import torch
from torch import Tensor

from embridge.errors import InvalidInput, SettingsError
from embridge.training.objectives.base import OldModel

__all__ = ["needed_embeddings", "needed_labels", "needed_old"]


def needed_old(objective: str, old: OldModel | None, classes: int, *, ancestors: bool = False) -> OldModel:
    """Give the old model, if it is there and fits.

    Args:
        objective: How errors call the objective.
        old: The old model, or None where the caller has none.
        classes: How many classes the new model is trained on.
        ancestors: The objective takes the versions before the old model too.

    Returns:
        The old model.

    Raises:
        InvalidInput: There is no old model, or it has prototypes of another number of classes.
        SettingsError: It has ancestors, and the objective takes none.

    Examples:
        >>> needed_old("bct", OldModel(torch.eye(2), torch.tensor([True, True])), 2).dim
        2
    """
    if old is None:
        raise InvalidInput(f"{objective} trains beside an old model; give an OldModel in the place of None")
    if old.ancestors and not ancestors:
        raise SettingsError(f"{objective} holds a new model to the old one alone; leave its ancestors out")
    if len(old.prototypes) != classes:
        raise InvalidInput(
            f"{objective}: the old model has {len(old.prototypes)} prototypes, one for each class; {classes=}"
        )
    return old


def needed_embeddings(objective: str, old: OldModel) -> Tensor:
    """Give the old embeddings of the training rows.

    Args:
        objective: How the error calls the objective.
        old: The old model.

    Returns:
        Unit rows [n, d_old].

    Raises:
        InvalidInput: The old model holds none.

    Examples:
        >>> needed_embeddings("l2", OldModel(torch.eye(2), torch.tensor([True, True])))
        Traceback (most recent call last):
        embridge.errors.InvalidInput: l2 uses the old embeddings of the training rows; give OldModel(..., embeddings=[n, 2])
    """
    if old.embeddings is None:
        raise InvalidInput(
            f"{objective} uses the old embeddings of the training rows; give OldModel(..., embeddings=[n, {old.dim}])"
        )
    return old.embeddings


def needed_labels(objective: str, old: OldModel, labels: Tensor) -> Tensor:
    """Give the classes of the training rows, if they fit the old embeddings.

    Args:
        objective: How errors call the objective.
        old: The old model, with its embeddings [n, d_old] of the training rows.
        labels: Whole numbers [n] in 0 … c − 1.

    Returns:
        The labels [n] as int64.

    Raises:
        InvalidInput: There is not one label for each old embedding, or one is no class.

    Examples:
        >>> old = OldModel(torch.eye(2), torch.tensor([True, True]), embeddings=torch.eye(2))
        >>> needed_labels("lce", old, torch.tensor([1, 0], dtype=torch.int32)).dtype
        torch.int64
    """
    rows, classes = len(needed_embeddings(objective, old)), len(old.prototypes)
    whole = not labels.is_floating_point() and labels.dtype != torch.bool
    if labels.shape != (rows,) or not whole or not bool(((labels >= 0) & (labels < classes)).all()):
        raise InvalidInput(
            f"{objective}: labels are whole numbers of 0 to {classes - 1}, one for each of the {rows} old embeddings; "
            f"came {labels.dtype} of shape {tuple(labels.shape)}"
        )
    return labels.long()
