"""Texts as vectors of one side of an upgrade: what every library asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from embridge.adapters.upgrade import Upgrade
from embridge.embeddings import Embeddings
from embridge.encoders.base import Encoder, Role
from embridge.errors import InvalidInput, SettingsError, WrongDirection
from embridge.space import require_same

__all__ = ["Side", "TextVectors"]

Side = Literal["old", "new"]


@dataclass(frozen=True, slots=True, eq=False)
class TextVectors:
    """An encoder, and the side of the upgrade on which its vectors are to lie.

    Attributes:
        encoder: The new model.
        upgrade: An upgrade of it.
        side: ``old``: vectors for an index that is kept. ``new``: for one that the new model writes.

    Raises:
        SettingsError: There is no such side.
        SpaceMismatch: The encoder is not the upgrade's new one.
        WrongDirection: Old vectors are meant, and the upgrade is a forward one.
        InvalidInput: The encoder takes no text.
    """

    encoder: Encoder
    upgrade: Upgrade
    side: Side

    def __post_init__(self) -> None:
        if self.side not in get_args(Side):
            raise SettingsError(f"side: expected old or new, came {self.side!r}")
        require_same(self.upgrade.new_space, self.encoder.space, what="the new model of this upgrade")
        if self.side == "old" and self.upgrade.direction == "forward":
            raise WrongDirection("a forward upgrade makes no vectors of the old space; fit a backward method")
        if "text" not in self.encoder.modalities:
            raise InvalidInput(f"{self.encoder.space.model} takes no text")

    @property
    def name(self) -> str:
        """What the vectors are of, as the server names it."""
        new, old = self.upgrade.new_space.model, self.upgrade.old_space.model
        return f"{new}@{old}" if self.side == "old" else new

    def rows(self, texts: Sequence[str], role: Role) -> list[list[float]]:
        """The vectors of some texts, as lists of numbers; none of no text."""
        if not texts:
            return []
        encoded = Embeddings.of(self.encoder.encode(list(texts), modality="text", role=role), self.encoder.space)
        mapped = self.upgrade.to_index_space(encoded) if self.side == "old" else self.upgrade.head(encoded)
        return mapped.vectors.tolist()
