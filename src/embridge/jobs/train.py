"""From a settings file to a trained model and its upgrade: the work of ``embridge train``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embridge.errors import require
from embridge.progress import Progress, silent
from embridge.settings.training import TrainingSettings

if TYPE_CHECKING:
    from embridge.jobs.trained_result import TrainedResult

__all__ = ["train_model"]


def train_model(settings: TrainingSettings, *, progress: Progress = silent) -> TrainedResult:
    """Train the new model, and write its folder and that of its upgrade; without an old model, the first alone.

    A run that was stopped goes on from what is in the cache: the old model's vectors, and the last checkpoint.

    Args:
        settings: The settings file, read by `load_training_settings`.
        progress: Hears how far each part of the work is.

    Returns:
        The model, its upgrade, and what both find among held-out items.

    Raises:
        MissingExtra: The extra ``train`` is not installed.
        SettingsError: The settings do not fit together, before any work.
        InvalidInput: The data cannot be used, or a folder of other things is in the model's or the upgrade's place.

    Examples:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from embridge.settings import load_training_settings
        >>> draw = np.random.default_rng(0)
        >>> np.savez("images.npz", images=draw.integers(0, 256, (16, 8, 8, 3), np.uint8), labels=np.arange(16) % 2)
        >>> _ = Path("train.yaml").write_text(
        ...     "data: {images: images.npz, side: 8}\\n"
        ...     "objective: {name: independent, settings: {dim: 4}}\\n"
        ...     "backbone: {name: small-resnet, settings: {width: 4, depth: 8}}\\n"
        ...     "training: {epochs: 1, batch_size: 8, device: cpu, augment: {crop_padding: 1}}\\n"
        ... )
        >>> train_model(load_training_settings("train.yaml")).trained.space.dim
        4
    """
    for library in ("torch", "lightning"):
        require(library, extra="train")
    from embridge.jobs._training_plan import run_training  # it imports both

    return run_training(settings, progress)
