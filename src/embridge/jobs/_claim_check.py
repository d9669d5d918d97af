"""Whether stored vectors are what a model makes of their items: compared row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embridge.jobs._mixing import by_chance
from embridge.jobs.adoption import Agreement, OddRow, Verdict
from embridge.nearest import top_k
from embridge.shapes import Float32
from embridge.space import Metric

__all__ = ["SAME", "Compared", "judge"]

SAME, CLOSE = 0.999, 0.98
_ROUNDING = 0.9999  # a median above it tells of rounding alone, so that less than SAME is another vector
_FEW = 0.05
_LENGTHS = 0.01  # how much two lengths may differ, as a share
_MIDDLING_RANK = 0.01
_SIBLING_ROWS, _BODY_ROWS, _SIBLING_COSINE, _APART = 5, 20, 0.5, 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Rows of a sample: what is stored, and what the model makes of their items now.

    Attributes:
        ids: Of the rows.
        stored: Their vectors; anything may be in them.
        encoded: The model's.
        metric: Of the space; lengths count unless it is cosine.
    """

    ids: Sequence[str]
    stored: Float32[np.ndarray, "n d"]
    encoded: Float32[np.ndarray, "n d"]
    metric: Metric

    @property
    def cosines(self) -> np.ndarray:
        """Float64 [n]; 0 for what has no direction."""
        return np.einsum("nd,nd->n", _unit(self.stored), _unit(self.encoded))

    @property
    def lengths(self) -> np.ndarray:
        """Of the stored vectors, as multiples of the others'."""
        ours = np.linalg.norm(self.encoded.astype(np.float64), axis=1)
        return np.linalg.norm(_numbers(self.stored), axis=1) / np.where(ours > 0, ours, 1)


def judge(rows: Compared, least: float) -> Agreement:
    """Say what the rows say.

    Args:
        rows: At least one.
        least: The share that has to agree.
    """
    cosines, lengths = rows.cosines, rows.lengths
    least_cosine = SAME if np.median(cosines) >= _ROUNDING else CLOSE
    directed = cosines >= least_cosine
    long = directed & (np.abs(lengths - 1) > _LENGTHS) if rows.metric != "cosine" else np.zeros(len(cosines), bool)
    agreeing = directed & ~long
    kinds = _kinds(rows, cosines, directed, long)
    odd = [
        OddRow(rows.ids[i], round(float(cosines[i]), 6), round(float(lengths[i]), 6), kinds[i])
        for i in np.argsort(cosines, kind="stable").tolist()
        if kinds[i]
    ]
    verdict, sentence = _verdict(rows, agreeing, kinds, least)
    same = cosines >= SAME
    return Agreement(
        verdict, sentence, len(cosines), float(agreeing.mean()), float(same.mean()),
        float(((cosines >= CLOSE) & ~same).mean()), tuple(odd),
    )  # fmt: skip


def _kinds(rows: Compared, cosines: np.ndarray, directed: np.ndarray, long: np.ndarray) -> list[str]:
    """What each row is, empty for those that are the same."""
    kinds = np.where(cosines >= SAME, "", "near").astype(object)
    kinds[long] = "length"
    off = ~directed
    usable = np.isfinite(rows.stored).all(axis=1) & (rows.stored != 0).any(axis=1)
    strange = _strange(rows, off & usable, directed)
    if _is_sibling(rows, off & usable, directed):
        strange |= off & usable
    kinds[off] = np.where(strange[off], "foreign", "changed")
    kinds[~usable] = "unusable"
    return kinds.tolist()


