"""XBT, stage 1: a projection from the new space to the old one, learnt from text alone.

Jang & Lim, "Cross-modal backward-compatible training", ICCV 2025 (arXiv 2405.14715), section 3. Captions pass through
both text towers once; one projection ψ learns to turn the new model's text vector into the old one's. Both models put
text and images in one space, so the same ψ serves images, which it never saw. Text moved by Gaussian noise stands for
them in training: it is asked to keep the neighbours among captions that it has in the new space.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from embridge.adapters.linear import Linear
from embridge.adapters.mlp import MLP
from embridge.adapters.upgrade import Upgrade
from embridge.errors import SettingsError
from embridge.methods.base import Pairs, backward_upgrade, require_cosine
from embridge.methods.held_out import POOL, HeldOut, HeldOutImages, surely_higher
from embridge.methods.isometry import isometry_figures, isometry_loss, singular_values
from embridge.methods.procrustes import Procrustes, fit_rotation
from embridge.methods.projection import Projection
from embridge.methods.real_pairs import RealPairs
from embridge.methods.unit_rows import UnitRows
from embridge.methods.validation import warn_if_few
from embridge.methods.xbt_losses import neighbour_loss, with_noise, xbt_loss
from embridge.progress import Progress, silent

__all__ = ["XBT"]

_CHECKS = 20
_FEW_IMAGES = 100
_JACOBIANS, _PENALISED = 32, 256  # rows that are looked at in the end, and of each batch


@dataclass(frozen=True, slots=True)
class XBT:
    """ψ(z) = L2(R z + W₃·GELU(W₂·GELU(W₁·LN(z)))), fitted to L2(f_old(t)) from L2(f_new(t) + noise).

    hidden_width: width of the two hidden layers (``Deviation:`` the paper's is 4 · d_new; wider was not better on
    validation, and 4 · d_new takes several times as long); 0 leaves the skip path alone, which is
    `Procrustes`.
    skip: add R, the orthogonal Procrustes map of the same captions, kept fixed, with W₃ starting at zero; so training
    starts at the closed-form map and never ends below it on held-out text. ``Deviation:`` the paper
    names no skip; see docs/benchmarks for both.
    center: as in `Procrustes`, but chosen by real pairs where ``pairs.judged_by`` has them. temperature, cosine_weight: of
    InfoNCE and of mean(1 − cos), on captions as they are.
    neighbour_weight, neighbour_temperature: of `neighbour_loss`, on captions with noise; noise: σ√d, its length relative
    to a unit vector, of which each row draws its own share u ~ U(0, 1). ``Deviation:`` the paper has no such term, and
    puts the noise into InfoNCE, which is what neighbour_weight 0 does; see docs/benchmarks for both. isometry_weight: of
    `isometry_loss`, which holds ψ near an isometry, on captions with noise; ``Deviation:`` the paper has none. epochs, min_steps:
    passes over the captions; more where few captions would give fewer optimiser steps than that. patience: twentieths
    of the training without a better held-out score before it stops. Weights of the pairs weigh the loss, not the held-out score.
    caution: captions for each old dim of which half of what is learnt beside the skip path is kept, n / (n + caution · d_old)
    of n; 0 keeps all, and so does whoever has real pairs to judge by. Held-out captions are like the others: where queries
    are not, few captions teach what does harm, and part of the way does less of it for nearly all the gain.
    ``Deviation:`` none in the paper; after Wortsman et al., CVPR 2022 (arXiv 2109.01903), who average weights before and after.
    precision: ``auto`` takes bfloat16 where the processor has it.

    Requirements: captions encoded by both models; no image, no label. Related: `Procrustes`, its starting point.

    >>> import numpy as np
    >>> from embridge import Embeddings, Space
    >>> seen = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    >>> pairs = Pairs(Embeddings.of(seen, Space("new", "1", 6)), Embeddings.of(seen[:, :4], Space("old", "1", 4)))
    >>> upgrade = XBT(hidden_width=8, epochs=1, min_steps=5).fit(pairs)
    >>> upgrade.to_index_space(pairs.new).space == pairs.old.space
    True
    """

    paper: ClassVar[str] = "Jang & Lim, Cross-modal backward-compatible training, ICCV 2025, arXiv 2405.14715"

    hidden_width: int = 512
    skip: bool = True
    center: bool | None = None
    noise: float = 2.0
    dropout: float = 0.1
    temperature: float = 0.1
    cosine_weight: float = 1.0
    neighbour_weight: float = 2.0
    neighbour_temperature: float = 0.05
    isometry_weight: float = 0.0
    caution: float = 64.0
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    batch_size: int = 1024
    epochs: int = 10
    min_steps: int = 300
    patience: int = 4
    validation_fraction: float = 0.05
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.hidden_width < 0 or (self.hidden_width == 0 and not self.skip):
            raise SettingsError(f"xbt: hidden_width is 0 (skip path alone) or more, came {self.hidden_width}")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise SettingsError(f"xbt: precision is auto, float32 or bfloat16, came {self.precision!r}")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise SettingsError(f"xbt: learning_rate or weight_decay out of range: {self}")
        if not self.noise >= 0 or not 0 <= self.dropout < 1:
            raise SettingsError(f"xbt: noise or dropout out of range: {self}")
        if not all(x > 0 for x in (self.temperature, self.neighbour_temperature)):  # not by min, which lets nan pass
            raise SettingsError(f"xbt: temperature or neighbour_temperature out of range: {self}")
        if not all(x >= 0 for x in (self.cosine_weight, self.neighbour_weight, self.isometry_weight, self.caution)):
            raise SettingsError(
                f"xbt: cosine_weight, neighbour_weight, isometry_weight or caution out of range: {self}"
            )
        if min(self.batch_size, self.epochs, self.min_steps, self.patience) < 1 or not 0 < self.validation_fraction < 1:
            raise SettingsError(
                f"xbt: batch_size, epochs, min_steps, patience or validation_fraction out of range: {self}"
            )

    def fit(self, pairs: Pairs, *, seed: int = 0, progress: Progress = silent) -> Upgrade:
        """Fit ψ on captions; the weights kept are those that score best on held-out captions (see `HeldOut`).

        With ``pairs.judged_by`` they are those that score best on real pairs of image and caption (see `HeldOutImages`); it
        warns below a hundred of these. Where no trained weights score better than the closed-form map by more than chance,
        the upgrade is that map, fitted on all pairs.
        """
        require_cosine(pairs, "xbt")
        _require_device(self.device)
        warn_if_few(pairs)
        _warn_if_few_images(pairs.judged_by)
        center, compared = self._choose_centring(pairs, seed) if self.skip else (False, {})
        figures: dict[str, Any] = {"centered": center, **compared} if self.skip else {}
        bridge: MLP | Linear | None = None
        if self.hidden_width:
            with torch.random.fork_rng(devices=[] if self.device == "cpu" else [torch.device(self.device)]):
                torch.manual_seed(seed)
                bridge, trained = _train(self, pairs, center, seed, progress)
            figures |= trained
        bridge = bridge or fit_rotation(pairs, center=center)
        figures |= isometry_figures(singular_values(bridge, self._looked_at(pairs, seed)))
        return backward_upgrade(bridge, pairs, "xbt-stage1", settings=self, seed=seed, figures=figures)

    def _choose_centring(self, pairs: Pairs, seed: int) -> tuple[bool, dict[str, float]]:
        """As `Procrustes` does, by held-out captions; by real pairs where they are given."""
        real = pairs.judged_by
        if real is None or self.center is not None or len(pairs) < 2:
            return Procrustes(self.center).choose_centring(pairs, seed=seed)
        rows = pairs.split(self.validation_fraction, seed=seed)[0]
        rotations = (fit_rotation(pairs, center=c, rows=rows) for c in (False, True))
        plain, centered = (float(real.reciprocal_ranks(rotation.apply).mean()) for rotation in rotations)
        return centered > plain, {"validation_mrr_plain": plain, "validation_mrr_centered": centered}

    def _looked_at(self, pairs: Pairs, seed: int) -> np.ndarray:
        """The new vectors of a few held-out captions, evenly spread."""
        held = np.arange(1) if len(pairs) == 1 else pairs.split(self.validation_fraction, seed=seed)[1]
        return pairs.unit_rows(held[np.linspace(0, len(held) - 1, min(len(held), _JACOBIANS)).astype(np.int64)])[0]


def _train(
    settings: XBT, pairs: Pairs, center: bool, seed: int, progress: Progress
) -> tuple[MLP | None, dict[str, Any]]:
    """Minimise `xbt_loss` with AdamW under a cosine schedule; the best weights seen, or None if that is the skip path."""
    rows, held_rows = pairs.split(settings.validation_fraction, seed=seed)
    train, held = (UnitRows(pairs, part, settings.device) for part in (rows, held_rows))
    shares = _shares(pairs, rows, settings.device)
    # blind to the held-out captions, too
    skip = fit_rotation(pairs, center=center, rows=rows) if settings.skip else None
    projection = Projection(
        pairs.new.space.dim, settings.hidden_width, pairs.old.space.dim, skip=skip, dropout=settings.dropout
    ).to(settings.device)
    steps = max(settings.epochs * -(-len(train) // settings.batch_size), settings.min_steps)
    learnt = [p for p in projection.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    text = HeldOut(train.first(POOL), held.first(POOL))  # in any case: it draws, and the training is to be the same
    share = _kept_share(settings, pairs, len(train))
    judge = text if pairs.judged_by is None else HeldOutImages(pairs.judged_by, train.first(POOL)[1])
    best = _Best(projection, judge, share)
    began, samples = perf_counter(), 0
    for step, index in enumerate(_batches(len(train), settings.batch_size, steps), 1):
        batch = *train.batch(index), None if shares is None else shares[index]
        _step(settings, projection, optimizer, batch)
        schedule.step()
        samples += len(index)
        progress(step, steps, "xbt steps")
        if step % max(1, steps // _CHECKS) == 0 or step == steps:
            best.offer(projection, step)
            if best.checks_since > settings.patience:
                break
    progress(steps, steps, "xbt steps")
    untrained = settings.skip and not best.surely
    figures = {"steps": step, "best_step": 0 if untrained else best.step, "validation_scores": best.scores}
    figures |= {"judged_by": _judged_by(pairs.judged_by), "kept_share": 0.0 if untrained else round(share, 4)}
    figures["samples_per_second"] = round(samples / (perf_counter() - began))
    return None if untrained else best.projection.to_adapter(pairs.new.space, pairs.old.space), figures


def _kept_share(settings: XBT, pairs: Pairs, captions: int) -> float:
    """How much is kept of what is learnt beside the skip path."""
    if not settings.skip or pairs.judged_by is not None:
        return 1.0
    return captions / (captions + settings.caution * pairs.old.space.dim)


class _Best:
    """The projection with the highest held-out score so far, a share of the way from where it began."""

    def __init__(self, projection: Projection, held_out: HeldOut | HeldOutImages, share: float) -> None:
        self._held_out, self._share, self.step, self.checks_since = held_out, share, 0, 0
        self.projection = projection.part_way(share).eval()
        self._start = self._values = held_out.values(self.projection)
        self.scores = [float(self._start.mean())]

    @property
    def surely(self) -> bool:
        """Whether it is better than the start by more than chance among what is held out."""
        return surely_higher(self._values, self._start)

    def offer(self, projection: Projection, step: int) -> None:
        offered = projection.part_way(self._share).eval()
        values = self._held_out.values(offered)
        better = float(values.mean()) > max(self.scores)
        self.scores.append(float(values.mean()))
        self.checks_since = 0 if better else self.checks_since + 1
        if better:
            self.projection, self.step, self._values = offered, step, values


def _judged_by(real: RealPairs | None) -> str:
    return "held-out captions" if real is None else f"{len(real)} image-text pairs, {' and '.join(real.directions)}"


def _warn_if_few_images(real: RealPairs | None) -> None:
    if real is not None and len(real) < _FEW_IMAGES:
        warnings.warn(
            f"xbt: {len(real)} image-text pairs to judge by; at least {_FEW_IMAGES} are advised: with fewer, what is better "
            "can hardly be told from chance, and the closed-form map stays",
            stacklevel=3,
        )


def _batches(rows: int, size: int, steps: int) -> Iterator[Tensor]:
    """``steps`` batches of row numbers, every row once before any comes again."""
    while steps > 0:
        for batch in torch.split(torch.randperm(rows), size)[:steps]:
            yield batch
            steps -= 1


def _shares(pairs: Pairs, rows: np.ndarray, device: str) -> Tensor | None:
    """How much each of those pairs counts, one on average."""
    if pairs.weights is None:
        return None
    weights = pairs.weights[rows]
    return torch.from_numpy((weights / weights.mean()).astype(np.float32)).to(device)


def _step(
    settings: XBT, projection: Projection, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, Tensor, Tensor | None]
) -> None:
    projection.train()
    with torch.autocast(settings.device.split(":")[0], torch.bfloat16, enabled=_in_bfloat16(settings)):
        loss = _loss(settings, projection, *batch)
    if settings.isometry_weight:  # in float32, and without dropout
        near = with_noise(batch[0][:_PENALISED], settings.noise)
        loss = loss + settings.isometry_weight * isometry_loss(projection.before_normalising, near)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _loss(settings: XBT, projection: Projection, new: Tensor, old: Tensor, shares: Tensor | None) -> Tensor:
    noised = with_noise(new, settings.noise)
    asked = new if settings.neighbour_weight else noised
    loss = xbt_loss(
        projection(asked), old, temperature=settings.temperature, cosine_weight=settings.cosine_weight, shares=shares
    )
    if not settings.neighbour_weight:
        return loss
    kept = neighbour_loss(
        noised, projection(noised), (new, old), temperature=settings.neighbour_temperature, shares=shares
    )
    return loss + settings.neighbour_weight * kept


def _require_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(f"xbt: device {device!r} cannot be used here ({error}); leave it at cpu") from error


def _in_bfloat16(settings: XBT) -> bool:
    if settings.precision != "auto":
        return settings.precision == "bfloat16"
    if settings.device != "cpu":
        return True
    compiled: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return compiled and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # the operator exists only where compiled
