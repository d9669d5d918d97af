"""Checkpoints as plain files: written whole or not at all, and read without running any code in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from embridge.atomic_write import atomic_file
from embridge.errors import InvalidInput

__all__ = ["PlainCheckpoints", "require_own"]


class PlainCheckpoints(CheckpointIO):  # type: ignore[misc]
    """Lightning's seam for reading and writing checkpoints; tensors, numbers and texts only.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     PlainCheckpoints().save_checkpoint({"step": 3}, f"{folder}/last.ckpt")
        ...     PlainCheckpoints().load_checkpoint(f"{folder}/last.ckpt")
        {'step': 3}
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with atomic_file(path) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        try:
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(checkpoint, dict):
                raise TypeError(f"a checkpoint is a dict, not {type(checkpoint).__name__}")
        except Exception as error:  # torch's reader of damaged files raises whatever comes
            raise InvalidInput(
                f"{path} is truncated, altered or no checkpoint of ours ({type(error).__name__}); remove it to start again"
            ) from error
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def require_own(path: Path, name: str) -> None:
    """Refuse the checkpoint of another training.

    Args:
        path: Of the checkpoint.
        name: Of the training; see `Loop`.

    Raises:
        InvalidInput: It is of another training, or cannot be read.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     PlainCheckpoints().save_checkpoint({"embridge": {"name": "mine"}}, f"{folder}/last.ckpt")
        ...     require_own(Path(folder) / "last.ckpt", "mine")
    """
    checkpoint = PlainCheckpoints().load_checkpoint(path).get("embridge")
    if not isinstance(checkpoint, dict) or checkpoint.get("name") != name:
        raise InvalidInput(
            f"{path} is of another training (other pairs, settings, seed, model or upgrade); it is not overwritten: choose "
            "another folder, or remove it"
        )
