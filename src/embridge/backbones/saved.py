"""TrainedModel: a backbone with the embedding of its objective, saved as a folder without pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from embridge.adapters.chain import UPGRADE
from embridge.adapters.upgrade import OWN_FILES, Upgrade, companions_to_keep, seal
from embridge.atomic_write import atomic_folder, refuse_foreign_folder, whole_folder
from embridge.backbones import BACKBONES
from embridge.backbones.base import Backbone, OwnBackbone
from embridge.backbones.embedding import AsGiven, BasisChange, Embedding, UnitLength, unit_rows
from embridge.backbones.pixels import Pixels
from embridge.errors import ArtefactError, EmbridgeError, InvalidInput, SettingsError
from embridge.space import Space

__all__ = ["CONFIG", "TrainedModel", "refuse_foreign_model", "space_of_folder"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_FORMAT = "embridge trained model, 1"
_FAULTS = (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, ArithmeticError, MemoryError)
_Entry = TypeVar("_Entry")
_EMBEDDINGS: dict[str, type[Embedding]] = {"as-given": AsGiven, "unit-length": UnitLength, "basis-change": BasisChange}


class TrainedModel(nn.Module):
    """A network from images uint8 [b, 3, side, side], or from vectors [b, d], to unit rows [b, dim].

    The revision of its space is a hash of the weights, and the recipe names the rest, so that two models never share a space
    by chance.

    Args:
        name: What its space is called.
        backbone: From batches to features.
        embedding: From features to rows.
        dim: Of the rows.
        pixels: How images are shifted and scaled; None where the backbone takes vectors.

    Raises:
        SettingsError: There are pixels for vectors, or none for images.

    Examples:
        >>> import torch
        >>> from embridge.backbones.vectors import VectorHead
        >>> TrainedModel("toy", VectorHead(3, 2), AsGiven(), dim=2).space.model
        'toy'
    """

    def __init__(self, name: str, backbone: Backbone, embedding: Embedding, *, dim: int, pixels: Pixels | None = None):
        super().__init__()
        if (pixels is None) == (backbone.takes == "images"):
            raise SettingsError(f"trained model: a backbone of {backbone.takes} came with the pixels {pixels}")
        self.name, self.backbone, self.embedding, self.dim, self.pixels = name, backbone, embedding, dim, pixels

    def forward(self, x: Tensor) -> Tensor:
        features = self.backbone(x if self.pixels is None else self.pixels.scaled(x))
        return unit_rows(self.embedding(features.float()))

    @property
    def space(self) -> Space:
        """Where its rows lie."""
        return Space(self.name, _hash(self._content())[:12], self.dim, "cosine", self._recipe())

    def save(
        self,
        folder: Path | str,
        *,
        provenance: Mapping[str, Any],
        upgrade: Upgrade | None = None,
    ) -> Path:
        """Write ``config.json`` and ``model.safetensors``, and the upgrade if there is one, whole or not at all.

        Args:
            folder: Where; an earlier model in it is replaced, with its upgrade, and other files stay.
            provenance: Where the model comes from, as plain JSON.
            upgrade: An upgrade of this model, for the folder ``upgrade`` below.

        Returns:
            The folder.

        Raises:
            InvalidInput: The folder holds other things, or the model of another library.
        """
        content = self._content()
        manifest = self._described() | {"weights_sha256": _hash(content), "provenance": dict(provenance)}
        refuse_foreign_model(folder)
        own = [f"{UPGRADE}/{name}" for name in OWN_FILES]
        keep = [f"{UPGRADE}/{name}" for name in companions_to_keep(Path(folder) / UPGRADE)]
        with atomic_folder(folder, marker=CONFIG, own=own, keep=keep) as temporary:
            if upgrade is not None:
                upgrade.save(temporary / UPGRADE)
            (temporary / WEIGHTS).write_bytes(content)
            sealed = manifest | {"sha256": seal(manifest)}
            (temporary / CONFIG).write_text(json.dumps(sealed, indent=2), encoding="utf-8")
        return Path(folder)

    @classmethod
    def load(cls, folder: Path | str, *, network: nn.Module | None = None) -> tuple[TrainedModel, dict[str, Any]]:
        """Load the model of a folder.

        Args:
            folder: As `save` wrote it.
            network: That of an `OwnBackbone`, as it was given then.

        Returns:
            The model, and its provenance as plain JSON.

        Raises:
            ArtefactError: The folder is truncated, altered or foreign.
            SettingsError: A network is needed and not given, or the other way round.
        """
        with whole_folder(folder) as whole:
            manifest = _read_manifest(whole)
            weights = _read_weights(whole, manifest["weights_sha256"])
        if (manifest["backbone"].get("kind") == OwnBackbone.kind) != (network is not None):
            raise SettingsError(
                f"{folder}: its backbone is of the kind {manifest['backbone'].get('kind')!r}; a network is given for the "
                f"kind {OwnBackbone.kind!r}, and for no other"
            )
        try:
            pixels = None if manifest["pixels"] is None else Pixels.from_dict(manifest["pixels"])
            backbone = _backbone(manifest["backbone"], network)
            embedding = _embedding(manifest["embedding"])
            model = cls(manifest["name"], backbone, embedding, dim=int(manifest["dim"]), pixels=pixels)
            model.load_state_dict(weights)
            made = embedding(torch.zeros(1, backbone.feature_dim)).shape[1]
            if made != model.dim:
                raise ArtefactError(f"its weights give rows of {made} dims, and its config says {model.dim}")
            provenance = dict(manifest["provenance"])
        except _FAULTS as error:
            if isinstance(error, EmbridgeError) and not isinstance(error, (ArtefactError, SettingsError)):
                raise
            raise ArtefactError(f"{folder} is no trained model that can be made again: {error}") from error
        return model.eval(), provenance

    def _described(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "name": self.name,
            "dim": self.dim,
            "backbone": {"kind": self.backbone.kind, **self.backbone.config()},
            "embedding": {"kind": self.embedding.kind, **self.embedding.config()},
            "pixels": None if self.pixels is None else self.pixels.to_dict(),
        }

    def _content(self) -> bytes:
        state = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in
                 self.state_dict().items()}  # fmt: skip
        content: bytes = save_tensors(state)
        return content

    def _recipe(self) -> str:
        return _recipe(self._described())


def refuse_foreign_model(folder: Path | str) -> None:
    """Refuse to write where something else than a trained model is.

    Args:
        folder: Where a model is to be written.

    Raises:
        InvalidInput: The folder holds other things, or the model of another library, which has a file of that name too.

    Examples:
        >>> refuse_foreign_model("nothing-there")
    """
    refuse_foreign_folder(folder, marker=CONFIG)
    with whole_folder(folder) as whole:
        if (whole / CONFIG).exists():
            try:
                written = json.loads((whole / CONFIG).read_text(encoding="utf-8"))["format"]
            except (ValueError, KeyError, TypeError, RecursionError):
                written = None
            if not str(written).startswith("embridge trained model"):
                raise InvalidInput(f"{folder} holds another model and is not overwritten; choose another folder")


def space_of_folder(folder: Path | str) -> Space:
    """The space of the model in a folder, from its config alone.

    Args:
        folder: The folder of a `TrainedModel`.

    Returns:
        The space of its vectors.

    Raises:
        ArtefactError: It is no such folder, as for `TrainedModel.load`.

    Examples:
        >>> space_of_folder("none")
        Traceback (most recent call last):
        embridge.errors.ArtefactError: ...
    """
    with whole_folder(folder) as whole:
        manifest = _read_manifest(whole)
    try:
        described = {key: manifest[key] for key in ("format", "name", "dim", "backbone", "embedding", "pixels")}
        return Space(described["name"], manifest["weights_sha256"][:12], described["dim"], "cosine", _recipe(described))
    except (KeyError, TypeError) as error:
        raise ArtefactError(f"{folder} is no trained model that can be made again: {error}") from error


def _recipe(described: Mapping[str, Any]) -> str:
    """Names all that is made of an image, but the model's name, which says nothing of vectors."""
    digest = _hash(json.dumps({k: v for k, v in described.items() if k != "name"}, sort_keys=True).encode())[:8]
    pixels = described["pixels"]
    inputs = "vectors" if pixels is None else f"pixels {pixels['side']}x{pixels['side']}"
    return f"l2-normalised; {inputs}; {described['backbone']['kind']} {digest}"


