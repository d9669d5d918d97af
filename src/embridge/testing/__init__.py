"""Contract suites: what every adapter, encoder, method, objective and store must do, for those who write their own.

Each raises `AssertionError` saying what was expected and what came, and returns the checks it skipped, with the reason.
They need no test framework; `check_objective` needs torch, which is imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from embridge.errors import require
from embridge.testing.adapters import check_adapter
from embridge.testing.adopted import ForeignTable, check_adopted_store
from embridge.testing.encoders import check_encoder
from embridge.testing.methods import check_method
from embridge.testing.stores import check_store

if TYPE_CHECKING:
    from embridge.testing.objectives import ToyUpgrade, check_objective

__all__ = [
    "ForeignTable",
    "ToyUpgrade",
    "check_adapter",
    "check_adopted_store",
    "check_encoder",
    "check_method",
    "check_objective",
    "check_store",
]


def __getattr__(name: str) -> Any:
    if name in ("ToyUpgrade", "check_objective"):
        require("torch", extra="train")
        return getattr(import_module("embridge.testing.objectives"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
