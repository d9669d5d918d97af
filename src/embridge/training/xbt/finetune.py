"""XBT, stage 2: LoRA in the new model and ψ, trained on a few image-text pairs, with no old model anywhere.

Jang & Lim, "Cross-modal backward-compatible training", ICCV 2025 (arXiv 2405.14715), section 3. Stage 1 (`XBT`) saw text
alone. Here images of the new model learn to find their captions in the old space, where ψ₀, the bridge of stage 1, says
where the old model's captions lie. The new model's own weights are not touched: without the LoRA it is what it was.
"""

from __future__ import annotations

import atexit
import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from embridge.adapters.linear import Identity
from embridge.adapters.lora_folder import space_with_lora
from embridge.adapters.upgrade import Upgrade
from embridge.datasets.image_text import ImageTextPairs
from embridge.encoders.clip import ClipEncoder
from embridge.errors import InvalidInput, SettingsError, require
from embridge.methods.base import Pairs
from embridge.progress import Progress, silent
from embridge.provenance import Provenance, library_versions
from embridge.training.objectives.xbt import XBTCaptioned, XBTImageText
from embridge.training.xbt.bridge import TrainableBridge
from embridge.training.xbt.lora import attached_lora, save_lora
from embridge.training.xbt.start import Start
from embridge.training.xbt.task import Rates, XBTTask

__all__ = ["XBTFinetune"]

_HELD_OUT_PAIRS = 1_000


