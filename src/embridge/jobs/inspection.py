"""What was found in vectors, as a table and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from embridge.space import Space
from embridge.stores.ann_recall import AnnRecall

__all__ = ["Inspection"]


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
            ["space", str(self.space or "not said in the file")],
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
        rows += [["problem", text] for text in self.problems] + [["look at", text] for text in self.suspicions]
        return ["", ""], rows
