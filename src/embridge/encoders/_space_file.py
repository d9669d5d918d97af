"""A folder may say of which space its model's vectors are: one with a bridge folded in makes those of another model."""

from __future__ import annotations

import json
from pathlib import Path

from embridge.encoders._fingerprint import hash_of_weight_files
from embridge.encoders._local import Located
from embridge.errors import InvalidInput
from embridge.space import Metric, Space

__all__ = ["SPACE_FILE", "say_space", "space_of"]

SPACE_FILE = "embridge-space.json"


def say_space(folder: Path | str, *, own: Space, said: Space) -> None:
    """Write into a model's folder that its vectors are of the space ``said``.

    own: what the encoder would call its space without the file. Its revision (a hash of the weights), dim and recipe are
    kept in the file, so that it holds for exactly this model.
    """
    described = {"weights": own.revision, "recipe": own.recipe, "space": said.to_dict()}
    (Path(folder) / SPACE_FILE).write_text(json.dumps(described, indent=2), encoding="utf-8")


def space_of(found: Located, dim: int, recipe: str, metric: Metric = "cosine") -> Space:
    """The space of the vectors of a model that was found: its own, or the one that its folder says.

    Raises `InvalidInput` if the file in the folder is of other weights or another recipe, as after fine-tuning. Only
    folders are asked: a copy on the hub is named by its commit.
    """
    own = Space(found.name, found.revision, dim, metric, recipe)
    file = Path(found.source) / SPACE_FILE
    if found.on_hub or not file.is_file():
        return own
    try:
        described = json.loads(file.read_text(encoding="utf-8"))
        said, weights, holds_for = Space.from_dict(described["space"]), described["weights"], described["recipe"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{file} is truncated or altered ({error}); fold the bridge in again") from error
    same = holds_for == own.recipe and said.dim == dim
    if not same or (weights != own.revision and weights != hash_of_weight_files(Path(found.source))):
        raise InvalidInput(
            f"{file} says that these are vectors of {said}, but of other weights or another recipe than the folder holds. "
            "Fold the bridge in again, or remove the file: the model is then a space of its own"
        )
    return said
