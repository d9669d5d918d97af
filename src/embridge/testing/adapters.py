"""The contract of adapters."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from embridge.adapters import Adapter
from embridge.adapters.composed import adapter_from_parts, adapter_to_config
from embridge.embeddings import Embeddings
from embridge.errors import SpaceMismatch
from embridge.testing._expect import expect, expect_close, expect_equal, expect_refusal

__all__ = ["check_adapter"]

_ROWS = 7


def check_adapter(adapter: Adapter) -> list[str]:
    """Assert the contract of `embridge.adapters.Adapter`; skips nothing.

    - ``apply`` gives finite float32 [n, d_target], also for zeros, for a strided view and for no rows (then [0, d]);
    - every row depends on itself alone: parts, and single rows, give the same numbers to 1e-5;
    - twice the same input gives the same bytes, and the input stays as it was;
    - calling it keeps ids, gives the target space, and refuses another space of the same dim with `SpaceMismatch`;
    - ``config`` is JSON, ``weights`` are float32, and `adapter_from_parts` makes an adapter with the same outputs.

    Args:
        adapter: The adapter to check.

    Returns:
        What was skipped: nothing.

    Raises:
        AssertionError: It does something else; the message says what was expected and what came.

    Examples:
        >>> from embridge import Space
        >>> from embridge.adapters import Prefix
        >>> check_adapter(Prefix(Space("new", "1", 5), Space("old", "1", 3)))
        []
    """
    x = np.random.default_rng(0).normal(size=(_ROWS, adapter.source.dim)).astype(np.float32)
    x[-1] = 0
    _check_output(adapter, x)
    _check_rows(adapter, x)
    _check_call(adapter, x)
    _check_parts(adapter, x)
    return []


def _check_output(adapter: Adapter, x: np.ndarray) -> None:
    name, dim = adapter.kind, adapter.target.dim
    rows = x.copy()
    rows.setflags(write=False)
    y = adapter.apply(rows)
    expect_equal((len(x), dim), y.shape, f"{name}: shape of the output")
    expect_equal(np.dtype(np.float32), y.dtype, f"{name}: dtype of the output")
    expect(
        bool(np.isfinite(y).all()), f"{name}: expected finite numbers, also for a row of zeros, came NaN or infinity"
    )
    expect(rows.tobytes() == x.tobytes(), f"{name}: expected the input to stay as it was, came another")
    expect(adapter.apply(rows).tobytes() == y.tobytes(), f"{name}: expected the same bytes twice, came others")
    empty = adapter.apply(x[:0])
    expect_equal(((0, dim), np.dtype(np.float32)), (empty.shape, empty.dtype), f"{name}: output for no rows")


def _check_rows(adapter: Adapter, x: np.ndarray) -> None:
    name, y = adapter.kind, adapter.apply(x)
    parts = np.concatenate([adapter.apply(x[:3]), adapter.apply(x[3:])])
    expect_close(y, parts, f"{name}: two parts against the whole")
    single = np.concatenate([adapter.apply(x[i : i + 1]) for i in range(len(x))])
    expect_close(y, single, f"{name}: single rows against the batch")
    expect_close(y[::-2], adapter.apply(x[::-2]), f"{name}: every second row, backwards, against the batch")


def _check_call(adapter: Adapter, x: np.ndarray) -> None:
    ids = tuple(f"item {i}" for i in range(len(x)))
    mapped = adapter(Embeddings(ids, x, adapter.source))
    expect_equal(ids, mapped.ids, f"{adapter.kind}: ids of the output")
    expect_equal(adapter.target, mapped.space, f"{adapter.kind}: space of the output")
    foreign = replace(adapter.source, revision=adapter.source.revision + " other")
    rows = Embeddings(ids, x, foreign)
    expect_refusal(SpaceMismatch, lambda: adapter(rows), f"{adapter.kind}: vectors of another space of the same dim")


def _check_parts(adapter: Adapter, x: np.ndarray) -> None:
    weights = adapter.weights()
    for name, array in weights.items():
        expect_equal(np.dtype(np.float32), array.dtype, f"{adapter.kind}: dtype of weight {name!r}")
    described = json.loads(json.dumps(adapter_to_config(adapter)))
    again = adapter_from_parts(described, {name: array.copy() for name, array in weights.items()})
    expect_equal(type(adapter), type(again), f"{adapter.kind}: class made from its parts")
    expect_equal((adapter.source, adapter.target), (again.source, again.target), f"{adapter.kind}: spaces from parts")
    same = again.apply(x).tobytes() == adapter.apply(x).tobytes()
    expect(same, f"{adapter.kind}: expected the same bytes from the adapter made of its parts, came others")
