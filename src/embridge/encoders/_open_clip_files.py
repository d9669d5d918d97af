"""Finding the weights of an open_clip model: in a folder, on the hub, or by an architecture and a checkpoint."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from embridge.encoders._fingerprint import config_parts, short_digest, tokenizer_parts, weight_parts
from embridge.encoders._local import checked_revision, is_path
from embridge.errors import InvalidInput, MissingExtra, SettingsError, require

__all__ = ["Checkpoint", "find_checkpoint", "open_clip_library"]

CONFIG = "open_clip_config.json"
_ON_HUB = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
_TOKENIZER = ("*.json", "*.txt", "*.model")
_PICKLES = {".bin", ".pt", ".pth"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where an open_clip model lies, and what its space calls it.

    source: what open_clip calls it (an architecture, or a folder behind ``local-dir:``); tag: of weights that open_clip
    knows by name, which then have their own preprocessing.
    """

    name: str
    revision: str
    source: str
    weights: Path
    tag: str | None = None


def open_clip_library() -> ModuleType:
    """The module; raises `MissingExtra` where it, or a torchvision that works with this torch, is not installed."""
    try:
        return require("open_clip", extra="open-clip")
    except RuntimeError as error:  # torchvision's, where it was built for another torch
        raise MissingExtra(
            f"open_clip cannot be imported: {error}; install torch and torchvision built for each other, from one index"
        ) from error


def find_checkpoint(name: str | Path, revision: str | None = None) -> Checkpoint:
    """Find FOLDER, OWNER/NAME on the hub, ARCHITECTURE:TAG or ARCHITECTURE:FILE.

    The revision is a hash of the weights, with those of a folder also of its settings and its tokenizer, and the commit where
    they come from the hub by its id. Raises `SettingsError` for a name that is none of these, and `InvalidInput` for weights
    that are missing, or that are code and not plain numbers.
    """
    if isinstance(name, str):
        name = name.removeprefix("local-dir:").removeprefix("hf-hub:")  # as open_clip itself writes these names
    folder, (first, colon, chosen) = Path(name), str(name).partition(":")
    by_id = not folder.is_dir() and not colon and "/" in first and not is_path(name)
    if by_id:
        return _on_hub(first, revision)
    if folder.is_dir():
        weights = _only_weights(folder)
        parts = weight_parts([weights]) | config_parts(folder, (CONFIG,)) | tokenizer_parts(folder)
        found = Checkpoint(folder.resolve().name, short_digest(parts), f"local-dir:{folder}", weights)
    elif not colon and is_path(name):
        raise SettingsError(f"there is no folder {name}; a model is named by its folder, or by its id on the hub")
    else:
        found = _by_architecture(first, chosen)
    own = checked_revision(f"open_clip:{name}", found.revision, _hash, found.weights, revision)
    return replace(found, revision=own)


def _by_architecture(architecture: str, chosen: str) -> Checkpoint:
    library = open_clip_library()
    known = library.list_models()
    if (architecture := architecture.replace("/", "-")) not in known:
        near = difflib.get_close_matches(architecture, known, n=1)
        raise SettingsError(
            f"open_clip has no architecture {architecture!r}" + (f"; did you mean {near[0]}?" if near else "")
        )
    if settings := library.get_pretrained_cfg(architecture, chosen):
        weights = _downloaded(f"{architecture}:{chosen}", settings)
        revision = short_digest(weight_parts([weights]))
        return Checkpoint(f"{architecture}:{chosen}", revision, architecture, weights, chosen)
    file = Path(chosen)
    if not file.is_file() or file.suffix not in {".safetensors", *_PICKLES}:
        tags = ", ".join(tag for model, tag in library.list_pretrained() if model == architecture) or "none"
        raise SettingsError(
            f"open_clip:{architecture} needs weights, as open_clip:{architecture}:TAG or open_clip:{architecture}:FILE with a "
            f"safetensors file; {chosen!r} is neither. Its tags: {tags}"
        )
    revision = short_digest(weight_parts([file]))
    return Checkpoint(f"{architecture}:{file.name}", revision, architecture, _plain(file))


def _downloaded(name: str, settings: Any) -> Path:
    try:
        return _plain(Path(open_clip_library().download_pretrained(settings)))
    except (OSError, RuntimeError) as error:
        raise InvalidInput(f"the weights of open_clip:{name} are not here and cannot be downloaded: {error}") from error


def _on_hub(name: str, revision: str | None) -> Checkpoint:
    hub = require("huggingface_hub", extra="open-clip")
    for file in _ON_HUB:
        try:
            found = Path(hub.snapshot_download(name, revision=revision, allow_patterns=[*_TOKENIZER, file]))
        except (OSError, ValueError) as error:
            raise InvalidInput(f"{name} is no folder here, nor on the hub or in its cache: {error}") from error
        if (found / file).is_file():
            return Checkpoint(name, found.name, f"local-dir:{found}", _plain(found / file))
    raise InvalidInput(f"{name} holds no weights of open_clip ({', '.join(_ON_HUB)})")


def _only_weights(folder: Path) -> Path:
    """The file that open_clip's own folders name so, else the only safetensors file, else the only pickle."""
    if not (folder / CONFIG).is_file():
        raise InvalidInput(
            f"{folder} is no open_clip model: it has no {CONFIG}; name a checkpoint as ARCHITECTURE:FILE"
        )
    files = {path.name: path for path in sorted(folder.iterdir()) if path.is_file()}
    safe = [path for path in files.values() if path.suffix == ".safetensors"]
    pickles = [path for path in files.values() if path.suffix in _PICKLES]
    chosen = [files[name] for name in _ON_HUB if name in files][:1] or safe or pickles
    if len(chosen) != 1:
        came = ", ".join(path.name for path in chosen) or "none"
        raise InvalidInput(f"{folder} should hold one file of weights, such as {_ON_HUB[0]}; came {came}")
    return _plain(chosen[0])


def _plain(file: Path) -> Path:
    """The file, if reading it runs no code: open_clip itself reads some pickles whole."""
    if file.suffix == ".safetensors":
        return file
    torch = require("torch", extra="open-clip")
    try:
        torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zipfile and torch share no base class but this
        reason = str(error).partition("\n")[0]
        raise InvalidInput(
            f"{file} is refused: it holds more than weights ({reason}); save it as safetensors"
        ) from error
    return file


def _hash(file: Path) -> str:
    """What embridge called weights before anything else counted."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:12]
