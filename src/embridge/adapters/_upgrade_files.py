"""The files of an upgrade's folder: their names, and reading what `Upgrade.save` wrote."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from embridge.adapters._companions import CARD, REPORT, changed_by_others
from embridge.adapters.lora_folder import LORA_FILES
from embridge.atomic_write import whole_folder
from embridge.errors import ArtefactError

__all__ = [
    "LORA",
    "MANIFEST",
    "OWN_FILES",
    "SCHEMA",
    "WEIGHTS",
    "companions_to_keep",
    "fingerprint",
    "read_manifest",
    "read_weights",
    "seal",
    "weights_hash",
]

SCHEMA = "embridge.upgrade/1"
MANIFEST, WEIGHTS, LORA = "upgrade.json", "weights.safetensors", "lora"
OWN_FILES = (MANIFEST, WEIGHTS, CARD, REPORT, *(f"{LORA}/{name}" for name in LORA_FILES))
"""What an upgrade's folder holds, where it holds no more than was written."""


def fingerprint(path: Path | str) -> str:
    """Tell an upgrade from others that are saved under the same name later.

    Args:
        path: Its folder.

    Returns:
        A hash, the same after another card or report is put beside the upgrade.

    Raises:
        ArtefactError: The folder holds no upgrade.

    Examples:
        >>> fingerprint("nowhere")
        Traceback (most recent call last):
        embridge.errors.ArtefactError: nowhere is not an upgrade: expected upgrade.json and weights.safetensors in it
    """
    with whole_folder(path) as folder:
        return seal({name: value for name, value in read_manifest(folder).items() if name != "written"})


def companions_to_keep(path: Path | str) -> list[str]:
    """Card and report of an upgrade's folder, if there is one, as far as somebody else wrote or changed them."""
    with whole_folder(path) as folder:
        try:
            return changed_by_others(folder, read_manifest(folder))
        except ArtefactError:
            return changed_by_others(folder, {})


def weights_hash(folder: Path) -> str:
    """Of the file of weights."""
    return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """What ``upgrade.json`` says; `ArtefactError` where it is not what was written."""
    file = folder / MANIFEST
    if not file.is_file():
        raise ArtefactError(f"{folder} is not an upgrade: expected {MANIFEST} and {WEIGHTS} in it")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        schema, _ = manifest["schema"], manifest["weights_sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtefactError(f"{file} is truncated or altered ({error!r}); fit the upgrade again") from error
    if schema != SCHEMA:
        raise ArtefactError(f"{file}: expected schema {SCHEMA}, came {schema!r}; a newer embridge may read it")
    if manifest.pop("sha256", None) != seal(manifest):
        raise ArtefactError(f"{file} does not match its own sha256: it was altered; fit the upgrade again")
    return dict(manifest)


def seal(manifest: Mapping[str, Any]) -> str:
    """The hash that ``upgrade.json`` carries of the rest of itself: it shows alterations, not who made the file."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def read_weights(folder: Path, digest: str) -> dict[str, np.ndarray]:
    """The arrays, by name; `ArtefactError` where the file is not the one with that hash."""
    file = folder / WEIGHTS
    if not file.is_file():
        raise ArtefactError(f"{folder} lacks {WEIGHTS}; copy the whole folder")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ArtefactError(f"{file} is not the file {MANIFEST} was written with: truncated, altered or replaced")
    try:
        return dict(load_tensors(content))
    except (SafetensorError, ValueError, KeyError) as error:
        raise ArtefactError(f"{file} is not a safetensors file: {error}; pickles are never read") from error
