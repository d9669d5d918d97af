"""What a balanced training needs of its start: the names of the terms, and the items that it looks at."""

from __future__ import annotations

import torch

from embridge.training.compatible._balance import Balance
from embridge.training.compatible._crossing import Crossing, left_out_classes
from embridge.training.compatible.settings import CompatibleSettings
from embridge.training.compatible.start import Start

__all__ = ["balance_of", "crossing_of"]


def balance_of(start: Start, settings: CompatibleSettings, steps_per_epoch: int) -> Balance | None:
    """Weights that are found while training, where the settings ask for them and the objective has terms to weigh.

    Args:
        start: The objective, and the items.
        settings: How it is trained.
        steps_per_epoch: Batches of an epoch.

    Returns:
        The weights before the first step; None where they are fixed.

    Examples:
        >>> import numpy as np
        >>> from embridge.backbones.vectors import VectorHead
        >>> from embridge.training.compatible.labelled import LabelledVectors
        >>> from embridge.training.objectives import make_objective
        >>> data = LabelledVectors(np.eye(4, dtype=np.float32), np.arange(4) % 2)
        >>> start = Start(data, VectorHead(4, 3), make_objective("independent", None, 2, {"dim": 3}), None, 0)
        >>> balance_of(start, CompatibleSettings(compatibility="auto"), 2) is None
        True
    """
    if settings.compatibility == "fixed":
        return None
    objective = start.objective
    terms = _term_names(start)
    if set(terms) <= objective.task_terms:
        return None
    steps = settings.epochs * steps_per_epoch
    return Balance(terms, task=objective.task_terms, rows=objective.row_terms, steps=steps)


def crossing_of(start: Start) -> Crossing | None:
    """What is looked at while training: the held-out items with their old vectors, where there are such.

    Args:
        start: The held-out items, and the seed by which classes are left out.

    Returns:
        The items.

    Examples:
        >>> import numpy as np
        >>> from embridge.backbones.vectors import VectorHead
        >>> from embridge.training.compatible.labelled import LabelledVectors
        >>> from embridge.training.objectives import make_objective
        >>> data = LabelledVectors(np.eye(4, dtype=np.float32), np.arange(4) % 2)
        >>> start = Start(data, VectorHead(4, 3), make_objective("independent", None, 2, {"dim": 3}), None, 0)
        >>> crossing_of(start) is None
        True
    """
    held_out = start.held_out
    if held_out is None or held_out.old is None:
        return None
    labels = held_out.data.labels
    return Crossing(labels, held_out.old, left_out_classes(labels, seed=start.seed))


@torch.no_grad()
def _term_names(start: Start) -> list[str]:
    """Of what the objective gives for two items."""
    objective = start.objective
    device = next(tensor.device for tensor in (*objective.parameters(), *objective.buffers()))
    training, few = objective.training, torch.arange(min(2, len(start.data)), device=device)
    labels = torch.from_numpy(start.data.labels[: len(few)]).to(device)
    names = list(objective.eval()(torch.ones(len(few), objective.feature_dim, device=device), labels, few))
    objective.train(training)
    return names
