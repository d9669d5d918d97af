"""LoRA in both towers of a dual encoder, through peft: found, attached for a while, saved as peft reads it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from embridge.adapters.lora_folder import LORA_CONFIG
from embridge.atomic_write import atomic_folder
from embridge.errors import SettingsError, require

__all__ = ["attached_lora", "find_projections", "lora_state", "save_lora"]

_TOWERS = ("text_model", "vision_model")
_PROJECTIONS = (("q_proj", "v_proj"), ("query", "value"), ("q_lin", "v_lin"), ("q", "v"), ("qkv",))


def find_projections(model: nn.Module) -> list[str]:
    """Find the query and value projections of attention in both towers.

    They are ``q_proj`` and ``v_proj`` in CLIP and SigLIP; ``query`` and ``value`` as well where the text tower is a BERT.

    Args:
        model: A dual encoder of transformers.

    Returns:
        Their names, as the model calls them.

    Raises:
        SettingsError: A tower has none by a known name.

    Examples:
        >>> towers = {
        ...     tower: nn.ModuleDict({"q_proj": nn.Linear(2, 2), "v_proj": nn.Linear(2, 2)})
        ...     for tower in ("text_model", "vision_model")
        ... }
        >>> find_projections(nn.ModuleDict(towers))
        ['q_proj', 'v_proj']
    """
    projections: set[str] = set()
    for tower in _TOWERS:
        layers = _linear_names(model, tower)
        names = next((group for group in _PROJECTIONS if layers.issuperset(group)), None)
        if names is None:
            raise SettingsError(
                f"{type(model).__name__} has no query and value projections of a known name in its {tower}; set "
                f"target_modules to names of its linear layers, such as {sorted(layers)[:8]}"
            )
        projections.update(names)
    return sorted(projections)


def _require_targets(model: nn.Module, names: Sequence[str]) -> None:
    """Raise `SettingsError` unless each name ends that of a linear layer, and each tower has one of them."""
    layers = {tower: _linear_names(model, tower) for tower in _TOWERS}
    unknown = sorted(set(names).difference(*layers.values()))
    without = [tower for tower in _TOWERS if layers[tower].isdisjoint(names)]
    if unknown or without:
        what = f"no linear layer is called {unknown[0]!r}" if unknown else f"{without[0]} has none of {sorted(names)}"
        raise SettingsError(
            f"target_modules: {what} in this {type(model).__name__}; its towers have "
            f"{ {tower: sorted(layers[tower]) for tower in _TOWERS} }"
        )


@contextmanager
def attached_lora(
    model: nn.Module, *, rank: int, alpha: float, dropout: float, target_modules: Sequence[str] | None = None
) -> Iterator[Any]:
    """Attach a new LoRA to both towers of a model for a block; afterwards the model is as it was before.

    The LoRA starts as nothing: until it is trained, the vectors are those of the model alone. Only its weights take
    gradients. ``model`` itself is changed within the block, so its own methods go through the LoRA.

    Args:
        model: A dual encoder of transformers.
        rank: Of the LoRA.
        alpha: Its product is scaled by alpha / rank.
        dropout: Before it, while training.
        target_modules: Names of the linear layers that get one; None for those of `find_projections`.

    Yields:
        peft's model around it.

    Raises:
        SettingsError: A name is of no linear layer, or a tower has none.
        MissingExtra: peft is not installed.

    Examples:
        >>> from embridge.datasets import glyph_models
        >>> from embridge.encoders.clip import ClipEncoder
        >>> encoder = ClipEncoder(glyph_models.folder("new"), device="cpu")
        >>> with attached_lora(encoder.model, rank=2, alpha=4, dropout=0.0) as attached:
        ...     sum(parameter.numel() for parameter in lora_state(attached).values())
        6144
    """
    peft = require("peft", extra="finetune")
    names = find_projections(model) if target_modules is None else sorted(target_modules)
    _require_targets(model, names)
    flags, training = [p.requires_grad for p in model.parameters()], model.training
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers
        attached = peft.get_peft_model(model, config)
    try:
        yield attached
    finally:
        attached.unload()
        model.train(training)
        for parameter, flag in zip(model.parameters(), flags, strict=True):
            parameter.requires_grad_(flag)


def lora_state(attached: Any) -> dict[str, Tensor]:
    """Give the LoRA's parameters by name, as they are (no copies).

    Args:
        attached: What `attached_lora` gives.

    Returns:
        The parameters.

    Examples:
        >>> class Attached(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.query, self.lora_A = nn.Linear(2, 2), nn.Linear(2, 1, bias=False)
        >>> list(lora_state(Attached()))
        ['lora_A.weight']
    """
    return {name: p for name, p in attached.named_parameters() if "lora_" in name}


def save_lora(attached: Any, folder: Path | str, *, base: str) -> Path:
    """Write the LoRA in peft's format, whole or not at all; the same LoRA gives the same bytes.

    Args:
        attached: What `attached_lora` gives.
        folder: Where.
        base: The name of the model that it belongs to, for ``adapter_config.json``.

    Returns:
        The folder.

    Examples:
        >>> import tempfile
        >>> from embridge.datasets import glyph_models
        >>> from embridge.encoders.clip import ClipEncoder
        >>> encoder = ClipEncoder(glyph_models.folder("new"), device="cpu")
        >>> with tempfile.TemporaryDirectory() as folder, attached_lora(encoder.model, rank=2, alpha=4, dropout=0.0) as lora:
        ...     sorted(file.name for file in save_lora(lora, f"{folder}/lora", base="new").iterdir())
        ['adapter_config.json', 'adapter_model.safetensors']
    """
    with atomic_folder(folder, marker=LORA_CONFIG) as temporary:
        attached.save_pretrained(str(temporary), safe_serialization=True, save_embedding_layers=False)
        (temporary / "README.md").unlink(missing_ok=True)  # an unfilled form
        file = temporary / LORA_CONFIG
        config = json.loads(file.read_text(encoding="utf-8"))
        config |= {"base_model_name_or_path": base, "target_modules": sorted(config["target_modules"])}
        file.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
    return Path(folder)


def _linear_names(model: nn.Module, tower: str) -> set[str]:
    modules = dict(model.named_modules())
    if tower not in modules:
        return set()
    return {name.rpartition(".")[2] for name, m in modules[tower].named_modules() if isinstance(m, nn.Linear)}
