"""The neighbour map: an affine map that is trained to find what the new model finds."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from embridge.adapters.linear import Linear
from embridge.adapters.upgrade import Upgrade
from embridge.errors import SettingsError
from embridge.methods._averaged import fit_averaged
from embridge.methods.base import Pairs, backward_upgrade, require_cosine
from embridge.methods.devices import in_bfloat16, require_device
from embridge.methods.judges import POOL, HeldOutNeighbours, surely_higher
from embridge.methods.projection import PartWay
from embridge.methods.signal import check_signal
from embridge.methods.training_loop import Task, train
from embridge.methods.training_settings import Training
from embridge.methods.unit_rows import UnitRows, WeighedRows
from embridge.methods.xbt_losses import neighbour_loss
from embridge.progress import Progress, silent

__all__ = ["NeighbourMap"]

_ASKING = 8  # one in so many rows of a batch asks; the others are what is found


@dataclass(frozen=True, slots=True)
class NeighbourMap:
    """``y = x W + b``, trained so that a mapped vector finds among old vectors what the new one finds among new ones.

    Training starts at the mean of three closed forms, `Procrustes`, `WhitenedProcrustes` and `ReweightedProcrustes`: which of
    them judged queries like best, neighbours do not tell. It minimises KL(softmax(x·N / τ) ‖ softmax(a y·O / τ)), where N
    and O are other items as both models see them, and a is learnt: old scores may spread more or less than new ones. What was
    learnt is kept in part, since neighbours of items are not all that is asked for. The bridge is one matrix, so it can be
    folded into the model.

    Requirements: the same items encoded by both models, a thousand or more. Where texts search images, `XBT` asks the same of
    vectors that are no text, and this map does harm. Related: `NeighbourAgreement`, by which the weights are kept.

    Source: ours. The loss is that of `XBT` here, after the similarity-preserving distillation of Tung & Mori, ICCV 2019
    (arXiv 1907.09682), with a softmax as in contrastive losses.

    Attributes:
        temperature: τ.
        kept_share: How much is kept of the way from the closed-form map to what was learnt.
        training: Settings of the optimiser. The learning rate is relative to the mean size of a weight.
        precision: ``auto`` takes what a short measurement finds quicker.
        device: Where to train, such as ``cpu`` or ``cuda``.

    Raises:
        SettingsError: A value is out of range.

    Examples:
        >>> from embridge import Embeddings, Space
        >>> seen = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
        >>> pairs = Pairs(Embeddings.of(seen, Space("new", "1", 6)), Embeddings.of(seen[:, :4], Space("old", "1", 4)))
        >>> upgrade = NeighbourMap(training=Training(epochs=1, min_steps=5)).fit(pairs)
        >>> upgrade.to_index_space(pairs.new).space == pairs.old.space
        True
    """

    paper: ClassVar[str] = "Tung & Mori, Similarity-preserving knowledge distillation, ICCV 2019, arXiv 1907.09682"

    temperature: float = 0.05
    kept_share: float = 0.5
    training: Training = Training(epochs=5, min_steps=300, batch_size=2048, learning_rate=1e-2, weight_decay=0.0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.temperature > 0 or not 0 < self.kept_share <= 1:
            raise SettingsError(
                f"neighbour-map: temperature is above 0 and kept_share in (0, 1], came {self.temperature} and {self.kept_share}"
            )
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise SettingsError(f"neighbour-map: precision is auto, float32 or bfloat16, came {self.precision!r}")

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Fit by gradient; the weights kept are those with the highest agreement on held-out items.

        Where none are better than the closed forms' mean by more than chance, the upgrade is that mean, fitted on all pairs.

        Args:
            pairs: The same items as both models see them.
            seed: Of the split and of the order of the batches.
            progress: Told of every step.

        Returns:
            A backward upgrade.

        Raises:
            InvalidInput: There is one pair alone, all vectors of a side point the same way, or a space does not compare
                directions.
            SettingsError: The device cannot be used.
        """
        require_cosine(pairs, "neighbour-map")
        require_device(self.device, "neighbour-map")
        check_signal(pairs)
        with torch.random.fork_rng(devices=[] if self.device == "cpu" else [torch.device(self.device)]):
            torch.manual_seed(seed)
            bridge, figures = self._train(pairs, seed, progress)
        return backward_upgrade(bridge, pairs, "neighbour-map", settings=self, seed=seed, figures=figures)

    def _train(self, pairs: Pairs, seed: int, progress: Progress) -> tuple[Linear, dict[str, Any]]:
        rows, held_out = pairs.split(self.training.validation_fraction, seed=seed)
        start, strength = fit_averaged(pairs.take(rows), seed=seed)
        items = WeighedRows.of(pairs, rows, self.device)
        module = _Affine(start).to(self.device)
        judge = PartWay(
            HeldOutNeighbours(items.rows.first(POOL), UnitRows(pairs, held_out, self.device).first(POOL)),
            self.kept_share,
        )
        task = Task(module, partial(self._loss, module), items, judge)
        outcome = train(task, self.training, progress=progress, what="neighbour-map steps")
        trained = surely_higher(outcome.best, outcome.start)
        figures: dict[str, Any] = {
            **strength,
            "steps": outcome.steps,
            "best_step": outcome.best_step if trained else 0,
            "validation_scores": list(outcome.scores),
            "kept_share": self.kept_share if trained else 0.0,
            "samples_per_second": outcome.samples_per_second,
        }
        if not trained:
            return fit_averaged(pairs, seed=seed)[0], figures
        return module.to_adapter(start, self.kept_share), figures

    def _loss(self, module: _Affine, batch: tuple[Tensor, Tensor, Tensor | None]) -> Tensor:
        new, old, shares = batch
        asking = max(1, len(new) // _ASKING)
        with torch.autocast(
            self.device.split(":")[0], torch.bfloat16, enabled=in_bfloat16(self.precision, self.device)
        ):
            mapped = module(new[:asking]) * module.scale
            texts = new[asking:], old[asking:]
            shares = None if shares is None else shares[:asking]
            return neighbour_loss(new[:asking], mapped, texts, temperature=self.temperature, own=False, shares=shares)


class _Affine(nn.Module):
    """The closed-form map, and what is added to it: zero at the start, in units of the mean size of its weights."""

    def __init__(self, start: Linear) -> None:
        super().__init__()
        bias = np.zeros(start.target.dim, np.float32) if start.bias is None else start.bias
        self.register_buffer("start", torch.from_numpy(np.vstack([start.weight, bias])))
        self.change = nn.Parameter(torch.zeros_like(self.start))  # type: ignore[arg-type]
        self.spread = nn.Parameter(torch.zeros(()))
        self.unit = float(np.abs(start.weight).mean())
        self.share = 1.0

    @property
    def scale(self) -> Tensor:
        """How much wider new scores are spread."""
        return (2 * self.spread).exp()

    def weights(self, share: float) -> Tensor:
        """The matrix, and the bias in its last row, a share of the way to what was learnt."""
        return self.start + share * self.unit * self.change  # type: ignore[operator]

    def forward(self, z: Tensor) -> Tensor:
        weights = self.weights(self.share)
        return F.normalize((z @ weights[:-1]).float() + weights[-1], dim=1)

    def part_way(self, share: float) -> _Affine:
        """A copy that goes a share of the way to what was learnt."""
        copied = copy.deepcopy(self)
        copied.share = share
        return copied

    def to_adapter(self, start: Linear, share: float) -> Linear:
        """The same map in numpy."""
        weights = self.weights(share).detach().cpu().numpy()
        return Linear(start.source, start.target, weights[:-1].copy(), weights[-1].copy(), normalize_input=True)
