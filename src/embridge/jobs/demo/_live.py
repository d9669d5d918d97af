"""A small live index on its way through the upgrade: bridged, partly encoded again, rolled back."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embridge.embeddings import Embeddings
from embridge.encoders.base import Encoder
from embridge.errors import require
from embridge.evaluation.figures import Curve
from embridge.evaluation.statistics import Interval, bootstrap_mean
from embridge.jobs.rollout.moving import moved
from embridge.jobs.rollout.opened import OpenRollout, open_rollout
from embridge.nearest import search
from embridge.progress import Progress
from embridge.rollout import moves
from embridge.rollout.gallery import Gallery
from embridge.rollout.journal import record_move
from embridge.rollout.lease import this_process
from embridge.rollout.state import RolloutState
from embridge.stores import open_store

__all__ = ["ANSWERED_BY", "LIVE", "SETTINGS", "Held", "Live", "Step", "go_live"]

LIVE, SETTINGS = "live", "rollout.yaml"
_YAML = f"""\
store: lancedb:{LIVE}
upgrade: upgrade
items: {{image: picture}}
order: random
"""
ANSWERED_BY = {"old": "old model", "bridge": "the bridge", "mixed": "mixed search", "new": "new model"}
"""What answers, in words."""

_SHARES = (0.1, 0.2, 0.3)
_ASKED = 400
_K = 10


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Held-out characters: a picture each, and the vectors of pictures and names by the old and by the new model."""

    pictures: np.ndarray
    names: Sequence[str]
    old: tuple[Embeddings, Embeddings]
    new: tuple[Embeddings, Embeddings]


@dataclass(frozen=True, slots=True)
class Step:
    """What the index answered at one moment.

    Attributes:
        state: Where the rollout stood.
        served: What answered: the old model, the bridge, or both kinds of rows.
        encoded: Pictures with a new vector.
        recall: The share of names whose picture was among the first ten.
    """

    state: str
    served: str
    encoded: int
    recall: Interval


@dataclass(frozen=True, slots=True)
class Live:
    """The way through the upgrade and back.

    Attributes:
        rows: Pictures in the index.
        queries: Names that were asked at every step.
        steps: The way.
        whole: What a full backfill would give, by the same names.
        old_rows_changed: Old vectors that are others after the rollback.
    """

    rows: int
    queries: int
    steps: tuple[Step, ...]
    whole: Interval
    old_rows_changed: int

    @property
    def curve(self) -> Curve:
        """Quality against the share that is encoded again."""
        points = [step for step in self.steps if step.served not in ("old", "new")]
        fractions = tuple(step.encoded / self.rows for step in points)
        return Curve("", "random", fractions, tuple(step.recall for step in points), 0.0)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows, a row a step."""
        rows = [
            [one.state, ANSWERED_BY[one.served], f"{one.encoded / self.rows:.0%}", f"{one.recall.value:.3f}"]
            for one in self.steps
        ]
        return ["live index", "answers", "encoded", "R@10"], rows

    def to_dict(self) -> list[dict[str, Any]]:
        """As JSON."""
        return [
            {
                "state": one.state,
                "served": one.served,
                "encoded": one.encoded,
                "recall_at_10": round(one.recall.value, 6),
            }
            for one in self.steps
        ]


def go_live(folder: Path, upgrade: Path, held: Held, encoders: tuple[Encoder, Encoder], progress: Progress) -> Live:
    """Index the held-out pictures, and take them through the rollout; all that it needs stays in the folder.

    upgrade: Where the upgrade will be found later.
    """
    (folder / SETTINGS).write_text(_YAML, encoding="utf-8")
    with closing(open_store(folder / LIVE, create=True)) as store:
        store.add_space(held.old[0].space)
        pictures = [_data_url(picture) for picture in held.pictures]
        store.upsert(held.old[0], {"character": list(held.names), "picture": pictures})
    with closing(open_rollout(folder / SETTINGS)) as opened:
        first = RolloutState(opened.old, opened.new, str(upgrade), opened.upgrade_id)
        entry = {"move": "prepare", "by": this_process(), "at_seconds": time.time(), "why": {}}
        record_move(opened.store.documents, None, first, entry=entry)
        opened.store.add_space(opened.new)
        return _travelled(opened, held, encoders, progress)


def _travelled(opened: OpenRollout, held: Held, encoders: tuple[Encoder, Encoder], progress: Progress) -> Live:
    gallery = Gallery(opened.store, opened.upgrade, new=encoders[1], old=encoders[0], follow_seconds=0)
    asked = np.sort(np.random.default_rng(0).permutation(len(held.names))[:_ASKED])
    old, new = (names.take(asked) for _, names in (held.old, held.new))
    right, steps = [held.old[0].ids[row] for row in asked], list[Step]()

    def step(move: str = "", to: Callable[[RolloutState], RolloutState] | None = None) -> None:
        state = opened.state if to is None else moved(opened, move, to)
        assert state is not None
        answer = gallery.search(old if state.canary == 0 else new, _K)
        encoded = opened.store.count(opened.new)
        steps.append(Step(state.phase, answer.served, encoded, _recall(answer.hits.ids, right)))
        progress(len(steps), len(_SHARES) + 3, "")

    step()
    step("bridge", lambda state: moves.bridge(state, 1.0))
    moved(opened, "backfill", moves.backfill)
    backfill, order = opened.backfill(encoders[1]), opened.order()
    for share in _SHARES:
        backfill.run(order=order, limits=opened.limits(most_rows=round(share * len(order)) - steps[-1].encoded))
        step()
    step("rollback", moves.roll_back)
    before, after = held.old[0], opened.store.fetch(opened.old, held.old[0].ids)
    whole = _recall(search(opened.upgrade.head(new), opened.upgrade.head(held.new[0]), _K).ids, right)
    changed = int((before.vectors != after.vectors).any(axis=1).sum())
    return Live(len(order), len(asked), tuple(steps), whole, changed)


def _recall(found: Sequence[Sequence[str]], right: Sequence[str]) -> Interval:
    return bootstrap_mean(np.array([name in ids for name, ids in zip(right, found, strict=True)], np.float64))


def _data_url(picture: np.ndarray) -> str:
    stream = io.BytesIO()
    require("PIL.Image", extra="demo").fromarray(picture).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
