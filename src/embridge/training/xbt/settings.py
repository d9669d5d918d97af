"""How a model, or vectors of it, are finetuned with XBT, as data that is checked when it is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from embridge.errors import SettingsError
from embridge.training.lightning.precision import Precision
from embridge.training.objectives.settings import Rule, check_settings
from embridge.training.objectives.xbt import XBTCaptioned, XBTImageText

__all__ = ["CachedSettings", "FinetuneSettings", "objective_of"]


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """How a model is finetuned; `XBTFinetune` does it.

    On characters that neither glyph model has seen, temperature .1 and keep_weight 3 were the best of those tried (.05 to .2,
    1 to 10); at .05 and 1 captions moved.

    Attributes:
        rank: Of the LoRA.
        lora_alpha: The LoRA's product is scaled by lora_alpha / rank.
        lora_dropout: Before the LoRA, while training.
        target_modules: Names of the linear layers that get a LoRA; None finds the query and value projections of attention.
        learning_rate: Of the LoRA.
        projection_learning_rate: Of the bridge ψ.
        weight_decay: Of both.
        warmup_fraction: Of all steps; the rates rise in it, and fall along a cosine throughout.
        epochs: Passes over the pairs.
        batch_size: Pairs that are contrasted at once.
        chunk_size: How many of them are in memory with their graph, 0 for all; see `cached_backward`.
        temperature: Of the loss.
        keep_weight: Of the term that holds captions where they were.
        neighbour_weight: Of the term of the images' neighbours among captions of the bridge; 0 leaves these captions out.
        neighbour_temperature: Of that term.
        caption_batch_size: Captions of the bridge in a step.
        precision: ``auto`` takes bfloat16 on a GPU that is quicker in it. ψ, loss and scores are in float32 always.
        validation_fraction: Of the pairs, by whole groups; at most 1,000 of them are scored.
        checks: How often the score is looked at.
        checkpoint_every_steps: Steps between two checkpoints.
        workers: Processes that prepare batches.

    Raises:
        SettingsError: A setting is out of range.

    Examples:
        >>> FinetuneSettings(epochs=3).batch_size
        256
    """

    rank: int = 16
    lora_alpha: float = 32
    lora_dropout: float = 0.0
    target_modules: tuple[str, ...] | None = None
    learning_rate: float = 1e-4
    projection_learning_rate: float = 1e-5
    weight_decay: float = 0.01
    warmup_fraction: float = 0.1
    epochs: int = 1
    batch_size: int = 256
    chunk_size: int = 32
    temperature: float = 0.1
    keep_weight: float = 3.0
    neighbour_weight: float = 2.0
    neighbour_temperature: float = 0.05
    caption_batch_size: int = 1024
    precision: Precision = "auto"
    validation_fraction: float = 0.05
    checks: int = 10
    checkpoint_every_steps: int = 100
    workers: int = 0

    def __post_init__(self) -> None:
        def check(rule: Rule, *names: str) -> None:
            check_settings("finetune", rule, **{name: getattr(self, name) for name in names})

        check(
            "a whole number of at least 1", "rank", "epochs", "checks", "checkpoint_every_steps", "caption_batch_size"
        )
        check("a whole number of at least 2", "batch_size")
        check("above 0", "lora_alpha", "learning_rate", "temperature", "neighbour_temperature")
        check("0 or more", "chunk_size", "workers", "projection_learning_rate", "weight_decay")
        check("0 or more", "keep_weight", "neighbour_weight")
        check("at least 0 and below 1", "lora_dropout", "warmup_fraction")
        check("above 0 and below 1", "validation_fraction")
        if self.precision not in ("auto", "32-true", "bf16-mixed"):
            raise SettingsError(f"finetune: precision is auto, 32-true or bf16-mixed, came {self.precision!r}")

    def share(self, steps: int) -> Callable[[int], float]:
        """Give the share of the learning rates at each of so many steps."""
        return partial(_share, steps=steps, warmup=round(self.warmup_fraction * steps))


@dataclass(frozen=True, slots=True)
class CachedSettings:
    """How a training on cached vectors is done; `XBTCached` does it.

    Attributes:
        rank: Of the residuals.
        learning_rate: Of the residuals.
        projection_learning_rate: Of the bridge ψ.
        weight_decay: Of both.
        epochs: Passes over the photos, with one caption drawn for each.
        batch_size: Photos that are contrasted at once.
        temperature: Of the loss.
        keep_weight: Of the term that holds captions where they were.
        neighbour_weight: Of the term of the images' neighbours among captions of the bridge.
        neighbour_temperature: Of that term.
        caption_batch_size: Captions of the bridge in a step.
        validation_fraction: Of the photos. Where their loss is no lower at the end than at the start, both towers are the
            upgrade that came.

    Raises:
        SettingsError: A setting is out of range.

    Examples:
        >>> CachedSettings(epochs=3).rank
        16
    """

    rank: int = 16
    learning_rate: float = 3e-3
    projection_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    epochs: int = 20
    batch_size: int = 500
    temperature: float = 0.1
    keep_weight: float = 1.0
    neighbour_weight: float = 2.0
    neighbour_temperature: float = 0.05
    caption_batch_size: int = 1024
    validation_fraction: float = 0.05

    def __post_init__(self) -> None:
        def check(rule: Rule, *names: str) -> None:
            check_settings("finetune", rule, **{name: getattr(self, name) for name in names})

        check("a whole number of at least 1", "rank", "epochs")
        check("a whole number of at least 2", "batch_size", "caption_batch_size")
        check("above 0", "learning_rate", "temperature", "neighbour_temperature")
        check("0 or more", "projection_learning_rate", "weight_decay", "keep_weight", "neighbour_weight")
        check("above 0 and below 1", "validation_fraction")


def objective_of(settings: FinetuneSettings | CachedSettings, *, captioned: bool) -> XBTImageText | XBTCaptioned:
    """Make the loss that the settings describe.

    Args:
        settings: With the weights and temperatures of its terms.
        captioned: With captions of the bridge beside the pairs.

    Returns:
        The loss.

    Examples:
        >>> type(objective_of(FinetuneSettings(), captioned=True)).__name__
        'XBTCaptioned'
    """
    if not captioned:
        return XBTImageText(settings.temperature, settings.keep_weight)
    neighbours = settings.neighbour_weight, settings.neighbour_temperature
    return XBTCaptioned(settings.temperature, settings.keep_weight, *neighbours)


def _share(step: int, *, steps: int, warmup: int) -> float:
    """At a step, counted from 0: a line up to 1, then a cosine down to 0."""
    return min(1.0, (step + 1) / max(1, warmup)) * (1 + math.cos(math.pi * step / steps)) / 2
