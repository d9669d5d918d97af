"""FAISS files: what an index in memory is, and which of its rows has which number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embridge.errors import StoreError, require
from embridge.space import Metric

__all__ = ["FaissIndex", "as_read", "faiss_module", "in_one_line", "read_index"]

_MAPS = ("IndexIDMap", "IndexIDMap2")
_FLAT = ("IndexFlat", "IndexFlatIP", "IndexFlatL2")
_KINDS = (  # these give back every row; others end the process where they are asked for one
    *_FLAT,
    "IndexScalarQuantizer",
    "IndexPQ",
    "IndexIVFFlat",
    "IndexIVFScalarQuantizer",
    "IndexIVFPQ",
    "IndexHNSWFlat",
    "IndexHNSWSQ",
    "IndexHNSWPQ",
)
_WHOLE = (*_FLAT, "IndexIVFFlat", "IndexHNSWFlat", "IndexRefineFlat")
_LEAST_BYTES = 1 << 16
_SOURCE = re.compile(r"^.*?\.(?:cpp|h):\d+: (?:Error: '.*?' failed:? ?)?")


@dataclass(frozen=True, slots=True, eq=False)
class FaissIndex:
    """An index as it was read; nothing changes it afterwards.

    ``root`` owns all parts. ``core`` is it without its map of ids. Row i of the store is ``labels[i]`` there, and
    ``numbers[i]`` for those who use the file. ``outer`` stand around the part that
    searches, which is ``ivf``, ``hnsw`` or neither.
    """

    root: Any
    core: Any
    labels: np.ndarray
    numbers: np.ndarray
    kind: str
    metric: Metric | None
    flat: bool
    lossless: bool
    outer: tuple[Any, ...] = ()
    ivf: Any = None
    hnsw: Any = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def dim(self) -> int:
        return int(self.root.d)

    @property
    def mapped(self) -> bool:
        """Whether a row has a number of its own, which stays when others go."""
        return self.ivf is not None or self.core is not self.root

    def vectors(self, rows: np.ndarray | slice) -> np.ndarray:
        """Float32 [n, d] of those rows; a view where the index is flat."""
        if not len(self):
            return np.empty((0, self.dim), np.float32)
        if self.flat:
            view: np.ndarray = np.asarray(_FlatRows(self))[rows]
            return view
        labels = np.ascontiguousarray(self.labels[rows])
        return self.core.reconstruct_batch(labels) if len(labels) else np.empty((0, self.dim), np.float32)


class _FlatRows:
    """The memory of a flat index as numpy reads it; an array of it keeps the index."""

    def __init__(self, index: FaissIndex) -> None:
        self.owner = index.root
        first = faiss_module().rev_swig_ptr(index.core.get_xb(), 1)
        shape = (len(index), index.dim)
        data = (first.ctypes.data, True)  # to be read only
        self.__array_interface__ = {"data": data, "shape": shape, "typestr": first.dtype.str, "version": 3}


def faiss_module() -> Any:
    """FAISS itself."""
    return require("faiss", extra="faiss")


def in_one_line(error: Exception) -> str:
    """What FAISS says, without its own source's line."""
    text = " ".join(str(error).split())
    return _SOURCE.sub("", text)[:300] or text[:300]


def read_index(path: Path) -> FaissIndex:
    """Read a file; raises `StoreError` where it is damaged, none of FAISS, or of a kind that gives no vectors back."""
    faiss = faiss_module()
    try:
        size = max(path.stat().st_size, _LEAST_BYTES)
        limits = [
            (getattr(faiss, f"get_{name}"), getattr(faiss, f"set_{name}"))
            for name in ("deserialization_vector_byte_limit", "deserialization_loop_limit")
            if f"set_{name}" in vars(faiss)  # of 1.14 and later
        ]
        before = [get() for get, _ in limits]
        try:
            for _, limit in limits:
                limit(size)  # nothing in it is larger than the file
            root = faiss.read_index(str(path))
        finally:
            for (_, limit), value in zip(limits, before, strict=True):
                limit(value)
    except FileNotFoundError as error:
        raise StoreError(f"{path} does not exist; expected a file of faiss.write_index") from error
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        raise StoreError(
            f"{path} cannot be read as a FAISS file: {in_one_line(error)}; restore it from a copy"
        ) from error
    return as_read(root, str(path))


