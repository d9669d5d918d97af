"""XBT's finetuning: a LoRA in the new model and ψ, trained on a few image-text pairs, with no old model anywhere.

Our reading of Jang & Lim, "Towards cross-modal backward-compatible representation learning for vision-language models", ICCV 2025
(arXiv 2405.14715). Certain is that few pairs, a parameter-efficient training and no old model are enough; the loss is ours. The
bridge (`XBT`) was fitted on text alone. Here images of the new model learn to find their captions in the old space, where ψ₀,
that bridge, says where the old model's captions lie. The new model's own weights are not touched: without the LoRA it is what it
was.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from embridge.adapters.linear import Identity
from embridge.adapters.lora_folder import space_with_lora
from embridge.adapters.upgrade import Upgrade
from embridge.datasets.image_text import ImageTextPairs
from embridge.encoders.clip import ClipEncoder
from embridge.errors import InvalidInput, SettingsError, require
from embridge.methods.base import Pairs
from embridge.provenance import Provenance, library_versions
from embridge.training.lightning.precision import precision_on
from embridge.training.lightning.run import UNRECORDED, Run
from embridge.training.lightning.task import Loop
from embridge.training.xbt.bridge import TrainableBridge
from embridge.training.xbt.lora import attached_lora, save_lora
from embridge.training.xbt.settings import FinetuneSettings
from embridge.training.xbt.start import Start
from embridge.training.xbt.task import XBTTask

__all__ = ["XBTFinetune"]

_HELD_OUT_PAIRS = 1_000
_LORA = "lora"


@dataclass(frozen=True, slots=True)
class XBTFinetune(FinetuneSettings):
    """Minimise `XBTImageText` over a LoRA in both towers and ψ (AdamW, warm-up, cosine); keep the best by held-out pairs.

    Its settings are those of `FinetuneSettings`. Where the captions that the bridge was fitted on are given, with both models'
    vectors (they lie in the cache since then, so no old model is needed), the loss is `XBTCaptioned`, unless neighbour_weight
    is 0. It runs where the encoder is.

    Requirements: a backward upgrade whose bridge is linear or an mlp, the dual encoder of its new space, pairs of image and
    caption; no label, no old model. Needs the extra ``finetune``. Related: `embridge.methods.xbt.XBT`, which comes before.

    Examples:
        >>> from embridge.adapters import Linear
        >>> from embridge.datasets import glyph_models, glyphs
        >>> from embridge.encoders import load
        >>> from embridge.space import Space
        >>> new, old = load(f"clip:{glyph_models.folder('new')}", device="cpu"), Space("old", "1", 64)
        >>> bridge = Linear(new.space, old, np.eye(128, 64, dtype=np.float32))
        >>> fitted = Upgrade(Identity(new.space, new.space), bridge, Provenance("known"))
        >>> drawn = glyphs.render(glyphs.split()["validation"][:40], one_each=True)
        >>> pairs = ImageTextPairs(drawn.captions, drawn.images)
        >>> finetuned = XBTFinetune(batch_size=16, validation_fraction=0.2).fit(pairs, new, fitted)
        >>> finetuned.old_space == old, finetuned.provenance.figures["steps"]
        (True, 2)
    """

    paper: ClassVar[str] = (
        "Jang & Lim, Towards cross-modal backward-compatible representation learning for vision-language models, ICCV 2025, "
        "arXiv 2405.14715"
    )

    def fit(
        self,
        pairs: ImageTextPairs,
        encoder: ClipEncoder,
        upgrade: Upgrade,
        *,
        captions: Pairs | None = None,
        seed: int = 0,
        run: Run = UNRECORDED,
    ) -> Upgrade:
        """Finetune the new model; ``encoder`` and ``upgrade`` are left as they came.

        Args:
            pairs: Images with their captions.
            encoder: The new model.
            upgrade: With the bridge that was fitted between the two models' captions.
            captions: What it was fitted on.
            seed: Of the order of the pairs, of the LoRA's start and of dropout.
            run: Where checkpoints and the LoRA lie, and who is told. Without a folder nothing can be taken up, and the LoRA
                lies in a temporary folder until the process ends: save the upgrade, which copies it.

        Returns:
            The upgrade of the model with the LoRA. Where no step scores above the start, it is the upgrade that came, with no
            LoRA and ``best_step`` 0 among its figures.

        Raises:
            SettingsError: The encoder or the bridge cannot be trained, or a file is in the way of the folder.
            WrongDirection: The upgrade is forward.
            SpaceMismatch: The upgrade is of another model.
            InvalidInput: There are too few pairs, or the folder is of another training.
            MissingExtra: A library of the extra ``finetune`` is not installed.
        """
        start = Start(pairs, encoder, upgrade, captions if self.neighbour_weight else None, seed)
        for library in ("lightning", "peft"):
            require(library, extra="finetune")
        parts, every = self.split(pairs, seed=seed), start.surrogates()
        train, held_out = (every.take(rows) for rows in parts)
        name = start.name(asdict(self))
        run = run.placed("xbt-stage2", name)
        home = _temporary() if run.folder is None else Path(run.folder)
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            with self._lora(encoder) as attached:
                attached.to(encoder.device).eval()
                bridge = TrainableBridge(upgrade.bridge).to(encoder.device)
                task = XBTTask(start, self, attached, bridge, train=train, held_out=held_out)
                figures = self._figures(task, self._loop(start, name, task.steps_per_epoch), run)
                if figures["best_step"]:
                    save_lora(attached, home / _LORA, base=encoder.space.model)
        return self._upgrade(start, bridge, home / _LORA, figures)

    def split(self, pairs: ImageTextPairs, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Split the pairs as `fit` does.

        Args:
            pairs: All of them.
            seed: As `fit` gets it.

        Returns:
            The rows to train on, and the rows to judge by.

        Raises:
            SettingsError: There are fewer to train on than a batch has.
            InvalidInput: There are too few to judge by.
        """
        rows, held_out = pairs.hold_out(self.validation_fraction, seed=seed)
        if len(rows) < self.batch_size:
            raise SettingsError(
                f"finetune: batch_size {self.batch_size} is more than the {len(rows)} pairs there are to train on "
                f"({len(held_out)} of {len(pairs)} are held out); set a smaller one, or give more pairs"
            )
        held_out = held_out[np.linspace(0, len(held_out) - 1, min(len(held_out), _HELD_OUT_PAIRS)).astype(np.int64)]
        if len(np.unique(pairs.group_numbers()[held_out])) < 2:
            raise InvalidInput(
                f"finetune: of {len(pairs)} pairs only one photo would be held out, which is always found; give "
                "more pairs or a larger validation_fraction"
            )
        return rows, held_out

    def _lora(self, encoder: ClipEncoder) -> AbstractContextManager[Any]:
        return attached_lora(
            encoder.model,
            rank=self.rank,
            alpha=self.lora_alpha,
            dropout=self.lora_dropout,
            target_modules=self.target_modules,
        )

    def _loop(self, start: Start, name: str, steps_per_epoch: int) -> Loop:
        steps, device = self.epochs * steps_per_epoch, str(start.encoder.device)
        return Loop(
            name=name,
            what="finetune steps",
            steps=steps,
            seed=start.seed,
            share=self.share(steps),
            device=device,
            precision=precision_on(device, self.precision),
            checks=self.checks,
            checkpoint_every_steps=self.checkpoint_every_steps,
            workers=self.workers,
        )

    def _figures(self, task: XBTTask, loop: Loop, run: Run) -> dict[str, Any]:
        from embridge.training.lightning.loop import train  # Lightning takes seconds to import, and may not be there

        best = train(task, loop, run)
        figures = {"steps": loop.steps, "best_step": best.step, "held_out_scores": best.scores}
        return figures | {"precision": loop.precision}

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


def _temporary() -> Path:
    """A folder that goes with the process."""
    folder = tempfile.mkdtemp(prefix="embridge-xbt-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
