"""What a fit made, in words, as a table and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from embridge.adapters.upgrade import Upgrade
from embridge.datasets.captions import Captions
from embridge.encoders import PROVIDERS
from embridge.export import FOLD_TARGETS, foldable_into
from embridge.jobs._finetune import outcome
from embridge.jobs._stored_rows import StoredRows
from embridge.methods import METHODS
from embridge.methods.choice import STATUS_QUO, Choice

__all__ = ["Fitted"]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What `fit_upgrade` made.

    Attributes:
        upgrade: The upgrade; None where the old model should be kept.
        choice: The table, where a choice was made.
        score: What the candidates were compared by.
        captions: What was read, where captions were named.
        stored: The rows of a store that were fitted on, where one was named.

    Examples:
        >>> Fitted(upgrade=None, choice=None).sentence
        'nothing was written'
    """

    upgrade: Upgrade | None
    choice: Choice | None
    score: str = ""
    captions: Captions | None = None
    stored: StoredRows | None = None

    @property
    def sentence(self) -> str:
        """One line for people."""
        if self.upgrade is None:
            return "nothing was written"
        provenance = self.upgrade.provenance
        source = self.stored if self.captions is None else self.captions
        captions = "" if source is None else f"; {source}"
        spaces = f"from {self.upgrade.new_space} to {self.upgrade.old_space}"
        return "; ".join(
            filter(None, (f"{provenance.method}, {spaces}", provenance.data + captions, outcome(self.upgrade)))
        )

    @property
    def stretch(self) -> str:
        """One line: how near the bridge is to an isometry; empty where that was not measured."""
        figures = {} if self.upgrade is None else self.upgrade.provenance.figures
        if "singular_values" not in figures:
            return ""
        median, relative = figures["singular_values"]["median"], figures["singular_values_relative"]
        return (
            f"near held-out vectors this bridge stretches directions by {median:.2f} (median), nine in ten of them by "
            f"{relative['q05']:.2f} to {relative['q95']:.2f} times that (a rotation: 1.00 to 1.00)"
        )

    @property
    def folds(self) -> str:
        """One line: whether the bridge can be folded into the new model, and a query then costs nothing more."""
        into = () if self.upgrade is None else foldable_into(self.upgrade)
        if self.upgrade is not None and self.upgrade.lora is not None:
            return (
                "this bridge is of the new model with the upgrade's LoRA, so it cannot be folded into the model alone"
            )
        if not into:
            return "this bridge cannot be folded into the new model: it is not linear, or maps the gallery"
        models = " or ".join(PROVIDERS[provider].called for provider in into)
        others = (
            PROVIDERS[name].called for name, target in FOLD_TARGETS.items() if name not in into and not target.bias
        )
        rest = "".join(f" ({model} takes no bias)" for model in others)
        return (
            f"this bridge can be folded into {models}{rest}, and then adds no work to a query (embridge export --fold)"
        )

    def table(self) -> tuple[list[str], list[list[str]]]:
        """The candidates, and whether each makes a linear map, which can be folded into the new model."""
        if self.choice is None:
            return [], []
        columns, rows = self.choice.table()
        linear = ["" if row[0] == STATUS_QUO else "yes" if METHODS[row[0]].linear else "no" for row in rows]
        return [*columns[:-1], "linear", columns[-1]], [
            [*row[:-1], word, row[-1]] for row, word in zip(rows, linear, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """What ``embridge fit --json`` prints."""
        made: dict[str, Any] = {"schema": "embridge.fit/1", "method": None}
        if self.upgrade is not None:
            spaces = {"new": self.upgrade.new_space, "old": self.upgrade.old_space}
            made["method"] = self.upgrade.provenance.method
            made |= {side: space.to_dict() | {"id": space.id} for side, space in spaces.items()}
            made["figures"] = dict(self.upgrade.provenance.figures)
            made["foldable_into"] = list(foldable_into(self.upgrade))
        if self.captions is not None:
            dropped = {"repeats": self.captions.repeats, "blanks": self.captions.blanks}
            made["captions"] = {"kept": len(self.captions), **dropped, "files": self.captions.files}
        if self.stored is not None:
            made["store"] = self.stored.to_dict()
        if self.choice is not None:
            made |= {
                "reason": self.choice.reason,
                "score": self.score,
                "status_quo": None if self.choice.status_quo is None else asdict(self.choice.status_quo),
                "candidates": [asdict(c) for c in self.choice.candidates],
            }
        return made
