"""Finding a model on this machine or the hub, and naming its exact weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

from embridge.errors import InvalidInput, SettingsError, require

__all__ = ["pick_device", "revision_of"]

_WEIGHT_SUFFIXES = {".safetensors", ".bin", ".onnx"}
_BLOCK_BYTES = 1 << 20


def revision_of(name: str | Path, revision: str | None = None) -> tuple[str, str]:
    """Where to load from, and what to call its weights.

    A folder's revision is a hash of its weight files. A hub id's is the commit it resolves to (through the local
    cache where there is no network).
    """
    folder = Path(name)
    if folder.is_dir():
        if revision is not None:
            raise SettingsError(f"{name} is a folder; a revision is for hub ids")
        return str(folder), _hash_weights(folder)
    hub = require("huggingface_hub", extra="clip")
    try:
        snapshot = Path(hub.snapshot_download(str(name), revision=revision, allow_patterns=["config.json"]))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{name} is neither a folder here nor a model the hub or its cache gives: {error}"
        ) from error
    return str(name), snapshot.name


def pick_device(device: str) -> str:
    """``auto`` becomes an accelerator where there is one; any other name must exist."""
    torch = require("torch", extra="clip")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"device {device!r} cannot be used here: {error}; leave it at 'auto'") from error
    return device


def _hash_weights(folder: Path) -> str:
    files = sorted(p for p in folder.rglob("*") if p.suffix in _WEIGHT_SUFFIXES and p.is_file())
    if not files:
        raise InvalidInput(f"{folder} holds no model weights ({', '.join(sorted(_WEIGHT_SUFFIXES))})")
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(folder)).encode())
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()[:12]
