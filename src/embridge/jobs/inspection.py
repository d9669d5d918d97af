"""What was found in vectors, as a table and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from embridge.space import Space
from embridge.stores.ann_recall import AnnRecall
from embridge.stores.capabilities import Capabilities
from embridge.stores.places import IndexState, Place

__all__ = ["Inspection"]

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in vectors.

    Attributes:
        where: The file, or the store and the space.
        space: What they are of; None where that is not said.
        rows: How many.
        dim: Numbers in a vector.
        dtype: Of the numbers.
        norms: (smallest, mean, largest) of the finite rows.
        not_finite_rows: Rows with NaN or infinity.
        zero_rows: Rows of zeros.
        duplicate_ids: Ids that come again.
        duplicate_vectors: Vectors that come again.
        problems: What makes the vectors unusable as they are.
        suspicions: What wants a look.
        index_check: The store's search against exact search, where it was asked for and there are two rows to search for
            each other.
        place: Where they stand in a store.
        encoder: What the declaration says of it.
        rows_without_vector: Rows of the table that have none.
        odd_rows: Rows whose value is no such vector.
        odd: Some of them, id and reason.
        not_finite_ids: Some ids of rows with NaN or infinity.
        repeated_ids: Some ids that come again.
        looked_at_rows: How many rows, drawn evenly, mixing was looked for in.
        stranger_ids: Those of them that look like another model's.
        indexes: Of the store, on these vectors.
        capabilities: Of the store.

    Examples:
        >>> import numpy as np
        >>> from embridge.jobs.inspect import inspect_file
        >>> _ = np.save("rows.npy", np.eye(3, dtype=np.float32))
        >>> inspect_file("rows.npy").rows
        3
    """

    where: str
    space: Space | None
    rows: int
    dim: int
    dtype: str
    norms: tuple[float, float, float]
    not_finite_rows: int
    zero_rows: int
    duplicate_ids: int
    duplicate_vectors: int
    problems: tuple[str, ...]
    suspicions: tuple[str, ...]
    index_check: AnnRecall | None = None
    place: Place | None = None
    encoder: str | None = None
    rows_without_vector: int = 0
    odd_rows: int = 0
    odd: tuple[tuple[str, str], ...] = ()
    not_finite_ids: tuple[str, ...] = ()
    repeated_ids: tuple[str, ...] = ()
    looked_at_rows: int = 0
    stranger_ids: tuple[str, ...] = ()
    indexes: tuple[IndexState, ...] = ()
    capabilities: Capabilities | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        space_id = None if self.space is None else self.space.id
        index_check = None if self.index_check is None else self.index_check.to_dict()
        measured = asdict(replace(self, index_check=None)) | {"space_id": space_id, "index_check": index_check}
        return {"kind": "vectors"} | measured

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows for a table."""
        small, mean, large = self.norms
        rows = [
            ["space", str(self.space or self._undeclared)],
            ["rows", f"{self.rows:,}"],
            ["dim, dtype", f"{self.dim}, {self.dtype}"],
            ["norms: smallest, mean, largest", f"{small:.4f}, {mean:.4f}, {large:.4f}"],
            ["rows with NaN or infinity", f"{self.not_finite_rows:,}"],
            ["rows of zeros", f"{self.zero_rows:,}"],
            ["repeated ids", f"{self.duplicate_ids:,}"],
            ["repeated vectors", f"{self.duplicate_vectors:,}"],
        ]
        if (check := self.index_check) is not None:
            rows += [
                [f"recall at {check.k} against exact search", f"{check.mean.value:.3f} ± {check.mean.half:.3f}"],
                ["queries checked, median milliseconds", f"{len(check.shares):,}, {check.search_p50_milliseconds:.2f}"],
            ]
        rows += self._of_store()
        rows += [["problem", text] for text in self.problems] + [["look at", text] for text in self.suspicions]
        return ["", ""], rows

    @property
    def _undeclared(self) -> str:
        return "not said in the file" if self.place is None else "not declared; see embridge adopt"

    def _of_store(self) -> list[list[str]]:
        if self.place is None:
            return []
        names = (("table", self.place.table), ("vectors", self.place.vector), ("ids", self.place.id))
        rows = [
            ["stands in", ", ".join(f"{what} {name}" for what, name in names if name)],
            ["rows without a vector", f"{self.rows_without_vector:,}"],
            ["encoder", self.encoder or "not said"],
        ]
        if self.not_finite_ids:
            rows.append(["ids with NaN or infinity", _some(self.not_finite_ids, self.not_finite_rows)])
        if self.repeated_ids:
            rows.append(["ids that repeat", _some(self.repeated_ids, self.duplicate_ids)])
        if self.stranger_ids:
            rows.append(["ids that look like another model's", _some(self.stranger_ids, len(self.stranger_ids))])
        rows += [["index", _index_text(one)] for one in self.indexes]
        if self.capabilities is not None:
            able = [f"{name.replace('_', ' ')}: {value}" for name, value in asdict(self.capabilities).items()]
            rows.append(["the store can", ", ".join(able).replace("True", "yes").replace("False", "no")])
        return rows


def _some(ids: tuple[str, ...], count: int) -> str:
    return ", ".join(ids[:_SHOWN]) + (", …" if count > _SHOWN else "")


def _index_text(index: IndexState) -> str:
    figures = (("rows", index.rows), ("rows outside", index.rows_outside))
    parts = [
        index.kind,
        *([index.metric] if index.metric else []),
        *(f"{n:,} {what}" for what, n in figures if n is not None),
    ]
    return f"{index.name}: {', '.join(parts)}{f'; {index.remark}' if index.remark else ''}"
