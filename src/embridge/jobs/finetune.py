"""XBT's second stage as the settings ask for it: looked at before any work, trained after the bridge, taken up again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embridge.adapters.linear import Linear
from embridge.adapters.mlp import MLP
from embridge.adapters.upgrade import Upgrade
from embridge.datasets.image_text import ImageTextPairs, read_image_text
from embridge.errors import SettingsError, require
from embridge.jobs.judgements import require_apart
from embridge.jobs.models import encoder_of
from embridge.methods import Pairs, configured, record_of
from embridge.progress import Progress
from embridge.settings import ModelSettings, Settings
from embridge.training.lightning.run import Run

if TYPE_CHECKING:
    from embridge.training.xbt.finetune import XBTFinetune

__all__ = ["SecondStage", "outcome", "second_stage"]


@dataclass(frozen=True, slots=True, eq=False)
class SecondStage:
    """What the second stage is trained on, how, and under which folder its checkpoints lie."""

    pairs: ImageTextPairs
    method: XBTFinetune
    model: ModelSettings
    cache: Path
    seed: int

    def fit(self, upgrade: Upgrade, captions: Pairs, progress: Progress) -> Upgrade:
        """Train on the upgrade of the first stage, from the last checkpoint of the very same training if there is one.

        captions: what the first stage was fitted on.

        Raises `SettingsError` for an upgrade that cannot be trained on.
        """
        if upgrade.direction == "forward" or not isinstance(upgrade.bridge, (Linear, MLP)):
            raise SettingsError(
                f"fit.pairs: the second stage trains on a backward bridge that is linear or an mlp, and "
                f"{upgrade.provenance.method} made one that is {upgrade.direction} and {upgrade.bridge.kind}; set method: "
                "xbt, name other candidates in fit.settings, or leave out fit.pairs"
            )
        encoder: Any = encoder_of(self.model, progress)
        run = Run(cache=self.cache, progress=progress)
        made = self.method.fit(self.pairs, encoder, upgrade, captions=captions, seed=self.seed, run=run)
        kept = {k: v for k, v in upgrade.provenance.figures.items() if k == "chosen_from"}
        return replace(made, provenance=replace(made.provenance, figures={**kept, **made.provenance.figures}))


def second_stage(settings: Settings, cache: Path) -> SecondStage | None:
    """The second stage that ``fit.pairs`` asks for, or None; nothing is encoded.

    Raises `SettingsError` for settings, models and methods it cannot work with and for pairs that ``evaluate.pairs``
    reports on, `MissingExtra` without the extra ``finetune``, and `InvalidInput` for pairs that cannot be read.
    """
    wanted = settings.fit
    if wanted.pairs is None:
        if wanted.finetune:
            raise SettingsError(
                "fit.finetune is of the second stage, which needs image-text pairs: name them in fit.pairs"
            )
        return None
    if not record_of(wanted.method).finetunable:
        raise SettingsError(
            f"fit.pairs: the second stage trains on a backward bridge that is linear or an mlp; {wanted.method} makes "
            "none: set method: xbt, or leave out fit.pairs"
        )
    if not (settings.new.encoder or "").startswith("clip:"):
        raise SettingsError(
            "fit.pairs: the second stage trains the new model, so new has to be an encoder of texts and images "
            f"(clip:MODEL); it is {settings.new.encoder or 'files of vectors'}"
        )
    for library in ("torch", "transformers", "lightning", "peft"):
        require(library, extra="finetune")
    from embridge.training.xbt.finetune import XBTFinetune  # torch takes seconds to import

    method: XBTFinetune = configured("fit.finetune", XBTFinetune, wanted.finetune)
    pairs = read_image_text(wanted.pairs)
    method.split(pairs, seed=wanted.seed)  # too few are refused now
    why = "a model trained on what is reported flatters itself"
    require_apart(pairs, settings.evaluate, names=("fit.pairs", "evaluate.pairs"), why=why)
    return SecondStage(pairs, method, settings.new, cache, wanted.seed)


def outcome(upgrade: Upgrade) -> str:
    """What the second stage brought, for people; empty where there was none.

    >>> from embridge import Space
    >>> from embridge.adapters import Identity, Prefix, Provenance
    >>> new, old = Space("new", "1", 3), Space("old", "1", 2)
    >>> figures = {"stage_1": "xbt-stage1", "steps": 4, "best_step": 2, "held_out_scores": [0.5, 0.625, 0.6]}
    >>> outcome(Upgrade(Identity(new, new), Prefix(new, old), Provenance("xbt-stage2", figures=figures)))
    'on top of xbt-stage1; held-out score 0.500 before, 0.625 after step 2 of 4'
    """
    figures = upgrade.provenance.figures
    if "stage_1" not in figures:
        return ""
    scores, stage_1 = figures["held_out_scores"], figures["stage_1"]
    if not figures["best_step"]:
        return f"no step scored above the start ({scores[0]:.3f}), so this is the upgrade of {stage_1}, without a LoRA"
    return (
        f"on top of {stage_1}; held-out score {scores[0]:.3f} before, {max(scores):.3f} after step "
        f"{figures['best_step']} of {figures['steps']}"
    )
