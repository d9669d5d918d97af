"""A linear bridge folded into a sentence model, as its last layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embridge.adapters.base import Adapter
from embridge.encoders._local import quiet_loading
from embridge.encoders.sentence_transformers import SentenceTransformerEncoder
from embridge.errors import MissingExtra, require
from embridge.export._affine import Stage, affine_stages
from embridge.export._folding import folded_folder, probe, seal_folder
from embridge.space import require_same

__all__ = ["fold_sentence_transformer"]


def fold_sentence_transformer(
    bridge: Adapter, name: str | Path, out: Path | str, *, revision: str | None = None
) -> Path:
    """Write a sentence model with the bridge as ``Dense`` modules, as a folder.

    A bridge without bias becomes one Dense and a Normalize. A bias (and ``normalize_input``) is exact too: a Normalize goes
    before it. Prompts and pooling stay as they are. Plain sentence-transformers reads the folder;
    ``embridge.load_encoder("sentence-transformers:OUT")`` does too, and calls its space ``bridge.target``, as
    ``embridge-space.json`` there says. Weights are written in float32.

    Args:
        bridge: Linear, Identity, Prefix, or Composed of such, from the model's space to one that compares by cosine. For an
            upgrade, `embridge.export.query_path` gives it.
        name: The model: a folder or a hub id.
        out: The folder to write.
        revision: The model's revision on the hub.

    Returns:
        The folder.

    Raises:
        SettingsError: The bridge cannot be folded.
        SpaceMismatch: The bridge is of another model.
        MissingExtra: The extra ``text`` is not installed.

    Examples:
        >>> from embridge import Space
        >>> from embridge.adapters import MLP
        >>> from embridge.adapters.mlp import Layer
        >>> layers = [Layer(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))] * 2
        >>> fold_sentence_transformer(MLP(Space("new", "1", 2), Space("old", "1", 2), layers), "models/new", "folded")
        Traceback (most recent call last):
        embridge.errors.SettingsError: ...
    """
    stages = affine_stages(bridge)
    encoder = SentenceTransformerEncoder(name, device="cpu", revision=revision)
    require_same(bridge.source, encoder.space, what="the model to fold the bridge into")
    before = probe(encoder)
    _append(encoder.model, _layers(stages, unit=encoder.space.metric == "cosine"))
    encoder.model.similarity_fn_name = "cosine"
    with folded_folder(out) as folder:
        with quiet_loading():
            encoder.model.save_pretrained(str(folder), create_model_card=False)
        seal_folder(folder, SentenceTransformerEncoder(folder, device="cpu"), bridge, before)
    return Path(out)


def _layers(stages: Sequence[Stage], *, unit: bool) -> list[Any]:
    """unit: whether our encoder gives the bridge rows of length one, which the model itself may not."""
    modules, layers = _modules(), []
    biased = any(stage.bias is not None for stage in stages)
    for i, stage in enumerate(stages):
        if stage.normalize or (i == 0 and biased and unit):
            layers.append(modules.Normalize())
        layers.append(_dense(modules, stage))
    return [*layers, modules.Normalize()]


def _dense(modules: Any, stage: Stage) -> Any:
    torch = require("torch", extra="text")
    weight = torch.from_numpy(np.ascontiguousarray(stage.weight.T, np.float32))
    bias = None if stage.bias is None else torch.from_numpy(stage.bias.astype(np.float32))
    return modules.Dense(
        *stage.weight.shape,
        bias=bias is not None,
        activation_function=torch.nn.Identity(),
        init_weight=weight,
        init_bias=bias,
    )


def _append(model: Any, layers: Sequence[Any]) -> None:
    for layer in layers:
        model.add_module(str(len(model)), layer)


def _modules() -> Any:
    """Where the library keeps its modules: it moved them in one of its releases 5."""
    try:
        return require("sentence_transformers.sentence_transformer.modules", extra="text")
    except MissingExtra:
        return require("sentence_transformers.models", extra="text")
