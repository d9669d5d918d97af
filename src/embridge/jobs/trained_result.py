"""What a training made, in words, as a table and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from embridge.adapters.upgrade import Upgrade
from embridge.training.compatible.trained import Trained

__all__ = ["TrainedResult"]


@dataclass(frozen=True, slots=True, eq=False)
class TrainedResult:
    """What `train_model` made.

    Attributes:
        trained: The model.
        upgrade: Its upgrade; None without an old model.
        nearest: The share of held-out items whose nearest other one is of their class, by query model and gallery model.
        clusters: How many clusters stand in the place of classes, None where there are classes. The shares then favour the old
            model, whose clusters they are.

    Examples:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from embridge.jobs.train import train_model
        >>> from embridge.settings import load_training_settings
        >>> np.savez("images.npz", images=np.zeros((16, 8, 8, 3), np.uint8), labels=np.arange(16) % 2)
        >>> _ = Path("train.yaml").write_text(
        ...     "data: {images: images.npz, side: 8, held_out: 0.5}\\n"
        ...     "objective: {name: independent, settings: {dim: 4}}\\n"
        ...     "backbone: {name: small-resnet, settings: {width: 4, depth: 8}}\\n"
        ...     "training: {epochs: 1, batch_size: 8, device: cpu, augment: {crop_padding: 1}}\\n"
        ... )
        >>> train_model(load_training_settings("train.yaml")).table()[0]
        ['queries/gallery', 'nearest is of its class']
    """

    trained: Trained
    upgrade: Upgrade | None
    nearest: dict[str, float]
    clusters: int | None = None

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The shares, for people."""
        what = "nearest is of its " + ("class" if self.clusters is None else "cluster, as the old model groups them")
        return ["queries/gallery", what], [[k, f"{v:.3f}"] for k, v in self.nearest.items()]

    @property
    def sentence(self) -> str:
        """One line for people."""
        provenance = self.trained.provenance
        figures = provenance.figures
        losses = figures["losses"]
        fell = f"loss {losses[0]:.3f} at first, {losses[-1]:.3f} in the end" if losses else "no loss"
        best = f"; of step {figures['best_step']}, the best" if "best_step" in figures else ""
        return f"{provenance.method} on {provenance.data}; {figures['steps']} steps, {fell}{best}"

    def to_dict(self) -> dict[str, Any]:
        """What ``embridge train --json`` prints."""
        provenance = self.trained.provenance
        spaces = {"new": self.trained.space} | ({} if self.upgrade is None else {"old": self.upgrade.old_space})
        payload: dict[str, Any] = {"schema": "embridge.train/1", "method": provenance.method, "data": provenance.data}
        payload |= {side: space.to_dict() | {"id": space.id} for side, space in spaces.items()}
        return payload | {"figures": dict(provenance.figures), "nearest": self.nearest, "clusters": self.clusters}
