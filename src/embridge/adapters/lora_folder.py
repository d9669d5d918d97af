"""A folder with the LoRA of an upgrade in peft's format: its files, their hashes, and the space it makes of a model's own."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from embridge.errors import ArtefactError
from embridge.space import Space

__all__ = ["LORA_CONFIG", "LORA_FILES", "LORA_WEIGHTS", "check_lora", "copy_lora", "lora_hashes", "space_with_lora"]

LORA_CONFIG, LORA_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LORA_FILES = (LORA_CONFIG, LORA_WEIGHTS)


def space_with_lora(space: Space, folder: Path | str) -> Space:
    """Name the space of a model with a LoRA attached: its recipe names the LoRA.

    The name is a hash of both files, so that another LoRA, or the same at another strength, is another space.

    Args:
        space: The space of the model alone.
        folder: The LoRA, as peft saves it.

    Returns:
        The same space with another recipe.

    Raises:
        ArtefactError: The folder lacks a file.

    Examples:
        >>> from pathlib import Path
        >>> folder = Path("lora")
        >>> folder.mkdir()
        >>> for name in LORA_FILES:
        ...     _ = (folder / name).write_text("{}")
        >>> space_with_lora(Space("clip", "1", 2), folder).recipe[:5]
        'lora '
    """
    return replace(space, recipe="; ".join(filter(None, (space.recipe, _name(lora_hashes(folder))))))


def lora_hashes(folder: Path | str) -> dict[str, str]:
    """The sha256 of each file of a LoRA.

    Args:
        folder: A LoRA as peft saves it.

    Returns:
        Hashes by the name of the file.

    Raises:
        ArtefactError: The folder lacks a file.

    Examples:
        >>> from pathlib import Path
        >>> folder = Path("lora")
        >>> folder.mkdir()
        >>> for name in LORA_FILES:
        ...     _ = (folder / name).write_text("{}")
        >>> list(lora_hashes(folder)) == list(LORA_FILES)
        True
    """
    missing = [name for name in LORA_FILES if not (Path(folder) / name).is_file()]
    if missing:
        raise ArtefactError(
            f"{folder} lacks {missing[0]}: a LoRA is a folder with {' and '.join(LORA_FILES)}, as peft saves it"
        )
    return {name: hashlib.sha256((Path(folder) / name).read_bytes()).hexdigest() for name in LORA_FILES}


def copy_lora(source: Path, target: Path, space: Space) -> dict[str, str]:
    """Copy the files of a LoRA.

    Args:
        source: The LoRA, as peft saves it.
        target: The folder to make.
        space: That of the model with the LoRA.

    Returns:
        The sha256 of each file.

    Raises:
        ArtefactError: ``space`` is not of exactly this LoRA, or a file is not there.

    Examples:
        >>> from pathlib import Path
        >>> folder = Path("lora")
        >>> folder.mkdir()
        >>> for name in LORA_FILES:
        ...     _ = (folder / name).write_text("{}")
        >>> hashes = copy_lora(folder, Path("copy"), space_with_lora(Space("clip", "1", 2), folder))
        >>> hashes == lora_hashes("copy")
        True
    """
    hashes = lora_hashes(source)
    _require_named(source, hashes, space)
    target.mkdir()
    for name in LORA_FILES:
        shutil.copyfile(source / name, target / name)
    return hashes


def check_lora(folder: Path, hashes: Mapping[str, str], space: Space) -> Path:
    """Check that a folder holds exactly the files that were hashed.

    Args:
        folder: The LoRA.
        hashes: What `copy_lora` gave.
        space: That of the model with the LoRA.

    Returns:
        The folder.

    Raises:
        ArtefactError: A file is not there or another, or ``space`` is not of this LoRA.

    Examples:
        >>> from pathlib import Path
        >>> folder = Path("lora")
        >>> folder.mkdir()
        >>> for name in LORA_FILES:
        ...     _ = (folder / name).write_text("{}")
        >>> check_lora(folder, lora_hashes(folder), space_with_lora(Space("clip", "1", 2), folder)).name
        'lora'
    """
    actual = lora_hashes(folder)
    for name in LORA_FILES:
        if actual[name] != hashes[name]:
            raise ArtefactError(
                f"{folder / name} is not the file the upgrade was written with: truncated, altered or replaced"
            )
    _require_named(folder, actual, space)
    return folder


def _require_named(folder: Path, hashes: Mapping[str, str], space: Space) -> None:
    if not space.recipe.endswith(_name(hashes)):
        raise ArtefactError(
            f"{folder} is not the LoRA of {space}: its recipe should end in '{_name(hashes)}' and is {space.recipe!r}"
        )


def _name(hashes: Mapping[str, str]) -> str:
    joined = " ".join(hashes[name] for name in LORA_FILES)
    return f"lora {hashlib.sha256(joined.encode()).hexdigest()[:12]}"
