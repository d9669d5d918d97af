"""Fitting the candidates of a choice: cheap ones first, and dear ones only while they can still win."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from embridge.adapters.upgrade import Upgrade
from embridge.errors import InvalidInput, MissingExtra
from embridge.evaluation import compatible
from embridge.methods.base import Pairs
from embridge.methods.candidate_scores import Search, scores_of_pairs
from embridge.methods.choice import Candidate
from embridge.methods.spread import evenly_spread
from embridge.methods.training_settings import Training
from embridge.progress import Progress, silent

_TRIED, _STEPS = 2_500, 60  # pairs and steps of a trial
_BEHIND = 0.03  # of agreement: who is that far behind after a trial has lost
_UNITS = {"closed form": 1, "trained": 10}  # of work, as progress counts it
_PARTS = 100  # of a unit
_ALWAYS = "neighbour-map"  # trained, and as quick as a trial
_FOR_IMAGES = "xbt"  # what a short trial says too little of
_MANY = 10_000  # pairs with which a training is not done again for the tenth that was held out


@dataclass(frozen=True, slots=True)
class _Share:
    """The progress of one candidate as a part of that of all."""

    progress: Progress
    name: str
    before: int
    units: int
    total: int

    def __call__(self, done: int, total: int, what: str) -> None:
        part = self.units * done * _PARTS // max(total, 1)
        self.progress(self.before * _PARTS + part, self.total * _PARTS, f"choose: {self.name}")


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """An upgrade, and how long it took to fit."""

    upgrade: Upgrade
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The methods of a choice, by name, and what they will be used for."""

    names: Sequence[str]
    settings: Mapping[str, Mapping[str, object]]
    searches: Sequence[Search]
    seed: int
    progress: Progress

    def fit(self, train: Pairs, held_out: Pairs) -> tuple[dict[str, Fitted], tuple[Candidate, ...]]:
        """Fit all that may win; and why the others were left out."""
        fitted: dict[str, Fitted] = {}
        left_out: list[Candidate] = []
        done, total = 0, sum(self._units(name) for name in self.names) + _UNITS["trained"]
        for name in sorted(self.names, key=self._trained):
            self.progress(done * _PARTS, total * _PARTS, f"choose: {name}")
            began = perf_counter()
            try:
                why = self._cannot_win(name, train, held_out, fitted)
                if why is None:
                    share = _Share(self.progress, name, done, self._units(name), total)
                    fitted[name] = Fitted(self.fit_one(name, train, share), perf_counter() - began)
            except (MissingExtra, InvalidInput) as error:
                why = f"left out: {error}"
            if why is not None:
                left_out.append(Candidate(name, None, None, 0, perf_counter() - began, why))
            done += self._units(name)
        return fitted, tuple(left_out)

    def fit_chosen(self, name: str, pairs: Pairs, fitted: Fitted, train: Pairs) -> Upgrade:
        """Fit the chosen one on all pairs, and be done; not again where it was trained on many."""
        total, upgrade = sum(self._units(each) for each in self.names) + _UNITS["trained"], fitted.upgrade
        if not self._trained(name) or len(train) < _MANY:
            share = _Share(self.progress, name, total - _UNITS["trained"], _UNITS["trained"], total)
            upgrade = self.fit_one(name, pairs, share)
        self.progress(total * _PARTS, total * _PARTS, f"choose: {name}")
        return upgrade

    def fit_one(self, name: str, pairs: Pairs, progress: Progress = silent) -> Upgrade:
        """Fit one of them on these pairs."""
        return self._fit(self._made(name), pairs, progress)

    def _fit(self, method: Any, pairs: Pairs, progress: Progress = silent) -> Upgrade:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # few pairs were warned of once
            upgrade: Upgrade = method.fit(pairs, seed=self.seed, progress=progress)
            return upgrade

    def _made(self, name: str) -> Any:
        from embridge.methods import make  # the table of methods names what calls this file

        return make(name, self.settings.get(name))

    def _trained(self, name: str) -> bool:
        from embridge.methods import record_of

        return record_of(name).cost == "trained"

    def _units(self, name: str) -> int:
        return _UNITS["trained" if self._trained(name) else "closed form"]

    def _cannot_win(self, name: str, train: Pairs, held_out: Pairs, fitted: Mapping[str, Fitted]) -> str | None:
        """Why it is not worth a fit; None where it may win."""
        cross_modal = set(self.searches) != {"alike"}
        if name == _ALWAYS:
            return (
                f"left out: {name} knows texts alone, and images search here or are searched" if cross_modal else None
            )
        if not self._trained(name) or not fitted or (cross_modal and name == _FOR_IMAGES):
            return None
        tried = train.take(evenly_spread(len(train), _TRIED))
        rival = self._best(fitted, train, held_out)
        trial = {each: self._fit(_shortened(self._made(each)), tried) for each in (name, rival)}
        scores = scores_of_pairs(trial, tried, held_out, searches=self.searches, seed=self.seed).values
        behind = float(scores[rival].mean() - scores[name].mean())
        if behind > _BEHIND or compatible(scores[rival], scores[name], seed=self.seed).answer == "yes":
            return f"left out: {behind:.3f} behind {rival} after a trial on {len(tried):,} pairs"
        return None

    def _best(self, fitted: Mapping[str, Fitted], train: Pairs, held_out: Pairs) -> str:
        upgrades = {name: one.upgrade for name, one in fitted.items()}
        values = scores_of_pairs(upgrades, train, held_out, searches=self.searches, seed=self.seed).values
        return max(values, key=lambda name: float(values[name].mean()))


def _shortened(method: Any) -> Any:
    """The method with a short training, if it is trained in steps."""
    training = getattr(method, "training", None)
    if not isinstance(training, Training):
        return method
    return replace(method, training=replace(training, epochs=1, min_steps=min(_STEPS, training.min_steps)))
