"""Trained: what compatible training ends as: a model, and the upgrade that joins it with the old one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

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
from embridge.training.objectives.base import Objective

__all__ = ["Trained", "trained_model"]

UPGRADE = "upgrade"


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A trained model, where it comes from, and how it meets the old rows [n, old_dim].

    make_bridge: gives the bridge between the two spaces, new and old; see `Objective.bridge`.
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
        """The model as an encoder of images; raises `SettingsError` where it was trained on vectors."""
        return TrainedEncoder(self.model, device=device, batch_size=batch_size)

    def embed(self, vectors: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d_new"]:
        """Vectors of the frozen model to unit rows; raises `SettingsError` where it was trained on images."""
        if self.model.pixels is not None:
            raise SettingsError(f"{self.model.name} was trained on images: encode them with its encoder")
        with torch.inference_mode():
            rows: np.ndarray = self.model.eval()(torch.from_numpy(vectors)).numpy()
        return rows

    def upgrade(self, old: Space, *, source: Space | None = None) -> Upgrade:
        """The upgrade on an index of ``old``: nothing before the bridge, where the model takes images.

        source: of the frozen model, where this one was trained on its vectors; the upgrade's head is what was trained, and
        runs in numpy. Raises `SettingsError` for a space of another dim than the old vectors had, for a source that is
        missing or not wanted, and for BT² on vectors, whose embedding is no adapter: `embed` gives its rows.
        """
        if old.dim != self.old_dim:
            raise SettingsError(f"{self.model.name} was trained beside vectors of {self.old_dim} dims, came {old}")
        new = self.space
        return Upgrade(self._head(new, source), self.make_bridge(new, old), self.provenance)

    def save(self, folder: Path | str, *, old: Space | None = None) -> Path:
        """Write the folder that ``trained:FOLDER`` loads, whole or not at all.

        old: write the upgrade on an index of it too, into ``upgrade``, for a model of images; `Upgrade.load` reads it.
        """
        upgrade = None if old is None else self.upgrade(old)
        path = self.model.save(folder, provenance=asdict(self.provenance))
        if upgrade is not None:
            upgrade.save(path / UPGRADE)
        return path

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


def trained_model(make: Callable[[], TrainedModel], objective: Objective, features: Tensor) -> TrainedModel:
    """The model, if it embeds these features as the objective does.

    Raises `SettingsError` for an objective whose `embed` is not its `embedding`, as one of the user's own may be.
    """
    model = make()
    with torch.no_grad():
        wanted, came = (objective.eval().embed(features), model.embedding.eval()(features))
    if wanted.shape != came.shape or not torch.allclose(wanted, came, rtol=1e-4, atol=1e-4):
        raise SettingsError(
            f"{type(objective).__name__}: embedding() does not give what embed() does; override it with a module of "
            "embridge.backbones.embedding"
        )
    return model