def _backbone(described: Mapping[str, Any], network: nn.Module | None) -> Backbone:
    kind, settings = _kind_and_settings(described)
    if network is not None:
        return OwnBackbone(network, **settings)
    backbone: Backbone = _one_of(BACKBONES, kind).load()(**settings)
    return backbone


def _embedding(described: Mapping[str, Any]) -> Embedding:
    kind, settings = _kind_and_settings(described)
    return _one_of(_EMBEDDINGS, kind)(**settings)


def _kind_and_settings(described: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    return described["kind"], {key: value for key, value in described.items() if key != "kind"}


def _one_of(table: Mapping[str, _Entry], kind: str) -> _Entry:
    if kind not in table:
        raise ArtefactError(f"there is no {kind!r}; there are {', '.join(table)}")
    return table[kind]


def _read_manifest(folder: Path) -> dict[str, Any]:
    file = folder / CONFIG
    if not file.is_file():
        raise ArtefactError(f"{folder} is not a trained model: expected {CONFIG} and {WEIGHTS} in it")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        version, _, _ = manifest["format"], manifest["weights_sha256"], manifest["backbone"]["kind"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtefactError(f"{file} is truncated, altered or of another library ({error!r})") from error
    if version != _FORMAT:
        raise ArtefactError(f"{file}: expected {_FORMAT!r}, came {version!r}; a newer embridge may read it")
    if manifest.pop("sha256", None) != seal(manifest):
        raise ArtefactError(f"{file} does not match its own sha256: it was altered; save the model again")
    return dict(manifest)


def _read_weights(folder: Path, digest: str) -> dict[str, Tensor]:
    file = folder / WEIGHTS
    if not file.is_file():
        raise ArtefactError(f"{folder} lacks {WEIGHTS}; copy the whole folder")
    content = file.read_bytes()
    if _hash(content) != digest:
        raise ArtefactError(f"{file} is not the file {CONFIG} was written with: truncated, altered or replaced")
    try:
        return dict(load_tensors(content))
    except (SafetensorError, ValueError, KeyError) as error:
        raise ArtefactError(f"{file} is not a safetensors file: {error}; pickles are never read") from error


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
