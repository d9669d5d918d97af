"""Array shapes as types, ``Float32[np.ndarray, "n d"]``: free in production, checked by the tests.

n rows, q queries, k hits, d dims, c classes, b batch. Type checkers see jaxtyping's types. At run time the names are
stand-ins, since importing jaxtyping would be a third of what ``import embridge`` costs, unless
``EMBRIDGE_CHECK_SHAPES`` is set: the tests set it and let jaxtyping and beartype check every call.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

__all__ = ["Bool", "Float16", "Float32", "Float64", "Int32", "Int64", "UInt8"]

if TYPE_CHECKING or os.environ.get("EMBRIDGE_CHECK_SHAPES"):
    from jaxtyping import Bool, Float16, Float32, Float64, Int32, Int64, UInt8
else:
    Bool = Float16 = Float32 = Float64 = Int32 = Int64 = UInt8 = Any
