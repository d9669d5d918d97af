"""How a map is trained by gradient: the settings that all trained methods share."""

from __future__ import annotations

from dataclasses import dataclass

from embridge.errors import SettingsError

__all__ = ["Training"]


@dataclass(frozen=True, slots=True)
class Training:
    """Settings of AdamW under a cosine schedule, and of when to stop.

    Attributes:
        learning_rate: At the first step; it falls to zero along a cosine.
        weight_decay: Of AdamW.
        batch_size: Pairs in one step.
        epochs: Passes over the pairs.
        min_steps: Steps to take where few pairs would give fewer in all epochs.
        patience: Checks in a row without a better held-out score before the training stops; there are twenty checks.
        validation_fraction: Share of the pairs that is held out.

    Raises:
        SettingsError: A value is out of range.

    Examples:
        >>> Training(epochs=20).min_steps
        300
    """

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    batch_size: int = 1024
    epochs: int = 10
    min_steps: int = 300
    patience: int = 4
    validation_fraction: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < float("inf") or not 0 <= self.weight_decay < float("inf"):
            raise SettingsError(f"training: learning_rate or weight_decay out of range: {self}")
        whole = (self.batch_size, self.epochs, self.min_steps, self.patience)
        if min(whole) < 1 or not 0 < self.validation_fraction < 1:
            raise SettingsError(
                f"training: batch_size, epochs, min_steps, patience or validation_fraction out of range: {self}"
            )
