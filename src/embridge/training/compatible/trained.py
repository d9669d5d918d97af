"""Trained: what compatible training ends as: a model, and the upgrade that joins it with the old one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embridge.adapters.base import Adapter
from embridge.adapters.linear import Identity
from embridge.adapters.upgrade import Upgrade
from embridge.backbones.embedding import AsGiven, UnitLength
from embridge.backbones.saved import TrainedModel
from embridge.backbones.vectors import VectorHead
from embridge.encoders.trained import TrainedEncoder
from embridge.errors import SettingsError
from embridge.provenance import Provenance
from embridge.shapes import Float32
from embridge.space import Space
from embridge.training.compatible.settings import CompatibleSettings
from embridge.training.compatible.start import Start
from embridge.training.objectives.base import Objective

__all__ = ["Trained", "trained_from"]

_PROBED_ROWS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A trained model, where it comes from, and how it meets the old rows.

    Attributes:
        model: The network, with what makes embeddings of its features.
        provenance: Where it comes from.
        make_bridge: Gives the bridge between two spaces, new and old; see `Objective.bridge`.
        old_dim: The dims of the old rows.

    Examples:
        >>> from embridge.training.compatible.labelled import LabelledVectors
        >>> from embridge.training.compatible.trainer import CompatibleTraining
        >>> from embridge.training.objectives import make_objective
        >>> data = LabelledVectors(np.eye(4, dtype=np.float32), np.arange(4) % 2)
        >>> objective = make_objective("independent", None, 2, {"dim": 3})
        >>> trained = CompatibleTraining(epochs=1, batch_size=2).fit(data, VectorHead(4, 3), objective)
        >>> trained.embed(data.vectors).shape
        (4, 3)
    """

    model: TrainedModel
    provenance: Provenance
    make_bridge: Callable[[Space, Space], Adapter]
    old_dim: int

    @property
    def space(self) -> Space:
        """Where its embeddings lie."""
        return self.model.space

    def encoder(self, *, device: str = "auto", batch_size: int = 256) -> TrainedEncoder:
        """The model as an encoder of images.

        Args:
            device: Where it runs.
            batch_size: Images that are encoded at once.

        Returns:
            The encoder.

        Raises:
            SettingsError: The model was trained on vectors.
        """
        return TrainedEncoder(self.model, device=device, batch_size=batch_size)

    def embed(self, vectors: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d_new"]:
        """Embed vectors of the frozen model, where this one was trained on such.

        Args:
            vectors: Of the frozen model.

        Returns:
            Unit rows.

        Raises:
            SettingsError: The model was trained on images.
        """
        if self.model.pixels is not None:
            raise SettingsError(f"{self.model.name} was trained on images: encode them with its encoder")
        with torch.inference_mode():
            rows: np.ndarray = self.model.eval()(torch.from_numpy(vectors)).numpy()
        return rows

    def upgrade(self, old: Space, *, source: Space | None = None) -> Upgrade:
        """Make the upgrade on an index of the old model.

        A model of images has nothing before its bridge. Of one that was trained on vectors, the upgrade's head is what was
        trained, and runs in numpy.

        Args:
            old: The space of the index.
            source: The space of the frozen model, where this one was trained on its vectors.

        Returns:
            The upgrade.

        Raises:
            SettingsError: The space has other dims than the old vectors had; the source is missing, or there should be none;
                or it is BT² on vectors, whose embedding is no adapter (`embed` gives its rows).
        """
        if old.dim != self.old_dim:
            raise SettingsError(f"{self.model.name} was trained beside vectors of {self.old_dim} dims, came {old}")
        new = self.space
        return Upgrade(self._head(new, source), self.make_bridge(new, old), self.provenance)

    def save(self, folder: Path | str, *, old: Space | None = None) -> Path:
        """Write the folder that ``trained:FOLDER`` loads, whole or not at all.

        Args:
            folder: Where; an earlier model in it is replaced.
            old: Write the upgrade on an index of this space too, into ``upgrade`` below it, for a model of images;
                `Upgrade.load` reads it.

        Returns:
            The folder.
        """
        upgrade = None if old is None else self.upgrade(old)
        return self.model.save(folder, provenance=asdict(self.provenance), upgrade=upgrade)

    def _head(self, new: Space, source: Space | None) -> Adapter:
        backbone = self.model.backbone
        if not isinstance(backbone, VectorHead):
            if source is not None:
                raise SettingsError(f"{self.model.name} was trained on images: its upgrade has no source but itself")
            return Identity(new, new)
        if source is None or source.dim != backbone.source_dim:
            raise SettingsError(
                f"{self.model.name} was trained on vectors of {backbone.source_dim} dims: give the space of the model that "
                f"makes them; came {source}"
            )
        if not isinstance(self.model.embedding, (AsGiven, UnitLength)):
            raise SettingsError(
                f"{self.model.name}: its embedding ({self.model.embedding.kind}) is no adapter; write what embed(vectors) "
                "gives as vectors of its own space, and train on images for an upgrade with a head"
            )
        return backbone.to_adapter(source, new)


def trained_from(start: Start, settings: CompatibleSettings, figures: Mapping[str, Any]) -> Trained:
    """What a training ended as.

    Args:
        start: What it started from, whose network and objective are trained by now.
        settings: How it was done.
        figures: Of the training, for the provenance.

    Returns:
        The model and all that belongs to it.

    Raises:
        SettingsError: What the objective's ``embed`` does is not its ``embedding``, as in one of the user's own.

    Examples:
        >>> from embridge.backbones.vectors import VectorHead
        >>> from embridge.training.compatible.labelled import LabelledVectors
        >>> from embridge.training.objectives import make_objective
        >>> data = LabelledVectors(np.eye(4, dtype=np.float32), np.arange(4) % 2)
        >>> start = Start(data, VectorHead(4, 3), make_objective("independent", None, 2, {"dim": 3}), None, 0)
        >>> trained_from(start, CompatibleSettings(name="mine"), {}).space.model
        'mine'
    """
    name = settings.name or f"{start.method}-{start.network.kind}"
    pixels, objective = settings.pixels(start.data.side), start.objective
    model = TrainedModel(name, start.network, objective.embedding(), dim=objective.embedding_dim, pixels=pixels)
    _require_same_embedding(model, objective)
    provenance = Provenance(
        method=start.method,
        settings={"training": asdict(settings), **start.described()},
        seed=start.seed,
        data=start.data_described(),
        versions=start.versions(),
        figures=figures,
    )
    return Trained(model, provenance, objective.bridge, objective.old_dim)


def _require_same_embedding(model: TrainedModel, objective: Objective) -> None:
    """On random features, which are the same each time."""
    features = torch.randn(_PROBED_ROWS, objective.feature_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, embedded = objective.eval().embed(features), model.embedding.eval()(features)
    if expected.shape != embedded.shape or not torch.allclose(expected, embedded, rtol=1e-4, atol=1e-4):
        raise SettingsError(
            f"{type(objective).__name__}: embedding() does not give what embed() does; override it with a module of "
            "embridge.backbones.embedding"
        )
