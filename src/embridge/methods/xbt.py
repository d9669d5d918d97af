"""XBT: a projection from the new space to the old one, learnt from text alone.

Captions pass through both text towers once; one projection ψ learns to turn the new model's text vector into the old
one's. Both models put text and images in one space, so the same ψ serves images, which it never saw. Text moved by
Gaussian noise stands for them in training: it is asked to keep the neighbours among captions that it has in the new
space.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from embridge.adapters.linear import Linear
from embridge.adapters.mlp import MLP
from embridge.adapters.upgrade import Upgrade
from embridge.errors import SettingsError
from embridge.methods.base import Pairs, backward_upgrade, require_cosine
from embridge.methods.devices import in_bfloat16, require_device
from embridge.methods.isometry import isometry_figures, isometry_loss, singular_values
from embridge.methods.judges import POOL, HeldOutCaptions, HeldOutImages, HeldOutNeighbours, Judge, surely_higher
from embridge.methods.procrustes import Procrustes, fit_rotation
from embridge.methods.projection import PartWay, Projection
from embridge.methods.signal import check_signal
from embridge.methods.spread import evenly_spread
from embridge.methods.training_loop import Task, train
from embridge.methods.training_settings import Training
from embridge.methods.unit_rows import UnitRows, WeighedRows
from embridge.methods.validation import warn_if_few_images
from embridge.methods.whitened_procrustes import WhitenedProcrustes, fit_whitened
from embridge.methods.xbt_losses import neighbour_loss, with_noise, xbt_loss
from embridge.progress import Progress, silent

__all__ = ["XBT"]

_WHITENED = WhitenedProcrustes(whitening=0.2, kept_mean=1.0)  # all of the mean: scores stay where they were
_HALF = replace(_WHITENED, kept_mean=0.5)
_LITTLE = 0.1  # of what is learnt: where less is kept, the upgrade is little else than its start
Start = Procrustes | WhitenedProcrustes
_JACOBIANS, _PENALISED = 32, 256  # rows that are looked at in the end, and of each batch


@dataclass(frozen=True, slots=True)
class XBT:
    """ψ(z) = L2(R z + W₃·GELU(W₂·GELU(W₁·LN(z)))), fitted to L2(f_old(t)) from L2(f_new(t) + noise).

    Requirements: captions encoded by both models; no image, no label. Weights of the pairs weigh the loss, not the
    held-out score. Related: `WhitenedProcrustes`, its starting point.

    Source: Jang & Lim, "Towards cross-modal backward-compatible representation learning for vision-language models", ICCV
    2025 (arXiv 2405.14715). This is our reading of the paper, of which we know the abstract and what others report: certain
    are one ψ for both modalities, text alone, and Gaussian noise. The widths, the loss and where the noise enters are ours;
    docs/benchmarks say what each is worth.

    ``Deviation:`` our first reading was wider, 4 · d_new: it was not better on validation, and takes several times as
    long. It had no skip path, and the noise in InfoNCE, which is what neighbour_weight 0 does. isometry_weight and
    caution are ours too; caution after Wortsman et al., CVPR 2022 (arXiv 2109.01903), who average weights before and
    after.

    Attributes:
        hidden_width: Width of the two hidden layers; 0 leaves the skip path alone.
        skip: Add R, a closed-form map of the same captions, kept fixed, with W₃ starting at zero. So training starts at that
            map and never ends below it on held-out text.
        closed_form: Which map R is: ``whitened`` is `WhitenedProcrustes` of strength 0.2 with all of the old mean, so that
            absolute scores stay where they were; ``procrustes`` is a rotation. A lone pair is rotated. With few captions,
            of which less than a tenth of what is learnt is kept (see caution), nothing mends what that mean does: vectors
            that share much find the same few rows. There ``whitened`` keeps half of it, if held-out captions then find
            surely more of what the new model finds.
        center: Of ``procrustes``, as in `Procrustes`, but chosen by real pairs where ``pairs.judged_by`` has them.
        noise: σ√d, the length of the noise relative to a unit vector, of which each row draws its own share
            u ~ U(0, 1).
        dropout: Behind each hidden layer.
        temperature: Of InfoNCE, on captions as they are.
        cosine_weight: Of mean(1 − cos), on captions as they are.
        neighbour_weight: Of `neighbour_loss`, on captions with noise.
        neighbour_temperature: Of the same.
        isometry_weight: Of `isometry_loss`, which holds ψ near an isometry, on captions with noise.
        caution: Captions for each old dim of which half of what is learnt beside the skip path is kept:
            n / (n + caution · d_old) of n. 0 keeps all, and so does whoever has real pairs to judge by. Held-out
            captions are like the others; where queries are not, few captions teach what does harm, and part of the way
            does less of it for nearly all the gain.
        training: Settings of the optimiser.
        precision: ``auto`` takes bfloat16 where it is measured to be quicker; the figures say which it was.
        device: Where to train, such as ``cpu`` or ``cuda``.

    Raises:
        SettingsError: A value is out of range.

    Examples:
        >>> import numpy as np
        >>> from embridge import Embeddings, Space
        >>> seen = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
        >>> pairs = Pairs(Embeddings.of(seen, Space("new", "1", 6)), Embeddings.of(seen[:, :4], Space("old", "1", 4)))
        >>> upgrade = XBT(hidden_width=8, training=Training(epochs=1, min_steps=5)).fit(pairs)
        >>> upgrade.to_index_space(pairs.new).space == pairs.old.space
        True
    """

    paper: ClassVar[str] = (
        "Jang & Lim, Towards cross-modal backward-compatible representation learning for vision-language models, ICCV 2025, "
        "arXiv 2405.14715"
    )

    hidden_width: int = 512
    skip: bool = True
    closed_form: Literal["whitened", "procrustes"] = "whitened"
    center: bool | None = None
    noise: float = 2.0
    dropout: float = 0.1
    temperature: float = 0.1
    cosine_weight: float = 1.0
    neighbour_weight: float = 4.0
    neighbour_temperature: float = 0.07
    isometry_weight: float = 0.0
    caution: float = 64.0
    training: Training = Training(epochs=20, min_steps=600)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.hidden_width < 0 or (self.hidden_width == 0 and not self.skip):
            raise SettingsError(f"xbt: hidden_width is 0 (skip path alone) or more, came {self.hidden_width}")
        if self.closed_form not in ("whitened", "procrustes"):
            raise SettingsError(f"xbt: closed_form is whitened or procrustes, came {self.closed_form!r}")
        if self.center is not None and self.closed_form != "procrustes":
            raise SettingsError(
                "xbt: center is a setting of closed_form: procrustes; the whitened map takes both means off"
            )
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise SettingsError(f"xbt: precision is auto, float32 or bfloat16, came {self.precision!r}")
        if not self.noise >= 0 or not 0 <= self.dropout < 1:
            raise SettingsError(f"xbt: noise or dropout out of range: {self}")
        if not all(x > 0 for x in (self.temperature, self.neighbour_temperature)):  # not by min, which lets nan pass
            raise SettingsError(f"xbt: temperature or neighbour_temperature out of range: {self}")
        if not all(x >= 0 for x in (self.cosine_weight, self.neighbour_weight, self.isometry_weight, self.caution)):
            raise SettingsError(
                f"xbt: cosine_weight, neighbour_weight, isometry_weight or caution out of range: {self}"
            )

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Fit ψ on captions; the weights kept are those that score best on held-out captions (see `HeldOutCaptions`).

        With ``pairs.judged_by`` they are those that score best on real pairs of image and caption (see
        `HeldOutImages`); it warns below a hundred of these. Where no trained weights score better than the closed-form
        map by more than chance, the upgrade is that map, fitted on all pairs.

        Args:
            pairs: Captions as both models see them.
            seed: Of the split, of the first weights, of the noise and of the order of the batches.
            progress: Told of every step.

        Returns:
            A backward upgrade.

        Raises:
            InvalidInput: There is one pair alone, or a space does not compare directions.
            SettingsError: The device cannot be used.
        """
        require_cosine(pairs, "xbt")
        require_device(self.device, "xbt")
        check_signal(pairs)
        warn_if_few_images(pairs.judged_by, "xbt")
        start, figures = self._choose_start(pairs, seed)
        bridge: MLP | Linear | None = None
        if self.hidden_width:
            with torch.random.fork_rng(devices=[] if self.device == "cpu" else [torch.device(self.device)]):
                torch.manual_seed(seed)
                bridge, trained = self._train(pairs, start, seed, progress)
            figures |= trained
        bridge = bridge or _closed_form(pairs, start)
        figures |= isometry_figures(singular_values(bridge, self._sample_held_out(pairs, seed)))
        return backward_upgrade(bridge, pairs, "xbt-stage1", settings=self, seed=seed, figures=figures)

    def _choose_start(self, pairs: Pairs, seed: int) -> tuple[Start, dict[str, Any]]:
        """The closed form, with what is centred or kept of the old mean; and the figures that say so."""
        if self.closed_form == "whitened":
            start = self._whitened_start(pairs, seed) if self.skip and len(pairs) > 1 else _WHITENED
            return start, {"closed_form": self.closed_form, "kept_mean": start.kept_mean} if self.skip else {}
        if not self.skip:
            return Procrustes(len(pairs) > 1), {}
        center, compared = self._compare_centrings(pairs, seed)
        return Procrustes(center), {"closed_form": self.closed_form, "centered": center, **compared}

    def _whitened_start(self, pairs: Pairs, seed: int) -> WhitenedProcrustes:
        """All of the old mean, unless little is kept of what will be learnt, and half of it finds surely more."""
        rows, held_out = pairs.split(self.training.validation_fraction, seed=seed)
        if self._kept_share(pairs, len(rows)) >= _LITTLE or len(rows) < 2:
            return _WHITENED
        judge = HeldOutNeighbours(*(UnitRows(pairs, part, "cpu").first(POOL) for part in (rows, held_out)))
        bridges = (_closed_form(pairs, start, rows) for start in (_HALF, _WHITENED))
        half, whole = (judge.values(partial(_mapped, bridge)) for bridge in bridges)
        return _HALF if surely_higher(half, whole) else _WHITENED

    def _compare_centrings(self, pairs: Pairs, seed: int) -> tuple[bool, dict[str, float]]:
        real = pairs.judged_by
        if real is None or self.center is not None or len(pairs) < 2:
            return Procrustes(self.center).choose_centring(pairs, seed=seed)
        rows = pairs.split(self.training.validation_fraction, seed=seed)[0]
        rotations = (fit_rotation(pairs, center=c, rows=rows) for c in (False, True))
        plain, centered = (float(real.reciprocal_ranks(rotation.apply).mean()) for rotation in rotations)
        return centered > plain, {"validation_mrr_plain": plain, "validation_mrr_centered": centered}

    def _sample_held_out(self, pairs: Pairs, seed: int) -> np.ndarray:
        """The new vectors of a few held-out captions, evenly spread."""
        rows = np.arange(1) if len(pairs) == 1 else pairs.split(self.training.validation_fraction, seed=seed)[1]
        return pairs.unit_rows(rows[evenly_spread(len(rows), _JACOBIANS)])[0]

    def _train(self, pairs: Pairs, start: Start, seed: int, progress: Progress) -> tuple[MLP | None, dict[str, Any]]:
        """The best map that was seen, or None if that is the skip path; and the figures."""
        rows, held_out = pairs.split(self.training.validation_fraction, seed=seed)
        captions = WeighedRows.of(pairs, rows, self.device)
        dims = pairs.new.space.dim, self.hidden_width, pairs.old.space.dim
        # blind to the held-out captions, too
        skip = _closed_form(pairs, start, rows) if self.skip else None
        projection = Projection(*dims, skip=skip, dropout=self.dropout).to(self.device)
        share = self._kept_share(pairs, len(rows))
        judge = PartWay(_judge(pairs, captions.rows, UnitRows(pairs, held_out, self.device)), share)
        task = Task(projection, partial(self._loss, projection), captions, judge)
        outcome = train(task, self.training, progress=progress, what="xbt steps")
        untrained = self.skip and not surely_higher(outcome.best, outcome.start)
        figures = {
            "steps": outcome.steps,
            "best_step": 0 if untrained else outcome.best_step,
            "validation_scores": list(outcome.scores),
            "judged_by": "held-out captions" if pairs.judged_by is None else str(pairs.judged_by),
            "kept_share": 0.0 if untrained else round(share, 4),
            "samples_per_second": outcome.samples_per_second,
            "precision": "bfloat16" if in_bfloat16(self.precision, self.device) else "float32",
        }
        best = None if untrained else projection.part_way(share).to_adapter(pairs.new.space, pairs.old.space)
        return best, figures

    def _kept_share(self, pairs: Pairs, captions: int) -> float:
        """How much is kept of what is learnt beside the skip path."""
        if not self.skip or pairs.judged_by is not None:
            return 1.0
        return captions / (captions + self.caution * pairs.old.space.dim)

    def _loss(self, projection: Projection, batch: tuple[Tensor, Tensor, Tensor | None]) -> Tensor:
        with torch.autocast(
            self.device.split(":")[0], torch.bfloat16, enabled=in_bfloat16(self.precision, self.device)
        ):
            loss = self._text_loss(projection, *batch)
        if self.isometry_weight:  # in float32, and without dropout
            near = with_noise(batch[0][:_PENALISED], self.noise)
            loss = loss + self.isometry_weight * isometry_loss(projection.before_normalising, near)
        return loss

    def _text_loss(self, projection: Projection, new: Tensor, old: Tensor, shares: Tensor | None) -> Tensor:
        noised = with_noise(new, self.noise)
        contrast = xbt_loss(
            projection(new if self.neighbour_weight else noised),
            old,
            temperature=self.temperature,
            cosine_weight=self.cosine_weight,
            shares=shares,
        )
        if not self.neighbour_weight:
            return contrast
        neighbours = neighbour_loss(
            noised, projection(noised), (new, old), temperature=self.neighbour_temperature, shares=shares
        )
        return contrast + self.neighbour_weight * neighbours


def _closed_form(pairs: Pairs, start: Start, rows: np.ndarray | None = None) -> Linear:
    """The skip path, fitted on all pairs or on some of them."""
    if isinstance(start, Procrustes):
        return fit_rotation(pairs, center=bool(start.center), rows=rows)
    if (len(pairs) if rows is None else len(rows)) < 2:
        return fit_rotation(pairs, center=len(pairs) > 1, rows=rows)
    return fit_whitened(pairs if rows is None else pairs.take(rows), start)[0]


def _mapped(bridge: Linear, rows: Tensor) -> Tensor:
    return torch.from_numpy(bridge.apply(rows.numpy()))


def _judge(pairs: Pairs, train_rows: UnitRows, held_out: UnitRows) -> Judge[Projection]:
    captions = HeldOutCaptions(train_rows.first(POOL), held_out.first(POOL))  # draws; the training is to be the same
    return captions if pairs.judged_by is None else HeldOutImages(pairs.judged_by, train_rows.first(POOL)[1])
