"""A LoRA of peft read into a loaded model; the model's own weights stay as they are."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from embridge.adapters.lora_folder import LORA_CONFIG, LORA_WEIGHTS, lora_hashes
from embridge.errors import InvalidInput, require

__all__ = ["attach_lora"]


def attach_lora(model: Any, folder: Path) -> Any:
    """Attach the LoRA of a folder to ``model``, in place, and return peft's model around it.

    Raises `InvalidInput` for a folder that is not a LoRA, or not one of this model, and `ArtefactError` for one that lacks
    its files; pickles are never read.
    """
    peft = require("peft", extra="finetune")
    lora_hashes(folder)  # both files are there: peft would look on the hub, or for a pickle, instead
    try:
        kind = json.loads((folder / LORA_CONFIG).read_text(encoding="utf-8"))["peft_type"]
        if kind != "LORA":
            raise ValueError(f"its peft_type is {kind!r}, not 'LORA'")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on missing weights, which `_require_all` refuses
            attached = peft.PeftModel.from_pretrained(model, str(folder))
    except Exception as error:  # peft, torch and safetensors share no base class but this
        raise InvalidInput(f"{folder} is no LoRA for this model: {error}") from error
    _require_all(attached, folder)
    return attached


def _require_all(attached: Any, folder: Path) -> None:
    """Every weight of the LoRA came from the file: peft would leave the others as they were made."""
    wanted = set(require("peft", extra="finetune").get_peft_model_state_dict(attached, save_embedding_layers=False))
    with require("safetensors", extra="finetune").safe_open(folder / LORA_WEIGHTS, framework="pt") as file:
        held = set(file.keys())
    if wanted != held:
        raise InvalidInput(
            f"{folder} is no LoRA for this model: {len(wanted ^ held)} weights do not match, for instance "
            f"{min(wanted ^ held)}"
        )
