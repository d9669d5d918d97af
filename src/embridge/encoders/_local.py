"""Finding a model on this machine or the hub, naming its exact weights, and loading it without noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from embridge.encoders._fingerprint import fingerprint, hash_of_weight_files
from embridge.errors import InvalidInput, SettingsError, require

__all__ = ["Located", "checked_revision", "is_path", "locate", "pick_device", "quiet_loading"]

_ADAPTER = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Located:
    """A model that was found: where to load it from, and what its space calls it and its weights."""

    source: str
    name: str
    revision: str
    on_hub: bool

    @property
    def options(self) -> dict[str, str]:
        """What ``from_pretrained`` needs beside the source, so that exactly this revision is loaded."""
        return {"revision": self.revision} if self.on_hub else {}


def is_path(name: str | Path) -> bool:
    """Whether a model's name can only be a folder: a hub id is NAME or OWNER/NAME.

    >>> [is_path(name) for name in ("./models/old", "/models", "a/b/c", "openai/clip-vit-base-patch32")]
    [True, True, True, False]
    """
    return isinstance(name, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1


def locate(name: str | Path, revision: str | None = None) -> Located:
    """Find a folder or a hub id.

    A folder's revision is its `fingerprint`, so that a copy under the same name is the same model wherever it lies. A hub
    id's is the commit it resolves to (through the local cache where there is no network).
    """
    folder = Path(name)
    if folder.is_dir():
        _require_whole_model(folder)
        own = checked_revision(name, fingerprint(folder), hash_of_weight_files, folder, revision)
        return Located(str(folder), folder.resolve().name, own, on_hub=False)
    if is_path(name):
        raise SettingsError(f"there is no folder {name}; a model is named by its folder, or by its id on the hub")
    hub = require("huggingface_hub", extra="clip")
    try:
        snapshot = Path(hub.snapshot_download(str(name), revision=revision, allow_patterns=["config.json", _ADAPTER]))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{name} is neither a folder here nor a model the hub or its cache gives: {error}"
        ) from error
    _require_whole_model(snapshot)
    return Located(str(name), str(name), snapshot.name, on_hub=True)


def checked_revision(
    name: str | Path, own: str, former: Callable[[Path], str], path: Path, revision: str | None
) -> str:
    """The revision of a model on this machine: its own, or the former one where the settings state exactly that.

    former: gives what earlier releases called the files at ``path``. Raises `SettingsError` for any other.
    """
    if revision is None or revision == own:
        return own
    if revision == (before := former(path)):
        return before
    raise SettingsError(
        f"{name} is on this machine, and its revision is told from its files: {own}, or {before} as earlier releases have "
        f"it; came revision {revision!r}. Leave revision out, or name the model that the revision is of"
    )


def _require_whole_model(folder: Path) -> None:
    if (folder / _ADAPTER).is_file():
        raise InvalidInput(
            f"{folder} holds an adapter ({_ADAPTER}), whose base model lies elsewhere and may change; merge the two with "
            "peft's merge_and_unload, and save the result as a model"
        )


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


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Hide the bars and warnings with which transformers loads a model; as before afterwards.

    Bars of downloads stay, since those may take minutes. What the warnings are about, the encoders check themselves.
    """
    log = require("transformers.utils.logging", extra="clip")
    hub = require("huggingface_hub.utils", extra="clip")
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    download_bars = not hub.are_progress_bars_disabled()
    log.set_verbosity_error()
    log.disable_progress_bar()  # the hub's as well, as does its counterpart
    if download_bars:
        hub.enable_progress_bars()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
        if not download_bars:
            hub.disable_progress_bars()
