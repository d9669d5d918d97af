"""What a training made, in words, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from embridge.adapters.upgrade import Upgrade
from embridge.evaluation.compatibility import Comparison, compatible
from embridge.jobs._training_advice import advice
from embridge.jobs._training_control import Control
from embridge.training.compatible.trained import Trained

__all__ = ["TrainedResult"]


@dataclass(frozen=True, slots=True, eq=False)
class TrainedResult:
    """What `train_model` made.

    Attributes:
        trained: The model.
        upgrade: Its upgrade; None without an old model.
        found: Whether the nearest other item is of the right class, for each held-out item [m], by query model and gallery
            model; empty without held-out items.
        objective: What it was trained with, a name of `OBJECTIVES`.
        control: The same network trained alone, and bridges after it, where the settings ask for them.
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
    found: Mapping[str, np.ndarray]
    objective: str
    control: Control | None = None
    clusters: int | None = None

    @property
    def nearest(self) -> dict[str, float]:
        """The share of held-out items whose nearest other one is of their class, by query model and gallery model."""
        rows = dict(self.found)
        if self.control is not None:
            rows |= {f"alone, {name}/old": right for name, right in self.control.bridged.items()}
            rows |= {"alone/alone": self.control.alone}
        return {name: float(right.mean()) for name, right in rows.items()}

    @property
    def compatible(self) -> Comparison | None:
        """Whether new queries find more in the old index than old ones do; None where that was not measured.

        Clusters are of the old model's own vectors, so they cannot say.
        """
        if "new/old" not in self.found or self.clusters is not None:
            return None
        return compatible(self.found["new/old"], self.found["old/old"])

    @property
    def advice(self) -> list[str]:
        """What was traded, whether the model is compatible, and what to try next; empty where that was not measured."""
        comparison, losses = self.compatible, self.trained.provenance.figures["losses"]
        return [] if comparison is None else advice(self.objective, self.found, comparison, self.control, losses)

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
        payload |= {"figures": dict(provenance.figures), "nearest": self.nearest, "clusters": self.clusters}
        comparison = self.compatible
        answer = None if comparison is None else asdict(comparison)
        return payload | {"compatible": answer, "advice": self.advice}