@dataclass(frozen=True, slots=True)
class XBTFinetune:
    """Minimise `XBTImageText` over LoRA in both towers and ψ (AdamW, warm-up, cosine); keep the best by held-out pairs.

    Where the captions of stage 1 are given with both models' vectors (no old model: they lie in the cache since then), the
    loss is `XBTCaptioned`, unless neighbour_weight is 0.

    rank, lora_alpha, lora_dropout: of the LoRA, whose product is scaled by lora_alpha / rank. target_modules: names of
    the linear layers that get one; None finds the query and value projections of attention. learning_rate: of the LoRA;
    projection_learning_rate: of ψ. warmup_fraction: of all steps. batch_size: pairs that are contrasted at once;
    chunk_size: how many of them are in memory with their graph (0: all), see `cached_backward`. temperature, keep_weight:
    of the loss; neighbour_weight, neighbour_temperature: of the images' neighbours among captions of stage 1;
    caption_batch_size: how many of these in a step. precision: ``auto`` takes bfloat16 on a GPU that has it; ψ, loss and
    scores are in float32 always. validation_fraction: of the pairs, by whole groups, at most 1,000 of them scored. checks:
    how often the score is looked at. checkpoint_every_steps: between two checkpoints. workers: processes that prepare
    batches.

    It runs where the encoder is (``device=`` of the encoder). Requirements: a backward upgrade of stage 1 whose bridge is
    linear or an mlp, the dual encoder of its new space, pairs of image and caption; no label, no old model. Needs the
    extra ``finetune``. Related: `embridge.methods.xbt.XBT`, which comes before. On characters that neither glyph model has
    seen, temperature .1 and keep_weight 3 were the best of those tried (.05 to .2, 1 to 10); at .05 and 1 captions moved.

    >>> from embridge.adapters import Linear
    >>> from embridge.datasets import glyph_models, glyphs
    >>> from embridge.encoders import load
    >>> from embridge.space import Space
    >>> new, old = load(f"clip:{glyph_models.folder('new')}", device="cpu"), Space("old", "1", 64)
    >>> bridge = Linear(new.space, old, np.eye(128, 64, dtype=np.float32))
    >>> stage_1 = Upgrade(Identity(new.space, new.space), bridge, Provenance("known"))
    >>> drawn = glyphs.render(glyphs.split()["validation"][:40], one_each=True)
    >>> pairs = ImageTextPairs(drawn.captions, drawn.images)
    >>> stage_2 = XBTFinetune(batch_size=16, validation_fraction=0.2).fit(pairs, new, stage_1)
    >>> stage_2.old_space == old, stage_2.provenance.figures["steps"]
    (True, 2)
    """

    paper: ClassVar[str] = "Jang & Lim, Cross-modal backward-compatible training, ICCV 2025, arXiv 2405.14715"

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
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    validation_fraction: float = 0.05
    checks: int = 10
    checkpoint_every_steps: int = 100
    workers: int = 0

    def __post_init__(self) -> None:
        whole = ("rank", "epochs", "checks", "checkpoint_every_steps", "caption_batch_size")
        above = ("lora_alpha", "learning_rate", "temperature", "neighbour_temperature")
        rest = ("projection_learning_rate", "weight_decay", "keep_weight", "neighbour_weight")
        self._require("1 or more", whole, lambda x: x >= 1)
        self._require("2 or more", ("batch_size",), lambda x: x >= 2)
        self._require("0 or more", ("chunk_size", "workers"), lambda x: x >= 0)
        self._require("above 0", above, lambda x: 0 < x < math.inf)
        self._require("0 or more", rest, lambda x: 0 <= x < math.inf)
        self._require("a fraction below 1", ("lora_dropout", "warmup_fraction"), lambda x: 0 <= x < 1)
        self._require("a fraction between 0 and 1", ("validation_fraction",), lambda x: 0 < x < 1)
        if self.precision not in ("auto", "32-true", "bf16-mixed"):
            raise SettingsError(f"finetune: precision is auto, 32-true or bf16-mixed, came {self.precision!r}")

    def _require(self, wanted: str, names: tuple[str, ...], holds: Callable[[float], bool]) -> None:
        for name in names:
            if not holds(getattr(self, name)):
                raise SettingsError(f"finetune: {name} is {wanted}, came {getattr(self, name)!r}")

    def fit(
        self,
        pairs: ImageTextPairs,
        encoder: ClipEncoder,
        upgrade: Upgrade,
        *,
        captions: Pairs | None = None,
        seed: int = 0,
        folder: Path | str | None = None,
        loggers: Sequence[Any] = (),
        progress: Progress = silent,
    ) -> Upgrade:
        """The upgrade of the model with the LoRA; ``encoder`` and ``upgrade`` are left as they came.

        captions: the pairs of stage 1. folder: for checkpoints and the LoRA; a run that was killed goes on from there, and a
        finished one is read again. Without it nothing can be taken up, and the LoRA lies in a temporary folder until the
        process ends: save the upgrade, which copies it. loggers: of Lightning. Where no step scores above the start, the
        upgrade is that of stage 1, with no LoRA and ``best_step`` 0 among its figures.

        Raises `SettingsError` for an encoder or a bridge that cannot be trained, `WrongDirection` and `SpaceMismatch` for
        an upgrade that is forward or of another model, `InvalidInput` for too few pairs and a folder of another training.
        """
        start = self._start(pairs, encoder, upgrade, captions, seed)
        for library in ("lightning", "peft"):
            require(library, extra="finetune")
        parts, every = self.split(pairs, seed=seed), start.surrogates()
        train, held = (every.take(rows) for rows in parts)
        place = _place(folder)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            with self._lora(encoder) as attached:
                attached.to(encoder.device).eval()
                bridge = TrainableBridge(upgrade.bridge).to(encoder.device)
                task = XBTTask(
                    encoder,
                    attached,
                    bridge,
                    self._objective(start.captions),
                    self._rates(),
                    train=train,
                    held=held,
                    seed=seed,
                    captions=start.caption_rows(),
                )
                figures = self._run(task, start, None if folder is None else place, loggers, progress)
                if figures["best_step"]:
                    save_lora(attached, place / "lora", base=encoder.space.model)
        return self._upgrade(start, bridge, place / "lora", figures)

    def run_name(
        self,
        pairs: ImageTextPairs,
        encoder: ClipEncoder,
        upgrade: Upgrade,
        *,
        captions: Pairs | None = None,
        seed: int = 0,
    ) -> str:
        """A hash of all that decides the outcome of `fit`: a folder named after it never holds another training."""
        return self._start(pairs, encoder, upgrade, captions, seed).name(asdict(self))

    def split(self, pairs: ImageTextPairs, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The rows to train on, and those to judge by; raises as `fit` does where there are too few."""
        rows, held = pairs.hold_out(self.validation_fraction, seed=seed)
        if len(rows) < self.batch_size:
            raise SettingsError(
                f"finetune: batch_size {self.batch_size} is more than the {len(rows)} pairs there are to train on "
                f"({len(held)} of {len(pairs)} are held out); set a smaller one, or give more pairs"
            )
        held = held[np.linspace(0, len(held) - 1, min(len(held), _HELD_OUT_PAIRS)).astype(np.int64)]
        if len(np.unique(pairs.group_numbers()[held])) < 2:
            raise InvalidInput(
                f"finetune: of {len(pairs)} pairs only one photo would be held out, which is always found; give "
                "more pairs or a larger validation_fraction"
            )
        return rows, held

    def _lora(self, encoder: ClipEncoder) -> AbstractContextManager[Any]:
        return attached_lora(
            encoder.model,
            rank=self.rank,
            alpha=self.lora_alpha,
            dropout=self.lora_dropout,
            target_modules=self.target_modules,
        )

    def _start(
        self, pairs: ImageTextPairs, encoder: ClipEncoder, upgrade: Upgrade, captions: Pairs | None, seed: int
    ) -> Start:
        return Start(pairs, encoder, upgrade, seed, captions if self.neighbour_weight else None)

    def _objective(self, captions: Pairs | None) -> XBTImageText | XBTCaptioned:
        if captions is None:
            return XBTImageText(self.temperature, self.keep_weight)
        return XBTCaptioned(self.temperature, self.keep_weight, self.neighbour_weight, self.neighbour_temperature)

    def _rates(self) -> Rates:
        return Rates(
            self.learning_rate,
            self.projection_learning_rate,
            self.weight_decay,
            self.batch_size,
            self.chunk_size,
            self.caption_batch_size,
        )

    def _run(
        self, task: XBTTask, start: Start, folder: Path | None, loggers: Sequence[Any], progress: Progress
    ) -> dict[str, Any]:
        from embridge.training.lightning.loop import (  # Lightning takes seconds to import, and may not be there
            Loop,
            run,
        )

        steps = self.epochs * task.steps_per_epoch
        device = str(start.encoder.device)
        loop = Loop(
            name=start.name(asdict(self)),
            steps=steps,
            seed=start.seed,
            device=device,
            precision=_precision(self.precision, device),
            share=partial(_share, steps=steps, warmup=round(self.warmup_fraction * steps)),
            checks=self.checks,
            checkpoint_every_steps=self.checkpoint_every_steps,
            workers=self.workers,
        )
        best = run(task, loop, folder=folder, loggers=loggers, progress=progress, what="finetune steps")
        return {"steps": steps, "best_step": best.step, "held_out_scores": best.scores}

    def _upgrade(self, start: Start, bridge: TrainableBridge, lora: Path, figures: dict[str, Any]) -> Upgrade:
        before = start.upgrade.provenance
        provenance = Provenance(
            method="xbt-stage2",
            settings=asdict(self),
            seed=start.seed,
            data=start.data,
            versions=library_versions(),
            figures=figures | {"stage_1": before.method, "stage_1_data": before.data},
            encoders=before.encoders,
        )
        if not figures["best_step"]:
            return replace(start.upgrade, provenance=provenance)
        new = space_with_lora(start.encoder.space, lora)
        adapter = bridge.cpu().to_adapter(new, start.upgrade.old_space)
        return Upgrade(Identity(new, new), adapter, provenance, lora=lora)


def _place(folder: Path | str | None) -> Path:
    """The folder, made; where none is named, one that goes with the process."""
    if folder is None:
        made = tempfile.mkdtemp(prefix="embridge-xbt-")
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        return Path(made)
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidInput(f"{folder} cannot be a folder: a file is in the way; choose another name") from error
    return Path(folder)


def _precision(wanted: Literal["auto", "32-true", "bf16-mixed"], device: str) -> Literal["32-true", "bf16-mixed"]:
    if wanted != "auto":
        return wanted
    return "bf16-mixed" if device.startswith("cuda") and torch.cuda.is_bf16_supported() else "32-true"


def _share(step: int, *, steps: int, warmup: int) -> float:
    """Of the learning rate at a step, counted from 0: a line up to 1, then a cosine down to 0."""
    return min(1.0, (step + 1) / max(1, warmup)) * (1 + math.cos(math.pi * step / steps)) / 2
