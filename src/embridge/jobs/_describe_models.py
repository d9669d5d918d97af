"""What a folder with a model is: one that embridge trained, one of a library, or a LoRA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from embridge.errors import ArtefactError, InvalidInput, require
from embridge.jobs.description import Description

__all__ = ["describe_lora", "describe_model"]


def describe_model(folder: Path) -> Description:
    """Describe a model's folder by its config; weights are not loaded.

    >>> _ = Path("clip").mkdir(), Path("clip/config.json").write_text('{"model_type": "clip", "projection_dim": 64}')
    >>> describe_model(Path("clip")).next_steps
    ('old: clip:clip, or new: clip:clip, in a settings file',)
    """
    if (folder / "modules.json").is_file():
        return _of_library(folder, "sentence-transformers", _read(folder / "modules.json"))
    if (folder / "open_clip_config.json").is_file():
        return _of_library(folder, "open-clip", _read(folder / "open_clip_config.json"))
    config = _read(folder / "config.json")
    if isinstance(config, dict) and str(config.get("format", "")).startswith("embridge trained model"):
        return _trained(folder, config)
    if not isinstance(config, dict) or "model_type" not in config:
        raise InvalidInput(f"{folder / 'config.json'} names no model_type: no model can be loaded from that folder")
    return _of_library(folder, "clip" if _is_dual(config) else "sentence-transformers", config)


def describe_lora(folder: Path) -> Description:
    """Describe a LoRA in peft's format.

    >>> _ = Path("lora").mkdir(), Path("lora/adapter_config.json").write_text('{"r": 16, "peft_type": "LORA"}')
    >>> describe_lora(Path("lora")).facts["rank"]
    16
    """
    config = _read(folder / "adapter_config.json")
    config = config if isinstance(config, dict) else {}
    facts = {
        "rank": config.get("r"),
        "of": config.get("base_model_name_or_path"),
        "modules": config.get("target_modules"),
    }
    return Description(str(folder), "LoRA", facts, (f"embridge.load_encoder(MODEL, lora={str(folder)!r}), in Python",))


def _trained(folder: Path, config: dict[str, Any]) -> Description:
    space = require("embridge.backbones.saved", extra="train").space_of_folder(
        folder
    )  # with torch, as the model itself
    backbone, pixels, provenance = config["backbone"], config["pixels"], config.get("provenance") or {}
    weights = folder / "model.safetensors"
    facts = {
        "space": str(space),
        "takes": "vectors" if pixels is None else f"images, squeezed to {pixels['side']} × {pixels['side']} pixels",
        "backbone": backbone["kind"],
        "trained by": provenance.get("method"),
        "trained on": provenance.get("data"),
    }
    problems = () if weights.is_file() else (f"{weights.name} is missing; copy the whole folder",)
    steps = (
        f"old: trained:{folder}, or new: trained:{folder}, in a settings file",
        f"embridge.load_encoder('trained:{folder}')",
    )
    return Description(str(folder), "trained model", facts, () if problems else steps, problems)


def _of_library(folder: Path, provider: str, config: Any) -> Description:
    kind = config.get("model_type") if isinstance(config, dict) else None
    name = f"{provider}:{folder}"
    step = f"old: {name}, or new: {name}, in a settings file"
    return Description(str(folder), "model", {"provider": provider, "architecture": kind}, (step,))


def _is_dual(config: Any) -> bool:
    """Whether a model has a tower for text and one for images."""
    return isinstance(config, dict) and (
        "projection_dim" in config or ("text_config" in config and "vision_config" in config)
    )


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} is truncated or altered ({error}); copy the folder again") from error