def as_read(root: Any, what: str) -> FaissIndex:
    """An index in memory, taken apart; raises `StoreError` for kinds that cannot be used."""
    faiss = faiss_module()
    mapped = type(root).__name__ in _MAPS
    core = faiss.downcast_index(root.index) if mapped else root
    outer, inner, lossless = _parts(core)
    names = [type(part).__name__ for part in ([root] if mapped else []) + [*outer, inner]]
    kind = ",".join(name.removeprefix("Index") for name in names)
    if names[-1] not in _KINDS:
        raise StoreError(
            f"{what} holds a FAISS index {kind}, which does not give its vectors back here; expected one of "
            f"{', '.join(name.removeprefix('Index') for name in _KINDS)}, also behind IDMap, PreTransform or RefineFlat"
        )
    ivf = inner if names[-1].startswith("IndexIVF") else None
    hnsw = inner if names[-1].startswith("IndexHNSW") else None
    labels = np.arange(core.ntotal, dtype=np.int64) if ivf is None else _labels_of(ivf, what)
    ids = faiss.vector_to_array(root.id_map) if mapped else None
    _require_found(labels, outer, ids, what)
    numbers, flat = labels if ids is None else ids[labels], names[-1] in _FLAT and not outer
    metric = _metric(root.metric_type)
    return FaissIndex(root, core, labels, numbers, kind, metric, flat, lossless, tuple(outer), ivf, hnsw)


def _parts(core: Any) -> tuple[list[Any], Any, bool]:
    """What stands around an index, the index, and whether rows come back as they went in."""
    faiss, whole = faiss_module(), True
    outer: list[Any] = []
    while True:
        name = type(core).__name__
        if name == "IndexPreTransform":
            chain = [core.chain.at(i) for i in range(core.chain.size())]
            transforms = [faiss.downcast_VectorTransform(one) for one in chain]
            whole &= all(one.d_in == one.d_out and _turns(one) for one in transforms)
            outer, core = [*outer, core], faiss.downcast_index(core.index)
        elif name == "IndexRefineFlat":
            return [*outer, core], faiss.downcast_index(core.base_index), whole
        else:
            return outer, core, whole and name in _WHOLE


def _turns(transform: Any) -> bool:
    """Whether a transform is a rotation, whose inverse gives the vectors back to rounding."""
    return isinstance(transform, faiss_module().LinearTransform) and bool(transform.is_orthonormal)


def _labels_of(ivf: Any, what: str) -> np.ndarray:
    """The labels of an inverted file in order; they are made findable."""
    faiss, lists = faiss_module(), ivf.invlists
    parts = [
        faiss.rev_swig_ptr(lists.get_ids(i), lists.list_size(i)).copy()
        for i in range(lists.nlist)
        if lists.list_size(i)
    ]
    labels = np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)
    if len(labels) != ivf.ntotal:
        raise StoreError(
            f"{what}: it has {len(labels)} rows in its lists and says {ivf.ntotal}; restore it from a copy"
        )
    if (labels[1:] == labels[:-1]).any():
        twice = int(labels[1:][labels[1:] == labels[:-1]][0])
        raise StoreError(
            f"{what}: two rows have the number {twice}; expected one each. Make the file again with unique ids"
        )
    if len(labels) and labels[0] < 0:
        raise StoreError(f"{what}: a row has the number {labels[0]}, which FAISS cannot find; make the file again")
    ivf.set_direct_map_type(faiss.DirectMap.Hashtable)
    return labels


def _require_found(labels: np.ndarray, parts: list[Any], ids: np.ndarray | None, what: str) -> None:
    """Refuse numbers of rows that a part of the index does not have."""
    rows = [("RefineFlat", int(part.refine_index.ntotal)) for part in parts if type(part).__name__ == "IndexRefineFlat"]
    rows += [] if ids is None else [("map of ids", len(ids))]
    for name, held in rows:
        if len(labels) and labels[-1] >= held:
            raise StoreError(
                f"{what}: its {name} has {held} rows, and one has the number {labels[-1]}; restore it from a copy"
            )


def _metric(number: int) -> Metric | None:
    faiss = faiss_module()
    return {faiss.METRIC_INNER_PRODUCT: "dot", faiss.METRIC_L2: "l2"}.get(number)  # type: ignore[return-value]