def _strange(rows: Compared, off: np.ndarray, directed: np.ndarray) -> np.ndarray:
    """Rows that are near neither their own item nor any other item, nor a row that agrees."""
    strange = np.zeros(len(off), bool)
    if not off.any():
        return strange
    stored, ours = _unit(rows.stored)[off].astype(np.float32), _unit(rows.encoded).astype(np.float32)
    known = np.concatenate([ours, _unit(rows.stored)[directed].astype(np.float32)])
    nearest = top_k(stored, known, 1).scores[:, 0]
    scores = stored @ ours.T
    rank = (scores >= rows.cosines[off][:, None]).mean(axis=1)
    few = len(ours) * _MIDDLING_RANK < 1
    own = (rank <= _MIDDLING_RANK) if not few else np.zeros(len(rank), bool)
    strange[off] = (nearest <= by_chance(stored, known)) & ~own
    return strange


def _is_sibling(rows: Compared, off: np.ndarray, directed: np.ndarray) -> bool:
    """Whether rows that are not the model's are another one's of its family, near its rows and yet apart from them.

    Items that were edited are the model's own: as near to other rows as these to each other. Those of a sibling are not:
    almost each is further from the model's rows than almost each of these from its next, and little like its own item.
    """
    if off.sum() < _SIBLING_ROWS or directed.sum() < _BODY_ROWS or np.median(rows.cosines[off]) >= _SIBLING_COSINE:
        return False
    body = _unit(rows.stored)[directed].astype(np.float32)
    own = top_k(body, body, 2).scores[:, 1]
    others = top_k(_unit(rows.stored)[off].astype(np.float32), body, 1).scores[:, 0]
    return bool((others[:, None] < own[None]).mean() >= _APART)


def _verdict(rows: Compared, agreeing: np.ndarray, kinds: list[str], least: float) -> tuple[Verdict, str]:
    share, cosines = float(agreeing.mean()), rows.cosines
    count = {kind: kinds.count(kind) for kind in ("foreign", "changed", "length", "near")}
    if share >= least:
        if np.median(cosines) < SAME:
            return "near", (
                f"the vectors are close to what this model makes, and not the same (median cosine {np.median(cosines):.4f}): "
                "another precision, another way to resize images, a short prompt, or a sibling of this model"
            )
        foreign = f", {count['foreign']:,} of them as another model's" if count["foreign"] else ""
        exceptions = "" if agreeing.all() else f"; {(~agreeing).sum():,} rows are not{foreign}"
        return "agrees", f"{share:.1%} of the sample is what this model makes{exceptions}"
    if count["length"] > len(kinds) / 2:
        unit = np.allclose(np.linalg.norm(rows.stored, axis=1), 1, atol=1e-2)
        copies = "the stored copies have length 1" if unit else "the stored vectors have other lengths"
        return "lengths", (
            f"the directions agree and the lengths do not: {copies}, and this model compares by {rows.metric}. Declare it with "
            "metric: cosine in a settings file, or write the vectors as the model makes them"
        )
    if share < _FEW:
        return "another model", _stranger_sentence(rows, kinds)
    if count["foreign"] >= (len(kinds) - agreeing.sum()) / 2:
        return "mixed", (
            f"{count['foreign']:,} of {len(kinds):,} rows were made by another model: the index is mixed; encode these rows "
            "again, or delete them"
        )
    return "changed", (
        f"{count['changed']:,} of {len(kinds):,} rows are near this model's other rows, but not what it makes of their items "
        "now: the items were edited since, or a second model of the same family or prompt is mixed in"
    )


def _stranger_sentence(rows: Compared, kinds: list[str]) -> str:
    median = float(np.median(rows.cosines))
    if kinds.count("foreign") >= len(kinds) / 2:
        return f"these vectors are another model's (median cosine {median:.3f}), or their items are other ones"
    return (
        f"these vectors are not what this model makes (median cosine {median:.3f}), and have to do with it: the same model with "
        "another prefix, pooling, prompt or preprocessing, or a sibling"
    )


def _numbers(vectors: np.ndarray) -> np.ndarray:
    return np.nan_to_num(vectors.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _unit(vectors: np.ndarray) -> np.ndarray:
    numbers = _numbers(vectors)
    lengths = np.linalg.norm(numbers, axis=1, keepdims=True)
    return numbers / np.where(lengths > 0, lengths, 1)
