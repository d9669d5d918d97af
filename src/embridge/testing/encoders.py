"""The contract of encoders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, get_args

import numpy as np

from embridge.encoders.base import Encoder, Modality, Role
from embridge.errors import InvalidInput
from embridge.testing._expect import expect, expect_close, expect_equal, expect_refusal

__all__ = ["check_encoder"]

_TOLERANCE = 1e-4  # batches of another size are padded and summed in another order


def check_encoder(
    encoder: Encoder, text_items: Sequence[Any] = (), image_items: Sequence[Any] | np.ndarray = ()
) -> list[str]:
    """Assert the contract of `embridge.encoders.Encoder`.

    - ``modalities`` is a non-empty set of known names, and there are items for each;
    - ``encode`` gives one finite float32 row an item in ``space``, in order, the same bytes twice, in either role;
    - different items give different rows; an item alone, or in another order, gives the same row to 1e-4;
    - no items, and a modality that is not taken, are refused with `InvalidInput`.

    Args:
        encoder: The encoder to check.
        text_items: At least 3 different texts, where it takes text.
        image_items: At least 3 different images, where it takes images.

    Returns:
        What was skipped: the refusal of a modality, where the encoder takes all of them.

    Raises:
        AssertionError: It does something else; the message says what was expected and what came.

    Examples:
        >>> from embridge.datasets import glyph_models
        >>> from embridge.encoders import load
        >>> pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
        >>> check_encoder(load(f"clip:{glyph_models.folder('old')}"), ["black king", "letter a", "plus sign"], pictures)
        ['refusal of a modality: this encoder takes all of them']
    """
    known = frozenset(get_args(Modality))
    modalities = encoder.modalities
    name = encoder.space.model
    expect(
        bool(modalities) and modalities <= known,
        f"{name}: expected modalities out of {sorted(known)}, came {sorted(modalities)}",
    )
    items = {"text": text_items, "image": image_items}
    for modality in sorted(modalities):
        count = len(items[modality])
        expect(count >= 3, f"{name}: expected at least 3 {modality} items to check with, came {count}")
        _check_rows(encoder, items[modality], modality)
    refused = sorted(known - modalities)
    for other in refused:
        expect_refusal(InvalidInput, partial(encoder.encode, ["x"], modality=other), f"{name}: {other} items")
    return [] if refused else ["refusal of a modality: this encoder takes all of them"]


def _check_rows(encoder: Encoder, items: Sequence[Any] | np.ndarray, modality: Modality) -> None:
    what = f"{encoder.space.model}, {modality}"
    rows = encoder.encode(items, modality=modality)
    expect_equal((len(items), encoder.space.dim), rows.shape, f"{what}: shape of the vectors")
    expect_equal(np.dtype(np.float32), rows.dtype, f"{what}: dtype of the vectors")
    expect(bool(np.isfinite(rows).all()), f"{what}: expected finite vectors, came NaN or infinity")
    same = encoder.encode(items, modality=modality).tobytes() == rows.tobytes()
    expect(same, f"{what}: expected the same bytes twice, came others")
    distinct = len(np.unique(rows, axis=0))
    expect(distinct > 1, f"{what}: expected different rows for different items, came one row {len(items)} times")
    expect_close(
        rows[:1], encoder.encode(items[:1], modality=modality), f"{what}: one item alone", tolerance=_TOLERANCE
    )
    backwards = encoder.encode(items[::-1], modality=modality)
    expect_close(rows[::-1], backwards, f"{what}: the items in reverse", tolerance=_TOLERANCE)
    for role in get_args(Role):
        shape = encoder.encode(items, modality=modality, role=role).shape
        expect_equal(rows.shape, shape, f"{what}: shape in the role {role}")
    expect_refusal(InvalidInput, lambda: encoder.encode([], modality=modality), f"{what}: no items")
