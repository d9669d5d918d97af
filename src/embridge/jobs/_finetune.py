"""Finetuning as the settings ask for it: looked at before any work, trained after the bridge, taken up again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embridge.adapters.linear import Linear
from embridge.adapters.mlp import MLP
from embridge.adapters.upgrade import Upgrade
from embridge.datasets.image_text import ImageTextPairs
from embridge.encoders import PROVIDERS, LazyEncoder, provider_of
from embridge.errors import SettingsError, require
from embridge.methods import Pairs, configured, record_of
from embridge.progress import Progress
from embridge.settings import Settings
from embridge.training.lightning.run import Run

if TYPE_CHECKING:
    from embridge.training.xbt.finetune import XBTFinetune

__all__ = ["Finetuning", "finetuning_of", "outcome"]


@dataclass(frozen=True, slots=True, eq=False)
class Finetuning:
    """How the new model is finetuned, and under which folder its checkpoints lie."""

    method: XBTFinetune
    cache: Path
    seed: int

    def fit(
        self, upgrade: Upgrade, pairs: ImageTextPairs, encoder: LazyEncoder, *, captions: Pairs, progress: Progress
    ) -> Upgrade:
        """Train on top of an upgrade, from the last checkpoint of the very same training if there is one.

        captions: what the upgrade was fitted on. Raises `SettingsError` for an upgrade that cannot be trained on.
        """
        if upgrade.direction == "forward" or not isinstance(upgrade.bridge, (Linear, MLP)):
            raise SettingsError(
                f"fit.finetune_pairs: finetuning starts from a backward bridge that is linear or an mlp, and "
                f"{upgrade.provenance.method} made one that is {upgrade.direction} and {upgrade.bridge.kind}; set method: "
                "xbt, name other candidates in fit.settings, or leave out fit.finetune_pairs"
            )
        model: Any = encoder.loaded()
        run = Run(cache=self.cache, progress=progress)
        tuned = self.method.fit(pairs, model, upgrade, captions=captions, seed=self.seed, run=run)
        chosen = {k: v for k, v in upgrade.provenance.figures.items() if k == "chosen_from"}
        return replace(tuned, provenance=replace(tuned.provenance, figures={**chosen, **tuned.provenance.figures}))


def finetuning_of(settings: Settings, cache: Path) -> Finetuning | None:
    """The finetuning that ``fit.finetune_pairs`` asks for, or None; nothing is read.

    Raises `SettingsError` for settings, models and methods it cannot work with, and `MissingExtra` without the extra
    ``finetune``.
    """
    options = settings.fit
    if options.finetune_pairs is None:
        if options.finetune:
            raise SettingsError("fit.finetune needs image-text pairs: name them in fit.finetune_pairs")
        return None
    if not record_of(options.method).finetunable:
        raise SettingsError(
            f"fit.finetune_pairs: finetuning starts from a backward bridge that is linear or an mlp; {options.method} makes "
            "none: set method: xbt, or leave out fit.finetune_pairs"
        )
    encoder = settings.new.encoder
    if encoder is None or not provider_of(encoder).takes_lora:
        able = " or ".join(f"{name}:MODEL" for name, provider in PROVIDERS.items() if provider.takes_lora)
        raise SettingsError(
            "fit.finetune_pairs: the new model is finetuned, so new has to be an encoder of texts and images that takes a "
            f"LoRA ({able}); it is {encoder or 'files of vectors'}"
        )
    for library in ("torch", "transformers", "lightning", "peft"):
        require(library, extra="finetune")
    from embridge.training.xbt.finetune import XBTFinetune  # torch takes seconds to import

    method: XBTFinetune = configured("fit.finetune", XBTFinetune, options.finetune)
    return Finetuning(method, cache, options.seed)


def outcome(upgrade: Upgrade) -> str:
    """What finetuning brought, for people; empty where there was none.

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
    scores, bridge = figures["held_out_scores"], figures["stage_1"]
    if not figures["best_step"]:
        return f"no step scored above the start ({scores[0]:.3f}), so this is the upgrade of {bridge}, without a LoRA"
    return (
        f"on top of {bridge}; held-out score {scores[0]:.3f} before, {max(scores):.3f} after step "
        f"{figures['best_step']} of {figures['steps']}"
    )
