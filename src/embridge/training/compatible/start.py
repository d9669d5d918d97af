"""What a compatible training starts from: items, a backbone that fits them, an objective that fits both."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from embridge.backbones import BACKBONES
from embridge.backbones.base import Backbone, OwnBackbone
from embridge.backbones.record import Takes
from embridge.errors import InvalidInput, SettingsError
from embridge.provenance import library_versions
from embridge.training.compatible.held_out_items import HeldOut
from embridge.training.compatible.labelled import Labelled
from embridge.training.objectives import name_of
from embridge.training.objectives.base import Objective

__all__ = ["Start"]

_INDECISIVE = ("checkpoint_every_steps", "workers", "name")
_AS_BEFORE = (("compatibility", "fixed"),)  # no part of the name, so that earlier checkpoints are still taken up
_HEAD_ONLY = "-head-only"


class Start:
    """The parts of a training, checked against each other; see `CompatibleTraining.fit`.

    Args:
        data: The items.
        backbone: A `Backbone`, or any module from images, which gets a linear layer.
        objective: The loss.
        held_out: Items to look at while training.
        seed: Of the order of the items, of augmentations and dropout.

    Attributes:
        network: The backbone, as it is trained.

    Raises:
        SettingsError: The backbone takes other items or gives features of other dims, or held-out images are of another side.
        InvalidInput: The objective was made of other rows.

    Examples:
        >>> from embridge.backbones.vectors import VectorHead
        >>> from embridge.training.compatible.labelled import LabelledVectors
        >>> from embridge.training.objectives import make_objective
        >>> data = LabelledVectors(np.eye(4, dtype=np.float32), np.arange(4) % 2)
        >>> start = Start(data, VectorHead(4, 3), make_objective("independent", None, 2, {"dim": 3}), None, 0)
        >>> start.method, start.network.kind
        ('independent-head-only', 'vector-head')
    """

    def __init__(
        self, data: Labelled, backbone: nn.Module, objective: Objective, held_out: HeldOut | None, seed: int
    ) -> None:
        self.data, self.objective, self.held_out, self.seed = data, objective, held_out, seed
        self.network = _as_backbone(backbone, data, objective)
        takes = "vectors" if data.side is None else "images"
        if self.network.takes != takes:
            raise SettingsError(f"training: the items are {takes}, and this backbone takes {self.network.takes}")
        if self.network.feature_dim != objective.feature_dim:
            raise SettingsError(
                f"training: {type(objective).__name__} takes features of {objective.feature_dim} dims, and the backbone "
                f"gives {self.network.feature_dim}"
            )
        if held_out is not None and held_out.data.side != data.side:
            raise SettingsError(
                f"training: held-out items of side {held_out.data.side} beside items of side {data.side}"
            )
        _require_rows(objective, len(data))

    @property
    def method(self) -> str:
        """The objective's name; of a head alone it says so."""
        name = name_of(type(self.objective))
        return name if self.network.takes == "images" else f"{name}{_HEAD_ONLY}"

    def name(self, settings: Mapping[str, Any]) -> str:
        """Name the training: a hash of all that decides its outcome, the starting weights among it.

        Args:
            settings: Of the training, as plain data.

        Returns:
            64 letters.
        """
        decisive = {k: v for k, v in settings.items() if k not in _INDECISIVE and (k, v) not in _AS_BEFORE}
        held_out = None if self.held_out is None else self.held_out.data.fingerprint()
        described = [decisive, self.seed, self.data.fingerprint(), held_out, self.described()]
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
        for part, tensor in self._tensors():
            digest.update(f"{part} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
        if self.held_out is not None and self.held_out.old is not None:
            digest.update(np.ascontiguousarray(self.held_out.old).data)
        return digest.hexdigest()

    def described(self) -> dict[str, Any]:
        """Backbone and objective with their settings, as plain JSON."""
        objective = {"paper": self.objective.paper, **_plain_settings(self.objective)}
        return {"objective": objective, "backbone": {"kind": self.network.kind, **self.network.config()}}

    def data_described(self) -> str:
        """What is trained on, for the provenance."""
        what = "images" if self.network.takes == "images" else "vectors"
        return f"{len(self.data)} {what} of {len(self.data.classes)} classes, {self.data.fingerprint()}"

    def versions(self) -> dict[str, str]:
        """What the training was made with."""
        versions = library_versions()
        own = BACKBONES[self.network.kind].packages if self.network.kind in BACKBONES else ()
        for package in ("lightning", "kornia", *own):
            try:
                versions[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                continue
        return versions

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for part in (self.network, self.objective):
            yield from part.named_parameters()
            yield from part.named_buffers()


def _as_backbone(backbone: nn.Module, data: Labelled, objective: Objective) -> Backbone:
    if isinstance(backbone, Backbone):
        return backbone
    x = data.batch(np.arange(min(2, len(data))))
    training = backbone.training
    try:
        with torch.no_grad():
            width = backbone.eval()(x if data.side is None else x.float() / 255).flatten(1).shape[1]
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise SettingsError(f"training: {type(backbone).__name__} does not take {list(x.shape)}: {error}") from error
    backbone.train(training)
    takes: Takes = "vectors" if data.side is None else "images"
    last = None if width == objective.feature_dim else objective.feature_dim
    return OwnBackbone(backbone, width=width, feature_dim=last, takes=takes)


def _require_rows(objective: Objective, rows: int) -> None:
    """Raise `InvalidInput` unless what an objective holds of each training row, and does not save, is of these rows."""
    saved = objective.state_dict().keys()
    for name, buffer in objective.named_buffers():
        if name not in saved and buffer.ndim and len(buffer) != rows:
            raise InvalidInput(
                f"training: {type(objective).__name__} holds {name} of {len(buffer)} rows, and there are {rows} items; make "
                "the old model and the objective of the same items, in the same order"
            )


def _plain_settings(objective: Objective) -> dict[str, Any]:
    """The numbers, texts and tuples of them that the objective and its own parts hold."""
    settings: dict[str, Any] = {}
    for prefix, module in objective.named_modules():
        if type(module).__module__.startswith("torch."):
            continue
        for name, value in vars(module).items():
            plain = isinstance(value, (bool, int, float, str)) or (
                isinstance(value, tuple) and all(isinstance(v, (int, float, str)) for v in value)
            )
            if plain and not name.startswith("_") and name != "training":
                settings[f"{prefix}.{name}" if prefix else name] = list(value) if isinstance(value, tuple) else value
    return settings
