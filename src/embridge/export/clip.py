"""A linear bridge folded into the projections of a CLIP: the new model makes vectors of the old index by itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from embridge.adapters.base import Adapter
from embridge.encoders._local import locate, quiet_loading
from embridge.encoders._space_file import SPACE_FILE
from embridge.encoders.clip import ClipEncoder
from embridge.errors import SettingsError, require
from embridge.export._affine import one_matrix
from embridge.export._folding import folded_folder, probe, seal_folder
from embridge.space import require_same

__all__ = ["fold_clip"]

_SETTINGS = ("*.json", "*.txt", "*.model", "*.jinja")
_NOT_COPIED = frozenset({"config.json", SPACE_FILE})


def fold_clip(bridge: Adapter, name: str | Path, out: Path | str, *, revision: str | None = None) -> Path:
    """Write a CLIP model with the bridge folded into its two projections, as a folder.

    ``projection ← projection @ bridge``: the same layers, so a query costs what it cost before. Text and images are folded
    alike, since a CLIPModel has one ``projection_dim`` and queries come in both. Plain transformers reads the folder;
    ``embridge.load_encoder("clip:OUT")`` does too, and calls its space ``bridge.target``, as ``embridge-space.json`` there
    says. Weights are written in float32: rounding the product to the half precision of a checkpoint would move it.

    Args:
        bridge: Without bias (Linear, Identity, Prefix, or Composed of such), from the model's space to one that compares by
            cosine. For an upgrade, `embridge.export.query_path` gives it.
        name: The model: a folder or a hub id.
        out: The folder to write.
        revision: The model's revision on the hub.

    Returns:
        The folder.

    Raises:
        SettingsError: The bridge or the model cannot be folded.
        SpaceMismatch: The bridge is of another model.
        MissingExtra: The extra ``clip`` is not installed.

    Examples:
        >>> from embridge.adapters import Linear
        >>> from embridge.datasets import glyph_models
        >>> space = ClipEncoder(glyph_models.folder("old"), device="cpu").space
        >>> fold_clip(Linear(space, space, np.eye(64, dtype=np.float32)), glyph_models.folder("old"), "folded").name
        'folded'
    """
    matrix = one_matrix(bridge)
    encoder = ClipEncoder(name, device="cpu", revision=revision)
    require_same(bridge.source, encoder.space, what="the model to fold the bridge into")
    _require_projections(encoder.model, str(name))
    before = probe(encoder)
    _fold(encoder.model, matrix)
    with folded_folder(out) as folder:
        with quiet_loading():
            encoder.model.save_pretrained(folder)
        _copy_settings(name, revision, folder)
        seal_folder(folder, ClipEncoder(folder, device="cpu"), bridge, before)
    return Path(out)


def _require_projections(model: Any, name: str) -> None:
    if model.config.model_type == "clip":
        return
    raise SettingsError(
        f"{name} is a {type(model).__name__}, and only the projections of a CLIPModel can be folded into: SigLIP has none, "
        "and others differ. Write the bridge as ONNX beside the model (embridge export UPGRADE --onnx FILE)"
    )


def _fold(model: Any, matrix: np.ndarray) -> None:
    torch = require("torch", extra="clip")
    for projection in (model.text_projection, model.visual_projection):
        weight = matrix.T @ projection.weight.detach().double().numpy()
        projection.weight = torch.nn.Parameter(torch.from_numpy(weight.astype(np.float32)))
        projection.out_features = len(weight)
    model.projection_dim = matrix.shape[1]
    for config in (model.config, model.config.text_config, model.config.vision_config):
        config.projection_dim = matrix.shape[1]  # the parts' own are what CLIPTextModelWithProjection goes by
        config.dtype = torch.float32


def _copy_settings(name: str | Path, revision: str | None, folder: Path) -> None:
    """The tokenizer's and the image processor's files as they are, so that no version rewrites them."""
    found = locate(name, revision)
    source = Path(found.source)
    if found.on_hub:
        hub = require("huggingface_hub", extra="clip")
        source = Path(hub.snapshot_download(found.source, allow_patterns=[*_SETTINGS], **found.options))
    for file in sorted(path for pattern in _SETTINGS for path in source.glob(pattern)):
        if file.name not in _NOT_COPIED and not file.name.endswith(".index.json"):
            shutil.copyfile(file, folder / file.name)
